package tensor_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/seqmix/seqmix/tensor"
)

// A tensor that is written in pieces is the one that is converted and packed at once.
func TestSetRows(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, shape := range [][2]int{{1, 1}, {31, 7}, {32, 32}, {33, 64}, {100, 33}, {200, 50}} {
		n, k := shape[0], shape[1]
		values := make([]float32, n*k)
		for i := range values {
			values[i] = r.Float32() - 0.5
		}
		whole := tensor.FromFloat32s(values, n, k)
		halves := tensor.FromFloat32s(slices.Clone(values), n, k)
		halves.Convert(tensor.BFloat16)
		for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16, tensor.Int8, tensor.Int4} {
			for _, packed := range []bool{false, true} {
				for _, src := range []*tensor.Tensor{whole, halves} {
					t.Run(fmt.Sprintf("%v/%v/packed=%v/%v", shape, d, packed, src.DType()), func(t *testing.T) {
						want := tensor.FromFloat32s(src.Float32s(), n, k)
						want = tensor.FromFloat32s(slices.Clone(want.Data()), n, k)
						want.Convert(d)
						if packed {
							want.Pack()
						}
						got := tensor.NewWeight(n, k)
						got.Renew(d, packed)
						for from := 0; from < n; from += 2 * tensor.PanelRows {
							to := min(from+2*tensor.PanelRows, n)
							got.SetRows(from, part(src, from, to))
						}
						if !slices.Equal(got.Float32s(), want.Float32s()) {
							t.Error("the elements differ")
						}
						if got.Bytes() != want.Bytes() || want.Bytes() != tensor.NewWeight(n, k).BytesAs(d, packed) {
							t.Errorf("%d bytes, want %d; announced are %d", got.Bytes(), want.Bytes(), want.BytesAs(d, packed))
						}
						if got.DType() != d || got.Packed() != packed || !got.IsWeight() {
							t.Errorf("it is %v", got)
						}
					})
				}
			}
		}
	}
}

// Integers with scales pass from tensor to tensor as they are, and to other formats by
// what they stand for.
func TestSetRowsOfIntegers(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, shape := range [][2]int{{1, 1}, {33, 64}, {100, 33}} {
		n, k := shape[0], shape[1]
		blocks := (k + tensor.QuantBlock - 1) / tensor.QuantBlock
		q, scales, values := make([]int8, n*k), make([]float32, n*blocks), make([]float32, n*k)
		for i := range scales {
			scales[i] = float32(r.IntN(1<<11)-1<<10) / 1024
		}
		for i := range q {
			q[i] = int8(r.IntN(20) - 10)
			values[i] = float32(q[i]) * scales[i/k*blocks+i%k/tensor.QuantBlock]
		}
		for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16, tensor.Int8, tensor.Int4} {
			want := tensor.FromFloat32s(slices.Clone(values), n, k)
			if d != tensor.Int8 {
				want.Convert(d)
			}
			for _, packed := range []bool{false, true} {
				got := tensor.NewWeight(n, k)
				got.Renew(d, packed)
				for from := 0; from < n; from += tensor.PanelRows {
					to := min(from+tensor.PanelRows, n)
					got.SetRows(from, tensor.FromInt8s(slices.Clone(q[from*k:to*k]), scales[from*blocks:to*blocks], to-from, k))
				}
				if !slices.Equal(got.Float32s(), want.Float32s()) {
					t.Errorf("%v as %v, packed %v: the elements differ", shape, d, packed)
				}
			}
		}
	}
	for name, f := range map[string]func(){
		"elements": func() { tensor.FromInt8s(make([]int8, 5), make([]float32, 2), 2, 3) },
		"scales":   func() { tensor.FromInt8s(make([]int8, 6), make([]float32, 1), 2, 3) },
	} {
		func() {
			defer func() {
				if _, ok := recover().(*tensor.ShapeError); !ok {
					t.Errorf("the wrong number of %s: no ShapeError", name)
				}
			}()
			f()
		}()
	}
}

// part returns some rows of a matrix.
func part(m *tensor.Tensor, from, to int) *tensor.Tensor {
	k := m.Dim(1)
	p := tensor.FromFloat32s(slices.Clone(m.Float32s()[from*k:to*k]), to-from, k)
	p.Convert(m.DType())
	return p
}

