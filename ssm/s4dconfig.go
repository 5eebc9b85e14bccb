package ssm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// An S4DConfig describes an [S4D]. Only DModel has to be given; the zero value of
// every other field stands for what comes after it.
type S4DConfig struct {
	DModel int `json:"d_model"`           // channels H
	DState int `json:"d_state,omitempty"` // states N of each channel; 64

	Disc Discretization `json:"disc,omitempty"`    // zoh
	LMax int            `json:"l_max,omitempty"`   // length L that dss normalises by
	Rate float64        `json:"rate,omitempty"`    // factor of all steps Δ: how much coarser than in training the sequences are sampled; 1
	Real bool           `json:"is_real,omitempty"` // N real states instead of N/2 conjugate pairs: a sum of exponential averages

	// Bidirectional adds a second system that reads the sequence from its end. Such a
	// mixer does not stream.
	Bidirectional bool `json:"bidirectional,omitempty"`

	// BandLimit, if it is not 0, leaves out the states that oscillate with more than
	// half that many turns a position.
	BandLimit float64 `json:"bandlimit,omitempty"`

	// Layout says what the parameters are called and what they mean.
	Layout S4DLayout `json:"-"`

	// NSSM is how many different A and B there are: channel h has those of number
	// h mod NSSM. It divides DModel and is DModel by default.
	NSSM int `json:"n_ssm,omitempty"`

	// The functions from parameters to Δ, to -Re A and to ∓Im A; exp, exp, none. Only
	// StateSpacesS4 has all, HazyH3 has RealTransform.
	DTTransform   Transform `json:"dt_transform,omitempty"`
	RealTransform Transform `json:"real_transform,omitempty"`
	ImagTransform Transform `json:"imag_transform,omitempty"`

	// DTUntied gives each state, not each channel, a Δ of its own. Only
	// StateSpacesS4 has it.
	DTUntied bool `json:"dt_untied,omitempty"`

	// What Init draws: lin is the default. Δ begins between DTMin and DTMax, 0.001 and
	// 0.1 by default.
	Init  Init    `json:"init,omitempty"`
	DTMin float64 `json:"dt_min,omitempty"`
	DTMax float64 `json:"dt_max,omitempty"`
}

// An S4DLayout is one of the forms in which checkpoints hold a diagonal system. S is
// the number of different A and B, N2 is N/2. Complex numbers are pairs of real and
// imaginary part in the last dimension.
//
//	StandaloneS4D   D (H), kernel.C (H, N2, 2), kernel.log_dt (H),
//	                kernel.log_A_real (H, N2), kernel.A_imag (H, N2):
//	                A = -exp(log_A_real) + i·A_imag, B = 1
//	StateSpacesS4   D (1, H), kernel.inv_dt (H, 1), kernel.C (1, H, N2, 2),
//	                kernel.B (1, S, N2, 2), kernel.A_real (S, N2), kernel.A_imag (S, N2):
//	                A = -exp(A_real) - i·A_imag
//	HazyH3          D (H), kernel.C (1, H, N2, 2), kernel.log_dt (H), kernel.B (S, N2, 2),
//	                kernel.inv_A_real (S, N2), kernel.A_imag (S, N2):
//	                A = -exp(inv_A_real) + i·A_imag
//
// If bidirectional, C has 2 in front instead of 1 (of StandaloneS4D, too). If real,
// there are N numbers instead of N2 pairs, and no imaginary part of A. If Δ is untied,
// inv_dt has shape (H, N2).
type S4DLayout uint8

// The layouts.
const (
	StandaloneS4D S4DLayout = iota // models/s4/s4d.py in state-spaces/s4
	StateSpacesS4                  // SSMKernelDiag in models/s4/s4.py there
	HazyH3                         // SSKernelDiag in HazyResearch/safari and HazyResearch/H3
	s4dLayouts
)

// withDefaults returns c with all fields filled in.
func (c S4DConfig) withDefaults() S4DConfig {
	setDefault(&c.DState, 64)
	setDefault(&c.Disc, ZOH)
	setDefault(&c.Rate, 1)
	setDefault(&c.NSSM, c.DModel)
	setDefault(&c.DTTransform, TransformExp)
	setDefault(&c.RealTransform, TransformExp)
	setDefault(&c.ImagTransform, TransformNone)
	setDefault(&c.Init, InitLin)
	setDefault(&c.DTMin, 0.001)
	setDefault(&c.DTMax, 0.1)
	return c
}

