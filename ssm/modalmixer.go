package ssm

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A ModalConfig describes a [Modal].
type ModalConfig struct {
	DModel int `json:"d_model"`         // channels H
	Pairs  int `json:"pairs,omitempty"` // pairs of conjugate poles of each channel
	Reals  int `json:"reals,omitempty"` // real poles of each channel
}

// A Modal is a linear time-invariant mixer that is given by the poles and residues of
// the impulse response of each of H channels,
//
//	K[t] = 2·Re(Σ_n R[n]·λ[n]^t) + Σ_m r[m]·μ[m]^t
//
// with dst[t] = Σ_s K[t-s]·src[s] + D·src[t]. It is what any other system comes to,
// without steps and discretisations: see [S4D.Modal] and [S4.Modal].
//
// Its parameters are D (H), pairs.decay (H, P, 2), which is 1-λ, pairs.residue
// (H, P, 2), reals.decay (H, Q), which is 1-μ, and reals.residue (H, Q), with complex
// numbers as pairs of real and imaginary part. It is the distance from one that says
// how long a pole remembers, and that a float32 can tell precisely. Poles with the
// residue 0 have no effect.
//
// A stream holds 2·P+Q numbers for each channel and sequence.
type Modal struct {
	cfg                                       ModalConfig
	lti                                       lti
	d, decay, residue, realDecay, realResidue *tensor.Tensor
}

// NewModal returns a mixer whose parameters are ready to be loaded; see [Modal.Init].
func NewModal(cfg ModalConfig) (*Modal, error) {
	h, p, q := cfg.DModel, cfg.Pairs, cfg.Reals
	switch {
	case h < 1 || float64(h) > maxElements || p < 0 || q < 0 || p+q < 1:
		return nil, fmt.Errorf("ssm: Modal with d_model %d, %d pairs and %d real poles, want at least 1", h, p, q)
	case p > maxStates || q > maxStates || float64(h)*float64(2*max(p, q)) > maxElements:
		return nil, fmt.Errorf("ssm: Modal with d_model %d, %d pairs and %d real poles has more than %d elements in a parameter", h, p, q, maxElements)
	}
	m := &Modal{
		cfg: cfg, d: tensor.New(h), decay: tensor.New(h, p, 2), residue: tensor.New(h, p, 2),
		realDecay: tensor.New(h, q), realResidue: tensor.New(h, q),
	}
	m.lti = lti{
		dim: h, names: modalNames, stateShape: []int{2*p + q}, derive: m.derive,
		params: []*tensor.Tensor{m.d, m.decay, m.residue, m.realDecay, m.realResidue},
	}
	return m, nil
}

var modalNames = namesOf("ssm.Modal")

// Config returns the configuration.
func (m *Modal) Config() ModalConfig { return m.cfg }

// Dim returns the width of the vectors.
func (m *Modal) Dim() int { return m.cfg.DModel }

// Params yields the parameters.
func (m *Modal) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(
		paramlist.Of("D", m.d), paramlist.Of("pairs.decay", m.decay), paramlist.Of("pairs.residue", m.residue),
		paramlist.Of("reals.decay", m.realDecay), paramlist.Of("reals.residue", m.realResidue),
	)
}

// Init draws the parameters: pairs that decay by exp(-Δ/2) and turn by n·π·Δ at each
// position, and real poles that decay by exp(-(n+1)·Δ), with log Δ even between 0.001
// and 0.1; residues from normal distributions of mean square Δ², and D from one of 1.
func (m *Modal) Init(r *rand.Rand) {
	p, q := m.cfg.Pairs, m.cfg.Reals
	nn.Normal(m.d, r, 1)
	for ch := range m.cfg.DModel {
		dt := logUniform(r, 0.001, 0.1)
		for n := range p {
			at := 2 * (ch*p + n)
			setComplexes(m.decay.Data()[at:at+2], []complex128{-expm1(complex(-dt/2, dt*math.Pi*float64(n)))})
			setComplexes(m.residue.Data()[at:at+2], []complex128{complex(r.NormFloat64(), r.NormFloat64()) * complex(dt*math.Sqrt2/2, 0)})
		}
		for n := range q {
			m.realDecay.Data()[ch*q+n] = float32(-math.Expm1(-dt * float64(n+1)))
			m.realResidue.Data()[ch*q+n] = float32(dt * r.NormFloat64())
		}
	}
}

