package tensor_test

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seqmix/seqmix/tensor"
)

// A part of a batch shares its memory.
func ExampleSeq_Slice() {
	s := tensor.SeqOf([]float32{0, 1, 2, 3, 10, 11, 12, 13}, 2, 4, 1) // two sequences of four positions
	last := s.Slice(2, 4)
	last.At(1, 0)[0] = 99
	fmt.Println(s.Data)
	fmt.Println(last.Len, last.Contiguous())
	// Output:
	// [0 1 2 3 10 11 99 13]
	// 2 false
}

// Two columns of a projection's output go two ways.
func ExampleMat_Slice() {
	m := tensor.MatOf([]float32{1, 2, 3, 4, 5, 6}, 2, 3)
	left, right := m.Slice(0, 2), m.Slice(2, 3)
	fmt.Println(left.Row(1), right.Row(1))
	// Output: [4 5] [6]
}

// A linear layer with its weight packed and quantised.
func ExampleLinear() {
	w := tensor.NewWeight(2, 3)
	w.SetFloat32s([]float32{1, 0, -1, 2, 2, 2})
	bias := []float32{0.5, 0}
	src := tensor.SeqOf([]float32{1, 2, 3}, 1, 1, 3)
	dst := tensor.NewSeq(1, 1, 2)

	tensor.Linear(dst, src, w, bias)
	fmt.Printf("%v %.2f\n", w, dst.Data)

	w.Convert(tensor.Int8)
	w.Pack()
	tensor.Linear(dst, src, w, bias)
	fmt.Printf("%v %.2f\n", w, dst.Data)
	// Output:
	// float32[2 3] [-1.50 12.00]
	// int8[2 3] packed [-1.50 12.00]
}

// Temporary memory that is allocated once.
func ExampleScratch() {
	var s tensor.Scratch
	for range 3 {
		s.Reset()
		gate, hidden := s.Take(64), s.TakeSeq(1, 10, 64)
		fmt.Println(len(gate), hidden.Len)
	}
	// Output:
	// 64 10
	// 64 10
	// 64 10
}

// The shape mistakes of a caller are typed panics, which a server may recover.
func ExampleShapeError() {
	defer func() {
		err, _ := recover().(error)
		var shape *tensor.ShapeError
		fmt.Println(errors.As(err, &shape))
		fmt.Println(err)
	}()
	x := tensor.NewSeq(1, 5, 64)
	tensor.CheckMix("mymixer.Mix", x, x, 32)
	// Output:
	// true
	// mymixer.Mix: shape [1 5 64], want [1 5 32]
}

func ExampleSiLUMul() {
	gate, up := []float32{-1, 0, 1, 2}, []float32{1, 1, 1, 10}
	tensor.SiLUMul(gate, gate, up)
	fmt.Printf("%.3f\n", gate)
	// Output: [-0.269 0.000 0.731 17.616]
}

func ExampleSoftmax() {
	p := []float32{1, 2, 3}
	tensor.Softmax(p, p)
	fmt.Printf("%.3f\n", p)
	// Output: [0.090 0.245 0.665]
}

func ExampleRMSNorm() {
	x := []float32{3, 4, 0, 0}
	tensor.RMSNorm(x, x, nil, 0)
	fmt.Printf("%.2f\n", x)
	// Output: [1.20 1.60 0.00 0.00]
}

// Compact weights give the same products to the bit from less memory.
func ExampleTensor_Compact() {
	w := tensor.NewWeight(64, 256)
	for i := range w.Data() {
		w.Data()[i] = float32(i%13-6) / 100
	}
	x := tensor.MatOf(make([]float32, 256), 1, 256)
	for i := range x.Data {
		x.Data[i] = float32(i)
	}
	packed, compact := tensor.MatOf(make([]float32, 64), 1, 64), tensor.MatOf(make([]float32, 64), 1, 64)
	w.Pack()
	bytes := w.Bytes()
	tensor.MatMulT(packed, x, w)
	w.Compact()
	tensor.MatMulT(compact, x, w)
	fmt.Println(slices.Equal(packed.Data, compact.Data), w.Bytes() <= bytes)
	// Output: true true
}
