package based_test

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A prompt is read at once, then tokens one by one. The state does not grow.
func ExampleLinearAttention() {
	m, err := based.NewLinearAttention(based.LinearAttentionConfig{DModel: 64, Heads: 4})
	if err != nil {
		panic(err)
	}
	m.Init(rand.New(rand.NewPCG(1, 2)))

	src := tensor.NewSeq(1, 1000, 64)
	for i := range src.Data {
		src.Data[i] = float32(i%17) / 17
	}
	whole := tensor.NewSeq(1, 1000, 64)
	m.Mix(whole, src)

	s, err := m.NewStream(1)
	if err != nil {
		panic(err)
	}
	dst := tensor.NewSeq(1, 1000, 64)
	s.Mix(dst.Slice(0, 900), src.Slice(0, 900))
	for i := 900; i < 1000; i++ {
		s.Mix(dst.Slice(i, i+1), src.Slice(i, i+1))
	}
	tensor.AddScaled(dst.Data, dst.Data, -1, whole.Data)
	fmt.Println("streamed and whole agree:", tensor.Max(dst.Data) < 1e-5)

	kv, z := s.(*based.LinearAttentionStream).State().Sums()
	fmt.Println("sums:", kv.Shape(), z.Shape())
	// Output:
	// streamed and whole agree: true
	// sums: [1 4 16 153] [1 4 153]
}

// The features of a query and a key approximate the exponential of their product.
func ExampleTaylor() {
	q, k := []float32{0.5, -1, 0.25, 2}, []float32{1.5, 0.3, -0.7, 0.2}
	var m based.Taylor
	a, b := make([]float32, m.Features(4)), make([]float32, m.Features(4))
	m.Map(a, q, 0)
	m.Map(b, k, 0)
	s := tensor.Dot(q, k) / 2 // √4
	fmt.Printf("%d features, φ(q)·φ(k) = %.4f, 1 + s + s²/2 = %.4f\n", len(a), tensor.Dot(a, b), 1+s+s*s/2)
	// Output:
	// 15 features, φ(q)·φ(k) = 1.3945, 1 + s + s²/2 = 1.3945
}

// With queries of zeros all keys weigh the same: the output is the mean of the values.
func ExampleAttention() {
	q, k := tensor.NewSeq(1, 4, 2), tensor.NewSeq(1, 4, 2)
	v := tensor.SeqOf([]float32{1, 2, 6, 7}, 1, 4, 1)
	based.Attention{Heads: 1}.Apply(v, q, k, v)
	fmt.Println(v.Data)
	// Output:
	// [1 1.5 3 4]
}

// cube is a feature map of one's own.
type cube struct{}

func (cube) Features(n int) int { return n }

func (cube) Map(dst, x []float32, _ int) {
	for i, v := range x {
		dst[i] = v * v * v
	}
}

func ExampleFeatureMap() {
	m, err := based.NewLinearAttention(based.LinearAttentionConfig{DModel: 8, Heads: 2, FeatureDim: 4, Map: cube{}})
	fmt.Println(m.Dim(), err)
	// Output:
	// 8 <nil>
}

// A filter of taps 0, 0, 1 leaves the input as it is, one of 1, 0, 0 delays it by two.
func ExampleBaseConv() {
	m, err := based.NewBaseConv(based.BaseConvConfig{DModel: 1})
	if err != nil {
		panic(err)
	}
	for name, p := range m.Params() {
		switch name {
		case "projection.bias":
			p.SetFloat32s([]float32{1}) // a gate that is always open
		case "conv.conv.weight":
			p.SetFloat32s([]float32{1, 0, 0})
		}
	}
	x := tensor.SeqOf([]float32{1, 2, 3, 4}, 1, 4, 1)
	m.Mix(x, x) // delayed, and the input added
	fmt.Println(x.Data)
	// Output:
	// [1 2 4 6]
}

// The layers of Based alternate: of five, one is linear attention, one attends to a
// window, the others are gated convolutions. Each is followed by an MLP.
func ExampleGatedConv() {
	const d, heads, window = 32, 2, 16
	conv, err1 := based.NewGatedConv(based.GatedConvConfig{DModel: d})
	linear, err2 := based.NewLinearAttention(based.LinearAttentionConfig{DModel: d, Heads: heads})
	sliding, err3 := attention.NewMultiHead(attention.MultiHeadConfig{
		Dim: d, Heads: heads, Layout: attention.Wqkv, RoPE: &attention.RoPEConfig{}, Left: new(window / 2),
	})
	mlp, err4 := nn.NewGLU(nn.GLUConfig{Dim: d, Hidden: 2 * d, Layout: nn.FC1FC2})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		panic(err)
	}
	var model seqmix.Stack
	for _, m := range []seqmix.Mixer{conv, linear, sliding, conv, conv} {
		model = append(model,
			&seqmix.Residual{Norm: nn.NewRMSNorm(d, 1e-5), Mixer: m},
			&seqmix.Residual{Norm: nn.NewRMSNorm(d, 1e-5), Mixer: mlp})
	}
	_, err := seqmix.NewStream(model, 1)
	fmt.Println(len(model), "blocks, streaming error:", err)
	// Output:
	// 10 blocks, streaming error: <nil>
}

// A step against the gradient makes a loss smaller: here half the sum of squares of the
// results.
func ExampleLinearAttention_Record() {
	m, err := based.NewLinearAttention(based.LinearAttentionConfig{DModel: 8, Heads: 2, FeatureDim: 4})
	if err != nil {
		panic(err)
	}
	m.Init(rand.New(rand.NewPCG(1, 2)))
	src, dst, dsrc := tensor.NewSeq(1, 20, 8), tensor.NewSeq(1, 20, 8), tensor.NewSeq(1, 20, 8)
	for i := range src.Data {
		src.Data[i] = float32(i%7) - 3
	}
	tape, err := m.Record(dst, src)
	if err != nil {
		panic(err)
	}
	before := tensor.SumSquares(dst.Data)
	grads := seqmix.NewGrads(m)
	tape.Backward(dsrc, dst, grads)
	for _, p := range m.Params() {
		tensor.Axpy(-0.001, grads.Of(p), p.Data())
	}
	m.Mix(dst, src)
	fmt.Println(tensor.SumSquares(dst.Data) < before)
	// Output: true
}