// validate checks a configuration with all fields filled in.
func (c S4DConfig) validate() error {
	if err := validateSizes("S4D", c.DModel, c.DState, c.NSSM, 1, c.Real); err != nil {
		return err
	}
	for _, t := range []Transform{c.DTTransform, c.RealTransform, c.ImagTransform} {
		if err := t.validate(); err != nil {
			return err
		}
	}
	if err := c.Disc.validate(); err != nil {
		return err
	}
	switch own := c.DTTransform != TransformExp || c.ImagTransform != TransformNone || c.DTUntied; {
	case c.Layout >= s4dLayouts:
		return fmt.Errorf("ssm: S4D with unknown layout %d", c.Layout)
	case c.Layout != StateSpacesS4 && own:
		return fmt.Errorf("ssm: S4D with layout %d has no dt_transform, no imag_transform and no untied dt", c.Layout)
	case c.Layout == StandaloneS4D && (c.NSSM != c.DModel || c.RealTransform != TransformExp):
		return fmt.Errorf("ssm: S4D with layout %d has no n_ssm and no real_transform", c.Layout)
	case c.Disc == DSS && c.LMax < 1:
		return fmt.Errorf("ssm: S4D with disc dss and l_max %d, want the length that it normalises by", c.LMax)
	case !(c.Rate > 0) || math.IsInf(c.Rate, 0) || !(c.BandLimit >= 0):
		return fmt.Errorf("ssm: S4D with rate %v and bandlimit %v, want positive numbers", c.Rate, c.BandLimit)
	}
	if err := checkDiagonal(c.Init, c.complexStates()); err != nil {
		return err
	}
	return validateSteps("S4D", c.DTMin, c.DTMax)
}

// complexStates returns the number of states of the complex system that Init begins
// with: a real one keeps the real part of one of each pair.
func (c S4DConfig) complexStates() int {
	if c.Real {
		return 2 * c.DState
	}
	return c.DState
}

// modes returns how many states of each channel are kept.
func (c S4DConfig) modes() int { return c.complexStates() / 2 }

// directions returns the number of systems of each channel.
func directions(bidirectional bool) int {
	if bidirectional {
		return 2
	}
	return 1
}

func validateSizes(what string, dim, states, copies, rank int, single bool) error {
	switch {
	case dim < 1 || float64(dim) > maxElements:
		return fmt.Errorf("ssm: %s with d_model %d, want at least 1", what, dim)
	case states < 1 || states > maxStates || states%2 != 0 && !single:
		return fmt.Errorf("ssm: %s with d_state %d, want an even number from 2 to %d", what, states, maxStates)
	case copies < 1 || dim%copies != 0:
		return fmt.Errorf("ssm: %s with n_ssm %d, want a divisor of d_model %d", what, copies, dim)
	case rank < 1 || rank > states:
		return fmt.Errorf("ssm: %s with rank %d, want one from 1 to d_state %d", what, rank, states)
	case float64(dim)*float64(2*states)*float64(rank) > maxElements:
		return fmt.Errorf("ssm: %s with d_model %d, d_state %d and rank %d has more than %d elements in a parameter", what, dim, states, rank, maxElements)
	}
	return nil
}

// diagonalParams are the parameters of a diagonal system, whatever they are called.
type diagonalParams struct {
	dt, c, b, re, im *tensor.Tensor // b and im may be nil
}

// newDiagonalParams makes the parameters of c.
func newDiagonalParams(c S4DConfig) diagonalParams {
	h, s, n, dirs := c.DModel, c.NSSM, c.modes(), directions(c.Bidirectional)
	// A dimension for real and imaginary part, unless real.
	pairs := func(shape ...int) *tensor.Tensor {
		if !c.Real {
			shape = append(shape, 2)
		}
		return tensor.New(shape...)
	}
	p := diagonalParams{re: tensor.New(s, n)}
	if !c.Real {
		p.im = tensor.New(s, n)
	}
	switch c.Layout {
	case StandaloneS4D:
		p.dt, p.c = tensor.New(h), pairs(h, n)
		if c.Bidirectional {
			p.c = pairs(dirs, h, n)
		}
	case HazyH3:
		p.dt, p.c, p.b = tensor.New(h), pairs(dirs, h, n), pairs(s, n)
	case StateSpacesS4:
		p.dt, p.c, p.b = tensor.New(h, 1), pairs(dirs, h, n), pairs(1, s, n)
		if c.DTUntied {
			p.dt = tensor.New(h, n)
		}
	}
	return p
}

// named returns the parameters with their names, in the order of checkpoints.
func (p diagonalParams) named(l S4DLayout, prefix string) []paramlist.Named {
	switch l {
	case StandaloneS4D:
		return []paramlist.Named{paramlist.Of(prefix+"C", p.c), paramlist.Of(prefix+"log_dt", p.dt), paramlist.Of(prefix+"log_A_real", p.re), paramlist.Of(prefix+"A_imag", p.im)}
	case HazyH3:
		return []paramlist.Named{paramlist.Of(prefix+"C", p.c), paramlist.Of(prefix+"log_dt", p.dt), paramlist.Of(prefix+"B", p.b), paramlist.Of(prefix+"inv_A_real", p.re), paramlist.Of(prefix+"A_imag", p.im)}
	}
	return []paramlist.Named{paramlist.Of(prefix+"inv_dt", p.dt), paramlist.Of(prefix+"C", p.c), paramlist.Of(prefix+"B", p.b), paramlist.Of(prefix+"A_real", p.re), paramlist.Of(prefix+"A_imag", p.im)}
}

