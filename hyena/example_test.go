package hyena_test

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// noise returns a sequence of random vectors.
func noise(length, dim int) tensor.Seq {
	r := rand.New(rand.NewPCG(1, 1))
	x := tensor.NewSeq(1, length, dim)
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	return x
}

// difference returns the largest difference between two results, relative to the largest
// number.
func difference(a, b tensor.Seq) float64 {
	var d, size float64
	for i, v := range a.Data {
		d, size = max(d, math.Abs(float64(v-b.Data[i]))), max(size, math.Abs(float64(v)))
	}
	return d / size
}

// A step against the gradient makes the difference to a target smaller. The window of the
// filters stays as it is.
func ExampleHyena_Record() {
	m, err := hyena.New(hyena.Config{DModel: 8, LMax: 100})
	if err != nil {
		panic(err)
	}
	m.Init(rand.New(rand.NewPCG(1, 2)))
	grads := seqmix.NewGrads(m)
	for _, p := range []*tensor.Tensor{m.Filter().T, m.Filter().Deltas} {
		delete(grads, p)
	}
	x, target := noise(100, 8), tensor.NewSeq(1, 100, 8)
	y := tensor.NewSeq(1, 100, 8)
	loss := func() float32 {
		tensor.Sub(y.Data, y.Data, target.Data)
		return tensor.SumSquares(y.Data) / 2
	}
	tape, err := m.Record(y, x)
	if err != nil {
		panic(err)
	}
	before := loss() // y is the gradient now
	tape.Backward(y, y, grads)
	for p, g := range grads {
		v := p.Float32s()
		tensor.Axpy(-1e-3, g.Data(), v)
		p.SetFloat32s(v)
	}
	m.Mix(y, x)
	fmt.Println("smaller:", loss() < before)
	// Output: smaller: true
}

// A stream gives what the whole sequence does, and begins with a prompt of any length.
func ExampleHyena() {
	m, err := hyena.New(hyena.Config{DModel: 16, LMax: 1000, EmbDim: 5, W: 10})
	if err != nil {
		panic(err)
	}
	m.Init(rand.New(rand.NewPCG(1, 2)))
	src := noise(1000, 16)
	whole, streamed := tensor.NewSeq(1, 1000, 16), tensor.NewSeq(1, 1000, 16)
	m.Mix(whole, src)
	s, err := m.NewStream(1)
	if err != nil {
		panic(err)
	}
	s.Mix(streamed.Slice(0, 600), src.Slice(0, 600))
	for i := 600; i < 1000; i++ {
		s.Mix(streamed.Slice(i, i+1), src.Slice(i, i+1))
	}
	fmt.Println("same to rounding:", difference(whole, streamed) < 1e-5)
	// Output: same to rounding: true
}

// The filters of a trained model may be close to sums of a few exponentials. How close is
// reported for every channel.
func ExampleHyena_Distill() {
	m, err := hyena.New(hyena.Config{DModel: 8, LMax: 500, FilterOrder: 16})
	if err != nil {
		panic(err)
	}
	m.Init(rand.New(rand.NewPCG(1, 2)))
	d, fits, err := m.Distill(hyena.FitOptions{Tol: 1e-6})
	if err != nil {
		panic(err)
	}
	worst := 0.0
	for _, f := range fits {
		worst = max(worst, f.L2)
	}
	src := noise(500, 8)
	exact, approximate := tensor.NewSeq(1, 500, 8), tensor.NewSeq(1, 500, 8)
	m.Mix(exact, src)
	d.Mix(approximate, src)
	fmt.Println("error of the taps below 0.0001:", worst < 1e-4)
	fmt.Println("error of the result below 0.0001:", difference(exact, approximate) < 1e-4)
	// Output:
	// error of the taps below 0.0001: true
	// error of the result below 0.0001: true
}

// Two exponentials that a filter was made of are found again.
func ExampleFitModal() {
	h := make([]float64, 100)
	for t := range h {
		h[t] = 3*math.Pow(0.9, float64(t)) - 2*math.Pow(0.5, float64(t))
	}
	f, err := hyena.FitModal(h, hyena.FitOptions{Tol: 1e-8})
	if err != nil {
		panic(err)
	}
	for i, d := range f.Distances {
		fmt.Printf("%.4f × %.4f^t\n", real(f.Residues[i]), 1+real(d))
	}
	// Unordered output:
	// 3.0000 × 0.9000^t
	// -2.0000 × 0.5000^t
}

// A modal filter with one real pole is exponential smoothing.
func ExampleModal() {
	m, err := hyena.NewModal(hyena.ModalConfig{Dim: 1, States: 1})
	if err != nil {
		panic(err)
	}
	for name, p := range m.Params() {
		switch name {
		case "poles":
			p.SetFloat32s([]float32{0.5, 0})
		case "residues":
			p.SetFloat32s([]float32{1, 0})
		}
	}
	x := tensor.SeqOf([]float32{1, 0, 0, 4}, 1, 4, 1)
	m.Mix(x, x)
	fmt.Println(x.Data)
	// Output: [1 0.5 0.25 4.125]
}

// Evo 2 repeats a short, a medium and a long filter. Attention layers are blocks as well,
// with the prefix "inner_mha_cls.".
func ExampleBlock() {
	var model seqmix.Stack
	for i, kind := range []hyena.FilterKind{hyena.ShortFilter, hyena.MediumFilter, hyena.LongFilter} {
		mixer, err := hyena.NewStriped(hyena.StripedConfig{CascadeConfig: hyena.CascadeConfig{Dim: 32, Kind: kind}})
		if err != nil {
			panic(err)
		}
		outside, act := false, nn.Identity
		if i == 0 {
			act = nn.GELU
		}
		block, err := hyena.NewBlock(hyena.BlockConfig{Dim: 32, Eps: 1e-6, FlashNorm: &outside, Activation: act}, mixer, "")
		if err != nil {
			panic(err)
		}
		model = append(model, block)
	}
	for name, p := range model.Params() {
		if len(name) > 9 && name[2:9] == "filter." {
			fmt.Println(name, p.Shape())
		}
	}
	// Output:
	// 0.filter.short_filter_weight [96 1 3]
	// 0.filter.h [32 1 7]
	// 1.filter.short_filter_weight [96 1 3]
	// 1.filter.h [32 1 128]
	// 1.filter.D [32]
	// 2.filter.short_filter_weight [96 1 3]
	// 2.filter.D [32]
	// 2.filter.log_poles [32 16 1]
	// 2.filter.residues [32 16]
}
