package nn

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/tensor"
)

// config is the union of the configurations of the cases.
type config struct {
	Op     string  `json:"op"`
	Eps    float32 `json:"eps"`
	Width  int     `json:"W"`
	SiLU   bool    `json:"silu"`
	Length int     `json:"L"`
}

func forEachCase(t *testing.T, prefix string, run func(t *testing.T, c *goldentest.Case, cfg config) bool) {
	f, err := goldentest.Load(prefix)
	if err != nil {
		t.Fatal(err)
	}
	cputest.ForEachTier(t, func(t *testing.T) {
		ran := 0
		for _, c := range f.Cases {
			var cfg config
			if err := c.Config(&cfg); err != nil {
				t.Fatal(err)
			}
			t.Run(c.Name, func(t *testing.T) {
				if run(t, c, cfg) {
					ran++
				}
			})
		}
		if ran == 0 {
			t.Error("no case was run")
		}
	})
}

// compare compares everything a case expects with what was computed.
func compare(t *testing.T, c *goldentest.Case, got map[string][]float32) {
	t.Helper()
	compareWith(t, c, got, "out.", "state.", "grad.")
}

// compareWith compares what a case expects under names with these prefixes.
func compareWith(t *testing.T, c *goldentest.Case, got map[string][]float32, prefixes ...string) {
	t.Helper()
	for _, prefix := range prefixes {
		for _, name := range c.Names(prefix) {
			if got[name] == nil {
				t.Errorf("%s was not computed", name)
			} else if err := c.Compare(name, got[name]); err != nil {
				t.Error(err)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if !c.Has(name) {
			t.Errorf("%s was computed, but is not in the case", name)
		}
	}
}

// seqOf describes a tensor of a case as a batch: all dimensions but the last two
// are the batch.
func seqOf(c *goldentest.Case, name string) tensor.Seq {
	shape := c.Shape(name)
	batch, length, dim := 1, 1, shape[len(shape)-1]
	if len(shape) > 1 {
		length = shape[len(shape)-2]
	}
	for _, d := range shape[:max(len(shape)-2, 0)] {
		batch *= d
	}
	return tensor.SeqOf(c.Tensor(name), batch, length, dim)
}

func param(c *goldentest.Case, name string) *tensor.Tensor {
	if !c.Has("param." + name) {
		return nil
	}
	return tensor.FromFloat32s(c.Tensor("param."+name), c.Shape("param."+name)...)
}

// gradsOf returns zero gradients for the parameters that are not nil.
func gradsOf(params ...*tensor.Tensor) seqmix.Grads {
	g := seqmix.Grads{}
	for _, p := range params {
		if p != nil {
			g[p] = tensor.New(p.Shape()...)
		}
	}
	return g
}

// goldenTrainer runs a layer forward and backward.
func goldenTrainer(t *testing.T, c *goldentest.Case, m seqmix.Trainer) map[string][]float32 {
	t.Helper()
	x := seqOf(c, "in.x")
	y, dx := tensor.NewSeq(x.Batch, x.Len, x.Dim), tensor.NewSeq(x.Batch, x.Len, x.Dim)
	tape, err := m.Record(y, x)
	if err != nil {
		t.Fatal(err)
	}
	grads := seqmix.NewGrads(m)
	tape.Backward(dx, seqOf(c, "in.dy"), grads)
	got := map[string][]float32{"out.y": y.Data, "grad.x": dx.Data}
	for name, p := range m.Params() {
		got["grad."+name] = grads.Of(p)
	}
	return got
}

func TestGoldenCommon(t *testing.T) {
	forEachCase(t, "testdata/common", func(t *testing.T, c *goldentest.Case, cfg config) bool {
		switch cfg.Op {
		case "rmsnorm", "rmsnorm_eps_outside":
			n := &RMSNorm{Weight: param(c, "weight"), Eps: cfg.Eps, Outside: cfg.Op != "rmsnorm", dim: seqOf(c, "in.x").Dim}
			compare(t, c, goldenTrainer(t, c, n))
		case "rmsnorm_residual":
			compare(t, c, goldenResidualNorm(c, cfg))
		case "layernorm":
			compare(t, c, goldenTrainer(t, c, &LayerNorm{Weight: param(c, "weight"), Bias: param(c, "bias"), Eps: cfg.Eps}))
		case "silu":
			compare(t, c, goldenActivation(c, SiLU))
		case "gelu_erf":
			compare(t, c, goldenActivation(c, GELU))
		case "gelu_tanh":
			compare(t, c, goldenActivation(c, GELUTanh))
		case "sigmoid":
			compare(t, c, goldenActivation(c, Sigmoid))
		case "tanh":
			compare(t, c, goldenActivation(c, Tanh))
		case "swiglu":
			compare(t, c, goldenGate(c, SiLU))
		case "geglu":
			compare(t, c, goldenGate(c, GELU))
		case "linear":
			compare(t, c, goldenLinear(c))
		case "embedding_tied":
			compare(t, c, goldenTied(t, c))
		case "softplus":
			compareWith(t, c, goldenFunction(c, tensor.Softplus), "out.")
		case "exp_neg":
			compareWith(t, c, goldenFunction(c, expOfMinusMagnitude), "out.")
		case "softmax":
			compareWith(t, c, goldenSoftmax(c), "out.")
		default:
			return false
		}
		return true
	})
}

// goldenFunction runs a function that is not a layer: it has no gradient here.
func goldenFunction(c *goldentest.Case, f func(dst, x []float32)) map[string][]float32 {
	y := c.Tensor("in.x")
	f(y, y)
	return map[string][]float32{"out.y": y}
}

func expOfMinusMagnitude(dst, x []float32) {
	for i, v := range x {
		dst[i] = min(v, -v)
	}
	tensor.Exp(dst, dst)
}

func goldenSoftmax(c *goldentest.Case) map[string][]float32 {
	x := seqOf(c, "in.x").Mat()
	var lse []float32
	for i := range x.Rows {
		lse = append(lse, tensor.LogSumExp(x.Row(i)))
		tensor.Softmax(x.Row(i), x.Row(i))
	}
	return map[string][]float32{"out.y": x.Data, "out.lse": lse}
}

func goldenResidualNorm(c *goldentest.Case, cfg config) map[string][]float32 {
	x, residual := seqOf(c, "in.x"), seqOf(c, "in.residual")
	tensor.AddSeq(residual, residual, x)
	n := &RMSNorm{Weight: param(c, "weight"), Eps: cfg.Eps}
	y, dx := tensor.NewSeq(x.Batch, x.Len, x.Dim), tensor.NewSeq(x.Batch, x.Len, x.Dim)
	n.Mix(y, residual)
	grads := seqmix.NewGrads(n)
	n.Backward(dx, seqOf(c, "in.dy"), residual, grads)
	tensor.AddSeq(dx, dx, seqOf(c, "in.dresidual"))
	return map[string][]float32{
		"out.y": y.Data, "out.residual": residual.Data,
		"grad.x": dx.Data, "grad.residual": dx.Data, "grad.weight": grads.Of(n.Weight),
	}
}

func goldenActivation(c *goldentest.Case, a Activation) map[string][]float32 {
	x := c.Tensor("in.x")
	y, dx := make([]float32, len(x)), make([]float32, len(x))
	a.Apply(y, x)
	a.Grad(dx, c.Tensor("in.dy"), x)
	return map[string][]float32{"out.y": y, "grad.x": dx}
}

func goldenGate(c *goldentest.Case, a Activation) map[string][]float32 {
	gate, up, dy := seqOf(c, "in.gate").Mat(), seqOf(c, "in.up").Mat(), seqOf(c, "in.dy").Mat()
	mat := func() tensor.Mat { return tensor.MatOf(make([]float32, len(gate.Data)), gate.Rows, gate.Cols) }
	y, dgate, dup := mat(), mat(), mat()
	gateRows(a, y, up, gate)
	gateGrad(a, dgate, dup, dy, gate, up)
	return map[string][]float32{"out.y": y.Data, "grad.gate": dgate.Data, "grad.up": dup.Data}
}

func goldenLinear(c *goldentest.Case) map[string][]float32 {
	l := &Linear{Weight: param(c, "weight"), Bias: param(c, "bias")}
	x := seqOf(c, "in.x")
	y, dx := tensor.NewSeq(x.Batch, x.Len, l.Out()), tensor.NewSeq(x.Batch, x.Len, x.Dim)
	l.Apply(y, x)
	grads := seqmix.NewGrads(l)
	l.Backward(dx, seqOf(c, "in.dy"), x, grads)
	return map[string][]float32{
		"out.y": y.Data, "grad.x": dx.Data, "grad.weight": grads.Of(l.Weight), "grad.bias": grads.Of(l.Bias),
	}
}

// goldenTied computes logits = E[ids]·W·Eᵀ.
func goldenTied(t *testing.T, c *goldentest.Case) map[string][]float32 {
	e := &Embedding{Weight: param(c, "embedding")}
	d, shape := e.Dim(), c.Shape("in.ids")
	ids := make([]int, shape[0]*shape[1])
	for i, v := range c.Tensor("in.ids") {
		ids[i] = int(v)
	}
	middle, head := NewLinear(d, d, false), e.Head()
	transpose(middle.Weight.Data(), c.Tensor("param.w"), d)
	x, h := tensor.NewSeq(shape[0], shape[1], d), tensor.NewSeq(shape[0], shape[1], d)
	logits := tensor.NewSeq(shape[0], shape[1], e.Vocabulary())
	if err := e.Lookup(x, ids); err != nil {
		t.Fatal(err)
	}
	middle.Apply(h, x)
	head.Apply(logits, h)

	grads := gradsOf(e.Weight, middle.Weight)
	dh := tensor.NewSeq(shape[0], shape[1], d)
	head.Backward(dh, seqOf(c, "in.dlogits"), h, grads)
	middle.Backward(dh, dh, x, grads)
	e.Backward(dh, ids, grads)
	dw := make([]float32, d*d)
	transpose(dw, grads.Of(middle.Weight), d)
	return map[string][]float32{"out.logits": logits.Data, "grad.embedding": grads.Of(e.Weight), "grad.w": dw}
}

func transpose(dst, src []float32, n int) {
	for i := range n {
		for j := range n {
			dst[j*n+i] = src[i*n+j]
		}
	}
}

// channelsLast turns a tensor (B, E, L) into sequences.
func channelsLast(c *goldentest.Case, name string) tensor.Seq {
	shape := c.Shape(name)
	if len(shape) == 1 {
		shape = []int{1, 1, shape[0]}
	}
	s := tensor.NewSeq(shape[0], shape[2], shape[1])
	for i, v := range c.Tensor(name) {
		s.At(i/shape[2]/shape[1], i%shape[2])[i/shape[2]%shape[1]] = v
	}
	return s
}

// channelsFirst is the inverse of channelsLast.
func channelsFirst(s tensor.Seq) []float32 {
	v := make([]float32, s.Batch*s.Len*s.Dim)
	for i := range v {
		v[i] = s.At(i/s.Len/s.Dim, i%s.Len)[i/s.Len%s.Dim]
	}
	return v
}

func TestGoldenConv(t *testing.T) {
	forEachCase(t, "testdata/conv", func(t *testing.T, c *goldentest.Case, cfg config) bool {
		w := c.Tensor("param.weight")
		conv := &CausalConv1D{
			Weight:     tensor.FromFloat32s(w, len(w)/cfg.Width, 1, cfg.Width),
			Bias:       param(c, "bias"),
			Activation: Identity,
		}
		if cfg.SiLU {
			conv.Activation = SiLU
		}
		got := goldenConvForward(t, c, conv)
		if strings.HasSuffix(c.Name, "_hand") {
			delete(got, "state.final")
		} else {
			maps.Copy(got, goldenConvBackward(t, c, conv))
		}
		compare(t, c, got)
		return true
	})
}

// goldenConvForward continues from the initial state of the case, if it has one,
// which a stream comes to by reading it.
func goldenConvForward(t *testing.T, c *goldentest.Case, conv *CausalConv1D) map[string][]float32 {
	x := channelsLast(c, "in.x")
	s, err := conv.NewStream(x.Batch)
	if err != nil {
		t.Fatal(err)
	}
	if c.Has("in.state") {
		initial := channelsLast(c, "in.state")
		s.Mix(initial, initial)
	}
	y := tensor.NewSeq(x.Batch, x.Len, x.Dim)
	s.Mix(y, x)
	return map[string][]float32{"out.y": channelsFirst(y), "state.final": channelsFirst(s.(*convStream).inputs())}
}

// goldenConvBackward takes an initial state for inputs before the first. The final
// state, too, consists of inputs.
func goldenConvBackward(t *testing.T, c *goldentest.Case, conv *CausalConv1D) map[string][]float32 {
	x, n := channelsLast(c, "in.x"), conv.Taps()-1
	all, dy := tensor.NewSeq(x.Batch, n+x.Len, x.Dim), tensor.NewSeq(x.Batch, n+x.Len, x.Dim)
	if c.Has("in.state") {
		tensor.Copy(all.Slice(0, n), channelsLast(c, "in.state"))
	}
	tensor.Copy(all.Slice(n, all.Len), x)
	tensor.Copy(dy.Slice(n, all.Len), channelsLast(c, "in.dy"))
	y := tensor.NewSeq(x.Batch, all.Len, x.Dim)
	tape, err := conv.Record(y, all)
	if err != nil {
		t.Fatal(err)
	}
	grads := seqmix.NewGrads(conv)
	tape.Backward(dy, dy, grads)
	last := dy.Slice(x.Len, all.Len)
	tensor.AddSeq(last, last, channelsLast(c, "in.dfinal"))
	got := map[string][]float32{
		"grad.x":      channelsFirst(dy.Slice(n, all.Len)),
		"grad.weight": grads.Of(conv.Weight),
	}
	if c.Has("in.state") {
		got["grad.state"] = channelsFirst(dy.Slice(0, n))
	}
	if conv.Bias != nil {
		got["grad.bias"] = grads.Of(conv.Bias)
	}
	return got
}