func (p diagonalParams) list() []*tensor.Tensor {
	return []*tensor.Tensor{p.dt, p.c, p.b, p.re, p.im}
}

// numbers returns n elements of t from the i-th on, as complex numbers: of a tensor of
// pairs if pairs is set. Those of a nil one are 1.
func numbers(t *tensor.Tensor, i, n int, pairs bool) []complex128 {
	z := make([]complex128, n)
	switch {
	case t == nil:
		for k := range z {
			z[k] = 1
		}
	case pairs:
		copy(z, complexes(t.Data()[2*i:2*(i+n)]))
	default:
		for k := range z {
			z[k] = complex(float64(t.Data()[i+k]), 0)
		}
	}
	return z
}

// A diagonalSystem is that of one channel in continuous time.
type diagonalSystem struct {
	a, b, c []complex128
	dt      []float64 // of each state
}

// system returns the system of a channel; direction is 1 for that from the future.
func (p diagonalParams) system(c S4DConfig, direction, channel int) diagonalSystem {
	n, pairs := c.modes(), !c.Real
	copyOf := channel % c.NSSM
	s := diagonalSystem{
		a: make([]complex128, n), dt: make([]float64, n),
		b: numbers(p.b, copyOf*n, n, pairs), c: numbers(p.c, (direction*c.DModel+channel)*n, n, pairs),
	}
	sign := 1.0
	if c.Layout == StateSpacesS4 {
		sign = -1
	}
	steps := p.dt.Data()
	for k := range n {
		re, im := c.RealTransform.apply(float64(p.re.Data()[copyOf*n+k])), 0.0
		if p.im != nil {
			im = c.ImagTransform.apply(float64(p.im.Data()[copyOf*n+k]))
		}
		s.a[k] = complex(-re, sign*im)
		at := channel
		if c.DTUntied {
			at = channel*n + k
		}
		s.dt[k] = c.DTTransform.apply(float64(steps[at]))
		if c.BandLimit > 0 && s.dt[k]*math.Abs(im)/(2*math.Pi) >= c.BandLimit/2 {
			s.c[k] = 0
		}
		s.dt[k] *= c.Rate
	}
	return s
}

// init draws the parameters.
func (p diagonalParams) init(c S4DConfig, r *rand.Rand) error {
	a, b, err := DiagonalInit(c.Init, c.complexStates())
	if err != nil {
		return err
	}
	drawSteps(p.dt, r, c.DTTransform, c.DTMin, c.DTMax)
	n := c.modes()
	for i := range p.re.Data() {
		p.re.Data()[i] = float32(c.RealTransform.inverse(-real(a[i%n])))
		if p.im == nil {
			continue
		}
		im := -imag(a[i%n]) // the eigenvalues kept are those below the real axis
		if c.ImagTransform != TransformNone {
			im = c.ImagTransform.inverse(im)
		}
		p.im.Data()[i] = float32(im)
	}
	// Where A is taken from above the real axis, so are B and what it is there.
	if c.Layout != StateSpacesS4 {
		b = slices.Clone(b)
		for k := range b {
			b[k] = complex(real(b[k]), -imag(b[k]))
		}
	}
	drawComplex(p.c, r)
	if p.b == nil {
		scaleBy(p.c, b, !c.Real)
		return nil
	}
	if c.Real {
		for i := range p.b.Data() {
			p.b.Data()[i] = float32(real(b[i%n]))
		}
		return nil
	}
	fillComplexes(p.b, b)
	return nil
}

// drawSteps draws Δ such that its logarithm is evenly distributed.
func drawSteps(t *tensor.Tensor, r *rand.Rand, f Transform, least, most float64) {
	for i := range t.Data() {
		step := logUniform(r, least, most)
		if f == TransformExp {
			t.Data()[i] = float32(math.Log(step))
		} else {
			t.Data()[i] = float32(f.inverse(step))
		}
	}
}

// drawComplex draws complex numbers whose squared magnitude is 1 on average, or their
// real parts.
func drawComplex(t *tensor.Tensor, r *rand.Rand) {
	for i := range t.Data() {
		t.Data()[i] = float32(r.NormFloat64() * math.Sqrt2 / 2)
	}
}

// scaleBy multiplies the numbers in t by those in b, again and again.
func scaleBy(t *tensor.Tensor, b []complex128, pairs bool) {
	v := t.Data()
	if !pairs {
		for i := range v {
			v[i] *= float32(real(b[i%len(b)]))
		}
		return
	}
	z := complexes(v)
	for i := range z {
		z[i] *= b[i%len(b)]
	}
	setComplexes(v, z)
}
