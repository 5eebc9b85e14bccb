package ssm

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// An S4Config describes an [S4]. Only DModel has to be given; the zero value of every
// other field stands for what comes after it.
type S4Config struct {
	DModel int `json:"d_model"`           // channels H
	DState int `json:"d_state,omitempty"` // states N of each channel; 64
	Rank   int `json:"rank,omitempty"`    // of the matrix that is subtracted from the diagonal one; 1, or 2 for legt

	Rate float64 `json:"rate,omitempty"` // factor of all steps Δ: how much coarser than in training the sequences are sampled; 1

	// Bidirectional adds a second system that reads the sequence from its end. Such a
	// mixer does not stream.
	Bidirectional bool `json:"bidirectional,omitempty"`

	// NSSM is how many different A, B and P there are: channel h has those of number
	// h mod NSSM. It divides DModel and is DModel by default.
	NSSM int `json:"n_ssm,omitempty"`

	// The functions from parameters to Δ, to -Re Λ and to -Im Λ; exp, exp, none.
	DTTransform   Transform `json:"dt_transform,omitempty"`
	RealTransform Transform `json:"real_transform,omitempty"`
	ImagTransform Transform `json:"imag_transform,omitempty"`

	// What Init draws: legs by default, legt, fourier, or one of the diagonal ones,
	// with random P. Δ begins between DTMin and DTMax, 0.001 and 0.1 by default.
	Init  Init    `json:"init,omitempty"`
	DTMin float64 `json:"dt_min,omitempty"`
	DTMax float64 `json:"dt_max,omitempty"`
}

// withDefaults returns c with all fields filled in.
func (c S4Config) withDefaults() S4Config {
	d := c.diagonal().withDefaults()
	c.DState, c.NSSM, c.Rate = d.DState, d.NSSM, d.Rate
	c.DTTransform, c.RealTransform, c.ImagTransform = d.DTTransform, d.RealTransform, d.ImagTransform
	c.DTMin, c.DTMax = d.DTMin, d.DTMax
	setDefault(&c.Init, InitLegS)
	if c.Init == InitLegT {
		setDefault(&c.Rank, 2)
	}
	setDefault(&c.Rank, 1)
	return c
}

// diagonal returns the configuration of the diagonal part.
func (c S4Config) diagonal() S4DConfig {
	return S4DConfig{
		DModel: c.DModel, DState: c.DState, Rate: c.Rate, Bidirectional: c.Bidirectional, NSSM: c.NSSM,
		Layout: StateSpacesS4, Disc: Bilinear,
		DTTransform: c.DTTransform, RealTransform: c.RealTransform, ImagTransform: c.ImagTransform,
		Init: InitLin, DTMin: c.DTMin, DTMax: c.DTMax,
	}
}

// maxRank bounds the rank of an S4.
const maxRank = 16

// validate checks a configuration with all fields filled in.
func (c S4Config) validate() error {
	if err := validateSizes("S4", c.DModel, c.DState, c.NSSM, c.Rank, false); err != nil {
		return err
	}
	if err := c.diagonal().validate(); err != nil {
		return err
	}
	switch {
	case c.DState > maxDense:
		return fmt.Errorf("ssm: S4 with d_state %d, want at most %d", c.DState, maxDense)
	case c.Rank > maxRank:
		return fmt.Errorf("ssm: S4 with rank %d, want at most %d", c.Rank, maxRank)
	case c.isHiPPO():
		return checkHiPPO(c.Init, c.DState, c.Rank)
	}
	return checkDiagonal(c.Init, c.DState)
}

// isHiPPO reports whether Init begins with a HiPPO matrix rather than with a diagonal.
func (c S4Config) isHiPPO() bool {
	return c.Init == InitLegS || c.Init == InitLegT || c.Init == InitFourier
}

// Init draws the parameters as upstream does: Λ, P and B as [S4Config] says, the
// logarithm of Δ evenly, C from a complex normal distribution and D from a normal one.
// C is that of no particular length: l_kernel becomes 0.
func (m *S4) Init(r *rand.Rand) {
	lambda, b, p, err := m.initialSystem(r)
	if err != nil {
		panic(err) // NewS4 has looked at all that can go wrong
	}
	c, n := m.cfg, m.cfg.DState/2
	drawSteps(m.params.dt, r, c.DTTransform, c.DTMin, c.DTMax)
	for i := range m.params.re.Data() {
		m.params.re.Data()[i] = float32(c.RealTransform.inverse(-real(lambda[i%n])))
		im := -imag(lambda[i%n])
		if c.ImagTransform != TransformNone {
			im = c.ImagTransform.inverse(im)
		}
		m.params.im.Data()[i] = float32(im)
	}
	fillComplexes(m.params.b, b)
	drawComplex(m.params.c, r)
	for j := range p {
		size := len(m.p.Data()) / c.Rank
		for i := 0; i < size; i += 2 * n {
			setComplexes(m.p.Data()[j*size+i:], p[j])
		}
	}
	m.length.SetFloat32s([]float32{0})
	for i := range m.d.Data() {
		m.d.Data()[i] = float32(r.NormFloat64())
	}
}

// initialSystem returns Λ, B and P to begin with.
func (m *S4) initialSystem(r *rand.Rand) (lambda, b []complex128, p [][]complex128, err error) {
	if m.cfg.isHiPPO() {
		h, err := NewHiPPO(m.cfg.Init, m.cfg.DState, m.cfg.Rank)
		if err != nil {
			return nil, nil, nil, err
		}
		return h.NPLR()
	}
	lambda, b, err = DiagonalInit(m.cfg.Init, m.cfg.DState)
	for range m.cfg.Rank {
		row := make([]complex128, len(lambda))
		for i := range row {
			row[i] = complex(r.NormFloat64(), r.NormFloat64()) * complex(math.Sqrt2/2, 0)
		}
		p = append(p, row)
	}
	return lambda, b, p, err
}
