package monarch_test

import (
	"errors"
	"fmt"
	"log"
	"math"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/tensor"
)

func Example() {
	// A layer of M2-BERT, with random parameters: a mixer of positions and a network for
	// each of them, made of block-diagonal matrices.
	mixer, err := monarch.NewMixer(monarch.MixerConfig{Dim: 16, LMax: 128})
	if err != nil {
		log.Fatal(err)
	}
	mlp, err := monarch.NewMLP(monarch.MLPConfig{Dim: 16, Hidden: 64})
	if err != nil {
		log.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	mixer.Init(r)
	mlp.Init(r)
	layer := seqmix.Stack{mixer, mlp}

	x := tensor.NewSeq(1, 100, 16)
	layer.Mix(x, x)
	fmt.Println(x.Len, "positions of width", layer.Dim())

	// Positions see later ones, so that the layer cannot run while a sequence arrives.
	_, err = seqmix.NewStream(layer, 1)
	fmt.Println("streams:", !errors.Is(err, errors.ErrUnsupported))
	// Output:
	// 100 positions of width 16
	// streams: false
}

func ExampleNew() {
	// Two factors of two blocks of 2×2.
	w1 := tensor.FromFloat32s([]float32{1, 2, 3, 4, 5, 6, 7, 8}, 2, 2, 2)
	w2 := tensor.FromFloat32s([]float32{1, 0, 0, 1, 1, 1, 1, -1}, 2, 2, 2)
	m, err := monarch.New(w1, w2)
	if err != nil {
		log.Fatal(err)
	}
	y := make([]float32, 4)
	m.Apply(tensor.MatOf(y, 1, 4), tensor.MatOf([]float32{1, 0, 0, 1}, 1, 4))
	fmt.Println(y)
	dense := m.Dense().Data()
	for i := range 4 {
		fmt.Println(dense[4*i : 4*i+4])
	}
	// Output:
	// [1 11 6 -5]
	// [1 2 0 0]
	// [3 4 7 8]
	// [0 0 5 6]
	// [3 4 -7 -8]
}

// round rounds to a thousandth, and -0 to 0.
func round(x float32) float64 { return math.Round(1000*float64(x))/1000 + 0 }

func ExampleDFT() {
	// A transform of 4·3 elements, with complex numbers as pairs.
	dft, err := monarch.DFT(4, 3)
	if err != nil {
		log.Fatal(err)
	}
	x := make([]float32, 2*dft.In())
	x[2*1] = 1 // one at position 1: its spectrum turns once
	dft.Apply(tensor.MatOf(x, 1, len(x)), tensor.MatOf(x, 1, len(x)))
	for f := 0; f < 12; f += 3 {
		fmt.Println(round(x[2*f]), round(x[2*f+1]))
	}
	fmt.Println(dft.Parameters(), "multiply-adds, of", 4*dft.In()*dft.In(), "of a dense matrix")
	// Output:
	// 1 0
	// 0 -1
	// -1 0
	// 0 1
	// 336 multiply-adds, of 576 of a dense matrix
}

func ExampleProject() {
	// A dense matrix that is a Monarch matrix with a little noise.
	r := rand.New(rand.NewPCG(1, 2))
	shape := monarch.SquareShape(64)
	random := func(a, b, c int) *tensor.Tensor {
		t := tensor.New(a, b, c)
		for i := range t.Data() {
			t.Data()[i] = float32(r.NormFloat64())
		}
		return t
	}
	m, err := monarch.New(random(shape.K, shape.Q, shape.P), random(shape.L, shape.S, shape.R))
	if err != nil {
		log.Fatal(err)
	}
	noisy := m.Dense()
	for i := range noisy.Data() {
		noisy.Data()[i] += float32(0.01 * r.NormFloat64())
	}
	_, _, distance, err := monarch.Project(noisy, shape)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(shape.Parameters(), "parameters instead of", noisy.Len())
	fmt.Printf("distance %.1f\n", distance)
	// Output:
	// 1024 parameters instead of 4096
	// distance 0.6
}

func ExampleMatrix_Inverse() {
	w := tensor.FromFloat32s([]float32{2, 1, 1, 1, 1, 0, 0, 4}, 2, 2, 2)
	m, err := monarch.New(w, w)
	if err != nil {
		log.Fatal(err)
	}
	inverse, err := m.Inverse()
	if err != nil {
		log.Fatal(err)
	}
	x := tensor.MatOf([]float32{1, 2, 3, 4}, 1, 4)
	m.Apply(x, x)
	inverse.Apply(x, x)
	fmt.Println(x.Data)

	clear(w.Data()) // the matrix shares the factors
	_, err = m.Inverse()
	fmt.Println(errors.Is(err, monarch.ErrSingular))
	// Output:
	// [1 2 3 4]
	// true
}

func ExampleCausalMixer() {
	// A lower triangular matrix for 16 positions, from factors of 4×4.
	m, err := monarch.NewCausalMixer(monarch.CausalConfig{Dim: 2, LMax: 16})
	if err != nil {
		log.Fatal(err)
	}
	m.Init(rand.New(rand.NewPCG(1, 2)))
	src, whole, pieces := tensor.NewSeq(1, 16, 2), tensor.NewSeq(1, 16, 2), tensor.NewSeq(1, 16, 2)
	for i := range src.Data {
		src.Data[i] = float32(i)
	}
	m.Mix(whole, src)

	stream, err := m.NewStream(1)
	if err != nil {
		log.Fatal(err)
	}
	stream.Mix(pieces.Slice(0, 5), src.Slice(0, 5))
	for t := 5; t < 16; t++ {
		stream.Mix(pieces.Slice(t, t+1), src.Slice(t, t+1))
	}
	same := true
	for i, v := range pieces.Data {
		same = same && v == whole.Data[i]
	}
	fmt.Println("the same bits:", same)
	// Output:
	// the same bits: true
}

func ExampleConvolution() {
	// For a given filter, a causal convolution is a lower triangular matrix: with powers as a
	// basis one of Toeplitz, with Chebyshev polynomials not.
	fourier, err := monarch.NewFourierConvolution(3)
	if err != nil {
		log.Fatal(err)
	}
	chebyshev, err := monarch.NewChebyshevConvolution(3)
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range []*monarch.Convolution{fourier, chebyshev} {
		t := c.Dense([]float32{1, 2, 4}).Data()
		for i := range 3 {
			fmt.Println(round(t[3*i]), round(t[3*i+1]), round(t[3*i+2]))
		}
	}
	// Output:
	// 1 0 0
	// 2 1 0
	// 4 2 1
	// 0.5 0 0
	// 1 0.5 0
	// 4 1 1
}

// The gradients of the factors come from that of one element of the product.
func ExampleMatrix_Backward() {
	w1 := tensor.FromFloat32s([]float32{1, 2, 3, 4, 5, 6, 7, 8}, 2, 2, 2)
	w2 := tensor.FromFloat32s([]float32{1, 0, 0, 1, 1, 1, 0, 2}, 2, 2, 2)
	m, err := monarch.New(w1, w2)
	if err != nil {
		log.Fatal(err)
	}
	x := tensor.MatOf([]float32{1, 0, 2, 0}, 1, 4)
	dy := tensor.MatOf([]float32{1, 0, 0, 0}, 1, 4)
	dx := tensor.MatOf(make([]float32, 4), 1, 4)
	grads := seqmix.Grads{w1: tensor.New(2, 2, 2), w2: tensor.New(2, 2, 2)}
	m.Backward(dx, dy, x, grads)
	fmt.Println(dx.Data)
	fmt.Println(grads.Of(w1))
	fmt.Println(grads.Of(w2))
	// Output:
	// [1 2 0 0]
	// [1 0 0 0 0 0 0 0]
	// [1 10 0 0 0 0 0 0]
}
