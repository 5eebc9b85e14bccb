package golden

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

var _ = register(map[string]computation{
	"rmsnorm":             rmsNorm,
	"rmsnorm_eps_outside": rmsNorm,
	"rmsnorm_residual":    rmsNormResidual,
	"layernorm":           layerNorm,
	"silu":                activation(nn.SiLU),
	"gelu_erf":            activation(nn.GELU),
	"gelu_tanh":           activation(nn.GELUTanh),
	"sigmoid":             activation(nn.Sigmoid),
	"tanh":                activation(nn.Tanh),
	"softplus":            softplus,
	"exp_neg":             expOfMinusMagnitude,
	"swiglu":              gate(nn.SiLU),
	"geglu":               gate(nn.GELU),
	"softmax":             softmax,
	"linear":              linear,
	"embedding_tied":      embeddingTied,
	"inverse_softplus":    inverseSoftplus,
})

// rmsNormOf returns a norm with the weight of the case, or without one. StripedHyena
// calls the weight scale, and says by the field flash where ε is.
func rmsNormOf(c *goldentest.Case) (*nn.RMSNorm, error) {
	var cfg struct {
		Eps   float32 `json:"eps"`
		Flash *bool   `json:"flash"`
	}
	err := c.Config(&cfg)
	n := nn.NewRMSNorm(seqOf(c, "in.x").Dim, cfg.Eps)
	n.Outside = c.Op() == "rmsnorm_eps_outside" || cfg.Flash != nil && !*cfg.Flash
	n.Weight = tensorOf(c, "param.weight")
	if n.Weight == nil {
		n.Weight = tensorOf(c, "param.scale")
	}
	return n, err
}

func rmsNorm(c *goldentest.Case) (results, error) {
	n, err := rmsNormOf(c)
	if err != nil {
		return nil, err
	}
	r, err := layer(c, n)
	if err == nil && c.Has("grad.scale") {
		r["grad.scale"] = r["grad.weight"]
	}
	return r, err
}