// Mix computes whole sequences.
func (m *Modal) Mix(dst, src tensor.Seq) { m.lti.mix(dst, src) }

// NewStream returns an *[LTIStream] at the beginning of batch sequences.
func (m *Modal) NewStream(batch int) (seqmix.Stream, error) { return m.lti.newStream(batch) }

// Kernel returns the first n values of the impulse responses K, without D, of shape
// (H, n).
func (m *Modal) Kernel(n int) *tensor.Tensor { return m.lti.kernel(n) }

func (m *Modal) derive() *ltiTables {
	p, q := m.cfg.Pairs, m.cfg.Reals
	pairs, reals := make([][]mode, m.cfg.DModel), make([][]mode, m.cfg.DModel)
	for ch := range pairs {
		decay, residue := numbers(m.decay, ch*p, p, true), numbers(m.residue, ch*p, p, true)
		for n := range p {
			pairs[ch] = append(pairs[ch], mode{-decay[n], residue[n]})
		}
		decay, residue = numbers(m.realDecay, ch*q, q, false), numbers(m.realResidue, ch*q, q, false)
		for n := range q {
			reals[ch] = append(reals[ch], mode{-decay[n], residue[n]})
		}
	}
	t := &ltiTables{forward: newModal(pairs, reals, m.d.Data(), modalStates(p)), system: sync.OnceValue(m.modes)}
	t.response = func(_ bool, ch, n int) []float64 { return response(pairs[ch], reals[ch], n) }
	return t
}

// modalStates are the states of pairs, as real and imaginary parts, of which there are
// so many, and then those of real poles.
type modalStates int

func (p modalStates) fromModes(dst []float32, _ int, z []complex128) {
	setComplexes(dst, z[:p])
	for k, v := range z[p:] {
		dst[2*int(p)+k] = float32(real(v))
	}
}

func (p modalStates) toModes(z []complex128, _ int, src []float32) {
	copy(z, complexes(src[:2*p]))
	for k, v := range src[2*p:] {
		z[int(p)+k] = complex(float64(v), 0)
	}
}

// Modal returns the system as poles and residues.
func (m *S4D) Modal() (*Modal, error) { return modalOf(&m.lti, m.d) }

// Modal returns the system as poles and residues. It is an error if these do not serve
// in its place: those of an S4 that has just begun with a HiPPO matrix are huge and
// cancel each other.
func (m *S4) Modal() (*Modal, error) { return modalOf(&m.lti, m.d) }

func modalOf(l *lti, d *tensor.Tensor) (*Modal, error) {
	if l.bidirectional {
		return nil, fmt.Errorf("%s of both directions is not one modal system", l.names.kind)
	}
	from, ok := l.tables().forward.(*modal)
	if !ok {
		return nil, fmt.Errorf("%s is too far from normal to be taken apart into its modes", l.names.kind)
	}
	m, err := NewModal(ModalConfig{DModel: l.dim, Pairs: longest(from.pairs), Reals: longest(from.reals)})
	if err != nil {
		return nil, err
	}
	m.d.SetFloat32s(d.Float32s())
	p, q := m.cfg.Pairs, m.cfg.Reals
	for ch := range l.dim {
		for n, x := range from.pairs[ch] {
			at := 2 * (ch*p + n)
			setComplexes(m.decay.Data()[at:at+2], []complex128{-x.distance})
			setComplexes(m.residue.Data()[at:at+2], []complex128{x.residue})
		}
		for n, x := range from.reals[ch] {
			m.realDecay.Data()[ch*q+n] = float32(-real(x.distance))
			m.realResidue.Data()[ch*q+n] = float32(real(x.residue))
		}
	}
	return m, nil
}