// A weight can be read by many before anybody has written to it.
func TestBlankWeight(t *testing.T) {
	w := tensor.NewWeight(100, 40)
	if w.Bytes() != 4*100*40 {
		t.Errorf("%d bytes", w.Bytes())
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			dst, src := tensor.MatOf(make([]float32, 300), 3, 100), tensor.MatOf(make([]float32, 120), 3, 40)
			dst.Data[7] = 1
			tensor.MatMulT(dst, src, w)
			if slices.Max(dst.Data) != 0 || slices.Max(w.Data()) != 0 {
				t.Error("not zero")
			}
		})
	}
	wg.Wait()
	w.Data()[5] = 3
	if row := make([]float32, 40); true {
		w.Row(row, 0)
		if row[5] != 3 {
			t.Error("what was written is lost")
		}
	}
}

func TestSetRowsRefuses(t *testing.T) {
	w := tensor.NewWeight(64, 8)
	w.Renew(tensor.BFloat16, true)
	for name, f := range map[string]func(){
		"a row within a panel": func() { w.SetRows(5, tensor.New(1, 8)) },
		"another width":        func() { w.SetRows(0, tensor.New(1, 9)) },
		"too many rows":        func() { w.SetRows(32, tensor.New(33, 8)) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", name)
				}
			}()
			f()
		}()
	}
}

// What FromInt8s makes of scales is the same in a tensor that is packed and in one that is
// not, and in products with them.
func TestFromInt8s(t *testing.T) {
	const k = 2 * tensor.QuantBlock
	inf := float32(math.Inf(1))
	scales := []float32{1, -0.5, 0x1p-24, -65504, 1 + 0x1p-11, 0x1.8p-40, 0, 0x1p-50, 0x1.ffcp22, 0x1p23, inf, float32(math.NaN())}
	want := []float32{1, -0.5, 0x1p-24, -65504, 1, 0x1.8p-40, 0, 0, 0x1.ffcp22, inf, inf, inf} // inf stands for NaN
	n := len(scales) / 2
	q := make([]int8, n*k)
	for i := range q {
		q[i] = int8(i%255 - 127)
	}
	data := slices.Clone(q)
	w := tensor.FromInt8s(data, scales, n, k)
	if want := n*k + 2*len(scales); w.Bytes() != want {
		t.Errorf("%d bytes, want %d", w.Bytes(), want)
	}
	packed := tensor.NewWeight(n, k)
	packed.Renew(tensor.Int8, true)
	packed.SetRows(0, w)
	other := packed.Float32s()
	for i, v := range w.Float32s() {
		scale := want[i/tensor.QuantBlock]
		switch {
		case scale == inf:
			if v == v || other[i] == other[i] {
				t.Errorf("element %d is %v, packed %v, want NaN", i, v, other[i])
			}
		case v != float32(q[i])*scale || other[i] != v:
			t.Errorf("element %d is %v, packed %v, want %v", i, v, other[i], float32(q[i])*scale)
		}
	}
	src := tensor.MatOf(make([]float32, 3*k), 3, k)
	for i := range src.Data {
		src.Data[i] = float32(i%17) - 7.3
	}
	a, b := tensor.MatOf(make([]float32, 3*n), 3, n), tensor.MatOf(make([]float32, 3*n), 3, n)
	tensor.MatMulT(a, src, w)
	tensor.MatMulT(b, src, packed)
	for i, v := range a.Data {
		if math.Float32bits(v) != math.Float32bits(b.Data[i]) && (v == v || b.Data[i] == b.Data[i]) {
			t.Errorf("product %d is %v, with the packed one %v", i, v, b.Data[i])
		}
	}
	again := tensor.New(2, 2)
	for _, use := range []struct{ rows, cols int }{{1, 64}, {n, k}, {2, 33}} { // larger and smaller than before
		data, scales := make([]int8, use.rows*use.cols), make([]float32, use.rows*((use.cols+31)/32))
		for i := range data {
			data[i] = int8(i%255 - 127)
		}
		for i := range scales {
			scales[i] = float32(i%7+1) / 8
		}
		want := tensor.FromInt8s(data, scales, use.rows, use.cols)
		again.UseInt8s(data, scales, use.rows, use.cols)
		if !slices.Equal(again.Float32s(), want.Float32s()) || !slices.Equal(again.Shape(), want.Shape()) || again.DType() != tensor.Int8 {
			t.Errorf("%d×%d: a tensor that is used again is another than a new one", use.rows, use.cols)
		}
	}
	halves := []uint16{1, 2, 3, 4}
	tensor.FromBFloat16s(halves, 1, 4).UseInt8s(make([]int8, 4), []float32{1}, 1, 4)
	if !slices.Equal(halves, []uint16{1, 2, 3, 4}) {
		t.Error("scales were stored in the memory of somebody else")
	}

	lowest := tensor.FromInt8s([]int8{-128, -128}, []float32{-1, 1}, 2, 1)
	if v := lowest.Float32s(); v[0] != 127 || v[1] != -128 {
		t.Errorf("-128 times -1 and 1 are %v", v)
	}
}