func layerNorm(c *goldentest.Case) (results, error) {
	var cfg struct {
		Eps float32 `json:"eps"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	return layer(c, &nn.LayerNorm{Weight: tensorOf(c, "param.weight"), Bias: tensorOf(c, "param.bias"), Eps: cfg.Eps})
}

// layer runs a layer from in.x to out.y, and its gradient.
func layer(c *goldentest.Case, m seqmix.Trainer) (results, error) {
	x := seqOf(c, "in.x")
	y, dx := like(x), like(x)
	m.Mix(y, x)
	r := results{"out.y": y.Data}
	recorded := like(x)
	tape, err := m.Record(recorded, x)
	if err != nil {
		return nil, err
	}
	if err := c.Compare("out.y", recorded.Data); err != nil {
		return nil, fmt.Errorf("recorded: %w", err)
	}
	grads := allGrads(m)
	tape.Backward(dx, seqOf(c, "in.dy"), grads)
	r["grad.x"] = dx.Data
	for name, p := range m.Params() {
		r["grad."+name] = grads.Of(p)
	}
	return r, nil
}

// rmsNormResidual normalises a sum, which is a result too.
func rmsNormResidual(c *goldentest.Case) (results, error) {
	n, err := rmsNormOf(c)
	if err != nil {
		return nil, err
	}
	sum := seqOf(c, "in.residual")
	tensor.AddSeq(sum, sum, seqOf(c, "in.x"))
	y, dx := like(sum), like(sum)
	n.Mix(y, sum)
	grads := allGrads(n)
	n.Backward(dx, seqOf(c, "in.dy"), sum, grads)
	tensor.AddSeq(dx, dx, seqOf(c, "in.dresidual"))
	return results{
		"out.y": y.Data, "out.residual": sum.Data,
		"grad.x": dx.Data, "grad.residual": dx.Data, "grad.weight": grads.Of(n.Weight),
	}, nil
}

func activation(a nn.Activation) computation {
	return func(c *goldentest.Case) (results, error) {
		x := c.Tensor("in.x")
		y, dx := make([]float32, len(x)), make([]float32, len(x))
		a.Apply(y, x)
		a.Grad(dx, c.Tensor("in.dy"), x)
		return results{"out.y": y, "grad.x": dx}, nil
	}
}

func softplus(c *goldentest.Case) (results, error) {
	x, dx := c.Tensor("in.x"), c.Tensor("in.dy")
	y := make([]float32, len(x))
	tensor.Softplus(y, x)
	kernel.SoftplusGrad(dx, x, dx)
	return results{"out.y": y, "grad.x": dx}, nil
}

// expOfMinusMagnitude computes e^-|x|, whose derivative is the result, but for the sign.
func expOfMinusMagnitude(c *goldentest.Case) (results, error) {
	x, dx := c.Tensor("in.x"), c.Tensor("in.dy")
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = min(v, -v)
	}
	tensor.Exp(y, y)
	tensor.Mul(dx, dx, y)
	for i, v := range x {
		switch {
		case v > 0:
			dx[i] = -dx[i]
		case v == 0:
			dx[i] = 0
		}
	}
	return results{"out.y": y, "grad.x": dx}, nil
}

// gate runs act(gate)·up, and its gradient.
func gate(a nn.Activation) computation {
	return func(c *goldentest.Case) (results, error) {
		gate, up, dy := c.Tensor("in.gate"), c.Tensor("in.up"), c.Tensor("in.dy")
		y, dgate, dup := make([]float32, len(gate)), make([]float32, len(gate)), make([]float32, len(gate))
		a.Gate(y, up, gate)
		a.Apply(dup, gate)
		tensor.Mul(dup, dup, dy)
		tensor.Mul(dgate, up, dy)
		a.Grad(dgate, dgate, gate)
		return results{"out.y": y, "grad.gate": dgate, "grad.up": dup}, nil
	}
}

// softmax runs it and the logarithm of its denominator, whose gradient it is.
func softmax(c *goldentest.Case) (results, error) {
	x, dy, dlse := seqOf(c, "in.x").Mat(), seqOf(c, "in.dy").Mat(), c.Tensor("in.dlse")
	var sums, dx []float32
	for i := range x.Rows {
		d := make([]float32, x.Cols)
		based.HalfSoftmax{}.Backward(d, dy.Row(i), x.Row(i), 0, nil)
		sums = append(sums, tensor.LogSumExp(x.Row(i)))
		tensor.Softmax(x.Row(i), x.Row(i))
		tensor.Axpy(dlse[i], x.Row(i), d)
		dx = append(dx, d...)
	}
	return results{"out.y": x.Data, "out.lse": sums, "grad.x": dx}, nil
}

func linear(c *goldentest.Case) (results, error) {
	l := &nn.Linear{Weight: tensorOf(c, "param.weight"), Bias: tensorOf(c, "param.bias")}
	x := seqOf(c, "in.x")
	y, dx := tensor.NewSeq(x.Batch, x.Len, l.Out()), like(x)
	l.Apply(y, x)
	grads := allGrads(l)
	l.Backward(dx, seqOf(c, "in.dy"), x, grads)
	r := results{"out.y": y.Data, "grad.x": dx.Data, "grad.weight": grads.Of(l.Weight)}
	if l.Bias != nil {
		r["grad.bias"] = grads.Of(l.Bias)
	}
	return r, nil
}

// embeddingTied computes logits = E[ids]·W·Eᵀ.
func embeddingTied(c *goldentest.Case) (results, error) {
	e := &nn.Embedding{Weight: tensorOf(c, "param.embedding")}
	d, shape := e.Dim(), c.Shape("in.ids")
	ids := make([]int, shape[0]*shape[1])
	for i, v := range c.Tensor("in.ids") {
		ids[i] = int(v)
	}
	middle, head := nn.NewLinear(d, d, false), e.Head()
	middle.Weight.SetFloat32s(transpose(c.Tensor("param.w"), d))
	x := tensor.NewSeq(shape[0], shape[1], d)
	h, logits := like(x), tensor.NewSeq(shape[0], shape[1], e.Vocabulary())
	if err := e.Lookup(x, ids); err != nil {
		return nil, err
	}
	middle.Apply(h, x)
	head.Apply(logits, h)

	grads := seqmix.Grads{e.Weight: tensor.New(e.Weight.Shape()...), middle.Weight: tensor.New(d, d)}
	dh := like(h)
	head.Backward(dh, seqOf(c, "in.dlogits"), h, grads)
	middle.Backward(dh, dh, x, grads)
	e.Backward(dh, ids, grads)
	return results{
		"out.logits":     logits.Data,
		"grad.embedding": grads.Of(e.Weight), "grad.w": transpose(grads.Of(middle.Weight), d),
	}, nil
}

// transpose returns the transpose of an n×n matrix.
func transpose(src []float32, n int) []float32 {
	dst := make([]float32, n*n)
	for i := range n {
		for j := range n {
			dst[j*n+i] = src[i*n+j]
		}
	}
	return dst
}

// inverseSoftplus has Mamba draw its steps from ranges of one number: the bias that it
// begins with is the inverse of softplus there.
func inverseSoftplus(c *goldentest.Case) (results, error) {
	y, dx := c.Tensor("in.x"), c.Tensor("in.dy")
	for i, v := range y {
		step := float64(v)
		m, err := ssm.NewMamba(ssm.MambaConfig{DModel: 1, DTMin: step, DTMax: step, DTInitFloor: math.SmallestNonzeroFloat64})
		if err != nil {
			return nil, err
		}
		m.Init(rand.New(rand.NewPCG(1, 1)))
		for name, p := range m.Params() {
			if name == "dt_proj.bias" {
				y[i] = p.Data()[0]
			}
		}
	}
	// The slope of an inverse is one over that of the function.
	slope := slices.Repeat([]float32{1}, len(y))
	kernel.SoftplusGrad(slope, y, slope)
	for i, v := range slope {
		dx[i] /= v
	}
	return results{"out.y": y, "grad.x": dx}, nil
}

// allGrads returns zero gradients of all parameters, those too that training leaves alone
// by default: there are golden vectors for them.
func allGrads(m seqmix.Mixer) seqmix.Grads {
	g := seqmix.NewGrads(m)
	for _, p := range m.Params() {
		if g[p] == nil {
			g[p] = tensor.New(p.Shape()...)
		}
	}
	return g
}
