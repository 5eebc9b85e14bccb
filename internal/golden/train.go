package golden

import (
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/train"
)

var _ = register(map[string]computation{
	"cross_entropy":  crossEntropy,
	"mse":            meanSquare,
	"adamw":          adamW,
	"adamw_train":    trainLinear,
	"clip_grad_norm": clipGradients,
	"cosine":         cosine,
	"warmup_cosine":  warmupCosine,
})

func crossEntropy(c *goldentest.Case) (results, error) {
	var cfg struct{ Reduction string }
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	shape := c.Shape("in.logits")
	logits := tensor.MatOf(c.Tensor("in.logits"), shape[0], shape[1])
	labels := integers(c.Tensor("in.labels"))
	s := train.CrossEntropy(logits, labels, 0)
	loss, scale := s.Loss, 1.0
	if cfg.Reduction == "mean" {
		loss, scale = s.Mean(), 1/float64(s.Count)
	}
	train.CrossEntropy(logits, labels, float32(scale))
	return results{"out.loss": {float32(loss)}, "grad.logits": logits.Data}, nil
}

func meanSquare(c *goldentest.Case) (results, error) {
	x, y := c.Tensor("in.x"), c.Tensor("in.y")
	dx, dy := make([]float32, len(x)), make([]float32, len(x))
	loss := train.MeanSquare(dx, x, y)
	tensor.Scale(dy, -1, dx)
	return results{"out.loss": {float32(loss)}, "grad.x": dx, "grad.y": dy}, nil
}

// optimizer is what the cases say of AdamW.
type optimizer struct {
	LR    float64
	Betas [2]float64
	Eps   float64
}

func (o optimizer) config(decay float64) train.AdamWConfig {
	return train.AdamWConfig{Beta1: o.Betas[0], Beta2: o.Betas[1], Eps: o.Eps, WeightDecay: decay}
}

func adamW(c *goldentest.Case) (results, error) {
	var cfg struct {
		optimizer
		Decay    float64 `json:"weight_decay"`
		Schedule *string
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	steps := c.Shape("in.grads")[0]
	p := tensor.FromFloat32s(c.Tensor("in.p0"), c.Shape("in.p0")...)
	a, err := train.NewAdamW(cfg.config(cfg.Decay), oneParam("p", p))
	if err != nil {
		return nil, err
	}
	rate := func(int) float64 { return cfg.LR }
	if cfg.Schedule != nil {
		rate = train.Cosine(cfg.LR, cfg.LR/100, steps) // the case does not say the least rate
	}
	r := results{}
	grads := c.Tensor("in.grads")
	for t := range steps {
		g := tensor.FromFloat32s(grads[t*p.Len():(t+1)*p.Len()], p.Shape()...)
		a.Step(seqmix.Grads{p: g}, rate(t))
		r["out.trajectory"] = append(r["out.trajectory"], p.Data()...)
		r["out.lr"] = append(r["out.lr"], float32(rate(t)))
	}
	r["state.exp_avg"], r["state.exp_avg_sq"] = a.Moments(p)
	return r, nil
}

// oneParam yields one parameter.
func oneParam(name string, p *tensor.Tensor) func(yield func(string, *tensor.Tensor) bool) {
	return func(yield func(string, *tensor.Tensor) bool) { yield(name, p) }
}

// trainLinear fits a line by AdamW with clipped gradients.
func trainLinear(c *goldentest.Case) (results, error) {
	var cfg struct {
		optimizer
		Decay [2]float64 `json:"weight_decay"` // of the weight and of the bias
		Clip  float64
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	w := tensor.FromFloat32s(c.Tensor("in.w0"), 1, c.Shape("in.w0")[0])
	b := tensor.FromFloat32s(c.Tensor("in.b0"), 1)
	params := func(yield func(string, *tensor.Tensor) bool) { _ = yield("w", w) && yield("b", b) }
	adam := cfg.config(cfg.Decay[0])
	adam.NoDecay = func(name string, _ *tensor.Tensor) bool { return name == "b" && cfg.Decay[1] == 0 }
	a, err := train.NewAdamW(adam, params)
	if err != nil {
		return nil, err
	}
	x := tensor.MatOf(c.Tensor("in.X"), c.Shape("in.X")[0], w.Dim(1))
	r := results{}
	for range c.Shape("out.loss")[0] {
		pred := tensor.MatOf(make([]float32, x.Rows), x.Rows, 1)
		tensor.MatMulT(pred, x, w)
		tensor.AddConst(pred.Data, pred.Data, b.Data()[0])
		r["out.loss"] = append(r["out.loss"], float32(train.MeanSquare(pred.Data, pred.Data, c.Tensor("in.y"))))
		grads := seqmix.Grads{w: tensor.New(1, w.Dim(1)), b: tensor.New(1)}
		tensor.MatMulTN(tensor.MatOf(grads.Of(w), 1, w.Dim(1)), pred, x)
		grads.Of(b)[0] = tensor.Sum(pred.Data)
		train.Clip(grads, train.Norm(grads, params), cfg.Clip)
		a.Step(grads, cfg.LR)
		r["out.w"], r["out.b"] = append(r["out.w"], w.Data()...), append(r["out.b"], b.Data()...)
	}
	return r, nil
}

func clipGradients(c *goldentest.Case) (results, error) {
	var cfg struct {
		Most float64 `json:"max_norm"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	grads, r := seqmix.Grads{}, results{}
	var names []string
	params := map[string]*tensor.Tensor{}
	for _, name := range c.Names("in.") {
		key := name[len("in."):]
		names = append(names, key)
		params[key] = tensor.New(c.Shape(name)...)
		grads[params[key]] = tensor.FromFloat32s(c.Tensor(name), c.Shape(name)...)
	}
	slices.Sort(names)
	norm := train.Norm(grads, func(yield func(string, *tensor.Tensor) bool) {
		for _, n := range names {
			if !yield(n, params[n]) {
				return
			}
		}
	})
	train.Clip(grads, norm, cfg.Most)
	for _, n := range names {
		r["out."+n] = grads.Of(params[n])
	}
	r["out.norm"] = []float32{float32(norm)}
	return r, nil
}

func cosine(c *goldentest.Case) (results, error) {
	var cfg struct {
		T       int `json:"T_max"`
		LR, Min float64
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	return rates(c, train.Cosine(cfg.LR, cfg.Min, cfg.T)), nil
}

func warmupCosine(c *goldentest.Case) (results, error) {
	var cfg struct {
		W, T    int
		LR, Min float64
		W0      float64
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	return rates(c, train.WarmupCosine(cfg.W0, cfg.LR, cfg.Min, cfg.W, cfg.T)), nil
}

// rates returns as many learning rates as the case has.
func rates(c *goldentest.Case, rate func(int) float64) results {
	var list []float32
	for t := range c.Shape("out.lr")[0] {
		list = append(list, float32(rate(t)))
	}
	return results{"out.lr": list}
}
