package train

import (
	"fmt"
	"iter"
	"math"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// AdamWConfig holds the constants of [AdamW]. The zero value of a field stands for the
// default of PyTorch, but for the weight decay, which is what it says.
type AdamWConfig struct {
	Beta1       float64 `json:"beta1,omitempty"`        // 0.9
	Beta2       float64 `json:"beta2,omitempty"`        // 0.999
	Eps         float64 `json:"eps,omitempty"`          // 1e-8
	WeightDecay float64 `json:"weight_decay,omitempty"` // 0

	// NoDecay says which parameters do not decay, by name; nil for none. See
	// [DecayMatrices].
	NoDecay func(name string, p *tensor.Tensor) bool `json:"-"`

	// LRScale multiplies the learning rate of a parameter; nil for 1. State spaces are
	// often trained with a smaller one.
	LRScale func(name string, p *tensor.Tensor) float64 `json:"-"`
}

// DecayMatrices is the usual NoDecay of language models: only matrices that matrix products
// use decay. Biases, norms, convolutions and the parameters of states do not.
func DecayMatrices(_ string, p *tensor.Tensor) bool { return !p.IsWeight() }

// AdamW is the optimizer of arXiv:1711.05101. In step t, with the gradient g of a
// parameter p and the learning rate lr,
//
//	m ← β₁·m + (1-β₁)·g           v ← β₂·v + (1-β₂)·g²
//	p ← p·(1 - lr·decay) - lr · m/(1-β₁ᵗ) / (√(v/(1-β₂ᵗ)) + ε)
//
// as torch.optim.AdamW computes it.
type AdamW struct {
	cfg    AdamWConfig
	params []*adamParam
	step   int
}

// adamParam is a parameter with what the optimizer remembers of it.
type adamParam struct {
	name  string
	p     *tensor.Tensor
	m, v  []float32
	decay float64
	scale float64
}

// NewAdamW returns an optimizer of the given parameters. A parameter that occurs twice,
// as tied weights do, is optimized once, under its first name. All of them must be float32
// and not packed.
func NewAdamW(cfg AdamWConfig, params iter.Seq2[string, *tensor.Tensor]) (*AdamW, error) {
	setDefault(&cfg.Beta1, 0.9)
	setDefault(&cfg.Beta2, 0.999)
	setDefault(&cfg.Eps, 1e-8)
	if !(cfg.Beta1 >= 0 && cfg.Beta1 < 1 && cfg.Beta2 >= 0 && cfg.Beta2 < 1 && cfg.Eps > 0 && cfg.WeightDecay >= 0) {
		return nil, fmt.Errorf("train: AdamW with betas %v and %v, eps %v, weight decay %v", cfg.Beta1, cfg.Beta2, cfg.Eps, cfg.WeightDecay)
	}
	a := &AdamW{cfg: cfg}
	seen := map[*tensor.Tensor]bool{}
	for name, p := range params {
		if seen[p] {
			continue
		}
		seen[p] = true
		if p.DType() != tensor.Float32 || p.Packed() {
			return nil, fmt.Errorf("train: parameter %s is %v, want float32 that is not packed", name, p)
		}
		q := &adamParam{name: name, p: p, m: make([]float32, p.Len()), v: make([]float32, p.Len()), decay: cfg.WeightDecay, scale: 1}
		if cfg.NoDecay != nil && cfg.NoDecay(name, p) {
			q.decay = 0
		}
		if cfg.LRScale != nil {
			q.scale = cfg.LRScale(name, p)
		}
		a.params = append(a.params, q)
	}
	return a, nil
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Steps returns the number of steps so far.
func (a *AdamW) Steps() int { return a.step }

// Step changes the parameters by one step with the gradients and the learning rate.
// Parameters without a gradient are left alone.
func (a *AdamW) Step(grads seqmix.Grads, lr float64) {
	a.step++
	u := new(adamUpdate)
	for _, q := range a.params {
		if g := grads.Of(q.p); g != nil {
			a.set(u, q, g, lr)
			const grain = 1 << 12
			par.Do(len(g), grain, u)
		}
	}
}

// adamUpdate is a step of one parameter.
type adamUpdate struct {
	kernel.AdamW
	p, m, v, g []float32
}

// set makes u the update of a parameter.
func (a *AdamW) set(u *adamUpdate, q *adamParam, g []float32, lr float64) {
	lr *= q.scale
	t := float64(a.step)
	u.p, u.m, u.v, u.g = q.p.Data(), q.m, q.v, g
	u.AdamW = kernel.AdamW{
		Beta1: float32(a.cfg.Beta1), New1: float32(1 - a.cfg.Beta1),
		Beta2: float32(a.cfg.Beta2), New2: float32(1 - a.cfg.Beta2),
		Keep: float32(1 - lr*q.decay),
		Rate: float32(lr / (1 - math.Pow(a.cfg.Beta1, t))),
		Root: float32(1 / math.Sqrt(1-math.Pow(a.cfg.Beta2, t))),
		Eps:  float32(a.cfg.Eps),
	}
}

// Run changes elements lo to hi-1.
func (u *adamUpdate) Run(lo, hi int) { u.Step(u.p[lo:hi], u.m[lo:hi], u.v[lo:hi], u.g[lo:hi]) }

// Moments returns the averages m of the gradients of p and v of their squares, which must
// not be changed, or nil if p is not a parameter of a.
func (a *AdamW) Moments(p *tensor.Tensor) (m, v []float32) {
	for _, q := range a.params {
		if q.p == p {
			return q.m, q.v
		}
	}
	return nil, nil
}
