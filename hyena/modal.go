package hyena

import (
	"fmt"
	"iter"
	"math"
	"math/cmplx"
	"math/rand/v2"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/memo"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A ModalForm says what the poles of a [Modal] are and how they are called.
type ModalForm uint8

// The forms. n counts the states of a channel.
const (
	ComplexPoles  ModalForm = iota // λ[n] and R[n] complex: StripedHyena, Evo
	LogPoles                       // λ[n] = exp(log_poles[n]) and R[n] real: Evo 2
	TrainedPoles                   // λ[n] = exp(-exp(p[n])·exp(gamma[n])) and R[n] real: savanna, before conversion to Evo 2
	PoleDistances                  // λ[n] = 1 + distances[n] and R[n] complex: what Distill makes
)

var formNames = []string{"complex", "log", "trained", "distance"}

// MarshalText returns "complex", "log", "trained" or "distance".
func (f ModalForm) MarshalText() ([]byte, error) { return marshalName(formNames, f, "modal form") }

// UnmarshalText is the inverse of MarshalText.
func (f *ModalForm) UnmarshalText(text []byte) error {
	return unmarshalName(formNames, f, text, "modal form")
}

// A ModalConfig describes a [Modal]. Dim has to be given.
type ModalConfig struct {
	Dim    int       `json:"hidden_size"`
	Form   ModalForm `json:"form,omitempty"`
	States int       `json:"state_size,omitempty"` // of each channel; 2 complex or 16 real ones by default
}

func (c ModalConfig) withDefaults() ModalConfig {
	if c.parts() == 2 {
		fillIn(&c.States, 2)
	} else {
		fillIn(&c.States, 16)
	}
	return c
}

func (c *ModalConfig) validate() error {
	if int(c.Form) >= len(formNames) {
		return fmt.Errorf("hyena: no modal form %d", c.Form)
	}
	if c.Dim < 1 || c.States < 1 || c.Dim > maxSize || tooMany(c.Dim, c.States, 2) {
		return fmt.Errorf("hyena: modal filters of %d channels with %d states", c.Dim, c.States)
	}
	return nil
}

// parts returns the number of floats of a state.
func (c *ModalConfig) parts() int {
	if c.Form == ComplexPoles || c.Form == PoleDistances {
		return 2
	}
	return 1
}

// A Modal convolves each channel with a filter that is a sum of decaying exponentials,
// and adds a multiple of the input:
//
//	h[t] = Re Σ_n R[n]·λ[n]^t
//	y[t] = Σ_{i≤t} h[t-i]·x[i] + D·x[t]
//
// Such a filter is a linear recurrence with S states for each channel,
//
//	s[n] = λ[n]·s[n] + x
//	y    = Re Σ_n R[n]·s[n] + D·x
//
// which is how it is computed: whole sequences, prompts and single positions alike, at
// a cost and with a state that do not depend on the length, and with a smaller error
// than by Fourier transforms of powers of λ. The same bits come out however a sequence
// is cut.
//
// Parameters of the form [ComplexPoles] are poles and residues (d, S, 1, 2), real and
// imaginary parts last, and D (d). No conjugates are implied: a pole counts with its
// real part only once. Those of PoleDistances are distances, residues and D of the same
// shapes: poles of filters that decay slowly are close to one, where float32 numbers are
// too far apart to tell how slowly. Those of LogPoles are log_poles (d, S, 1), residues (d, S) and D;
// those of TrainedPoles p, gamma and R (d, S) and D.
type Modal struct {
	cfg             ModalConfig
	poles, residues *tensor.Tensor
	gamma, d        *tensor.Tensor // gamma is nil but for TrainedPoles
	filters         memo.Memo[*kernel.ModalFilter]
}

// NewModal returns filters whose parameters are ready to be loaded; see [Modal.Init].
func NewModal(cfg ModalConfig) (*Modal, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	m := &Modal{cfg: cfg, d: tensor.New(cfg.Dim)}
	switch cfg.Form {
	case ComplexPoles, PoleDistances:
		m.poles, m.residues = tensor.New(cfg.Dim, cfg.States, 1, 2), tensor.New(cfg.Dim, cfg.States, 1, 2)
	case LogPoles:
		m.poles, m.residues = tensor.New(cfg.Dim, cfg.States, 1), tensor.New(cfg.Dim, cfg.States)
	default:
		m.poles, m.residues, m.gamma = tensor.New(cfg.Dim, cfg.States), tensor.New(cfg.Dim, cfg.States), tensor.New(cfg.Dim, cfg.States)
	}
	return m, nil
}

// Config returns the configuration with all fields filled in.
func (m *Modal) Config() ModalConfig { return m.cfg }

// Dim returns the number of channels.
func (m *Modal) Dim() int { return m.cfg.Dim }

// Params yields the parameters: see [Modal].
func (m *Modal) Params() iter.Seq2[string, *tensor.Tensor] {
	switch m.cfg.Form {
	case ComplexPoles:
		return paramlist.Yield(paramlist.Of("poles", m.poles), paramlist.Of("residues", m.residues), paramlist.Of("D", m.d))
	case PoleDistances:
		return paramlist.Yield(paramlist.Of("distances", m.poles), paramlist.Of("residues", m.residues), paramlist.Of("D", m.d))
	case LogPoles:
		return paramlist.Yield(paramlist.Of("log_poles", m.poles), paramlist.Of("residues", m.residues), paramlist.Of("D", m.d))
	}
	return paramlist.Yield(paramlist.Of("p", m.poles), paramlist.Of("gamma", m.gamma), paramlist.Of("R", m.residues), paramlist.Of("D", m.d))
}

// Init draws the parameters. Real poles are made as in savanna: with time constants
// spread evenly in the logarithm, p = -1, and residues of deviation 0.1/√S. Complex
// poles, of which StripedHyena says nothing, are made with radii of the same spread and
// angles drawn evenly. D is drawn from a normal distribution.
func (m *Modal) Init(r *rand.Rand) {
	nn.Normal(m.d, r, 1)
	nn.Normal(m.residues, r, 0.1/math.Sqrt(float64(m.cfg.States)))
	rates := make([]float32, m.cfg.Dim*m.cfg.States) // gamma
	for i := range rates {
		rates[i] = float32(math.Log(0.01) + r.Float64()*math.Log(10))
	}
	poles := m.poles.Data()
	for i, g := range rates {
		rate := math.Exp(-1 + float64(g))
		switch m.cfg.Form {
		case ComplexPoles, PoleDistances:
			pole := cmplx.Rect(math.Exp(-rate), 2*math.Pi*r.Float64())
			if m.cfg.Form == PoleDistances {
				pole--
			}
			poles[2*i], poles[2*i+1] = float32(real(pole)), float32(imag(pole))
		case LogPoles:
			poles[i] = float32(-rate)
		default:
			poles[i] = -1
		}
	}
	if m.gamma != nil {
		m.gamma.SetFloat32s(rates)
	}
}

// distance returns λ-1 of state i, counted through all channels.
func (m *Modal) distance(i int) complex128 {
	p := m.poles.Data()
	switch m.cfg.Form {
	case ComplexPoles:
		return complex(float64(p[2*i])-1, float64(p[2*i+1]))
	case PoleDistances:
		return complex(float64(p[2*i]), float64(p[2*i+1]))
	case LogPoles:
		return complex(math.Expm1(float64(p[i])), 0)
	}
	return complex(math.Expm1(m.logPole(i)), 0)
}

// logPole returns log λ of state i of TrainedPoles.
func (m *Modal) logPole(i int) float64 {
	return -math.Exp(float64(m.poles.Data()[i])) * math.Exp(float64(m.gamma.Data()[i]))
}

// residue returns R of state i.
func (m *Modal) residue(i int) complex128 {
	r := m.residues.Data()
	if m.cfg.parts() == 2 {
		return complex(float64(r[2*i]), float64(r[2*i+1]))
	}
	return complex(float64(r[i]), 0)
}

// Taps computes the first dst.Rows taps h of all channels, without D, in float64. A
// pole that is zero counts at tap 0 only. It panics with a *tensor.ShapeError unless dst
// has a column for each channel.
func (m *Modal) Taps(dst tensor.Mat) {
	if dst.Cols != m.cfg.Dim {
		panic(&tensor.ShapeError{Op: "hyena.Modal.Taps", Got: []int{dst.Rows, dst.Cols}, Want: []int{dst.Rows, m.cfg.Dim}})
	}
	sums := make([]float64, dst.Rows)
	for c := range m.cfg.Dim {
		clear(sums)
		for n := range m.cfg.States {
			i := c*m.cfg.States + n
			addExponential(sums, 1+m.distance(i), m.residue(i))
		}
		for t, v := range sums {
			dst.Row(t)[c] = float32(v)
		}
	}
}

// addExponential adds Re(residue·pole^t) to sums[t].
func addExponential(sums []float64, pole, residue complex128) {
	// A product of many factors gathers an error with each; a power does not.
	const restart = 64
	var p complex128
	for t := range sums {
		if t%restart == 0 {
			p = cmplx.Pow(pole, complex(float64(t), 0))
		}
		sums[t] += real(residue * p)
		p *= pole
	}
}

// filter returns the recurrence for the present parameters.
func (m *Modal) filter() *kernel.ModalFilter {
	return m.filters.Get(m.makeFilter, m.poles, m.residues, m.gamma, m.d)
}

func (m *Modal) makeFilter() *kernel.ModalFilter {
	pairs, reals := m.cfg.States, 0
	if m.cfg.parts() == 1 {
		pairs, reals = 0, m.cfg.States
	}
	f := kernel.NewModalFilter(m.cfg.Dim, pairs, reals)
	for c, d := range m.d.Data() {
		f.SetSkip(c, d)
		for n := range m.cfg.States {
			distance, residue := m.distance(c*m.cfg.States+n), m.residue(c*m.cfg.States+n)
			if reals > 0 {
				f.SetReal(c, n, real(distance), real(residue))
			} else {
				f.SetPair(c, n, distance, residue)
			}
		}
	}
	return f
}

// modalStreams holds the streams that whole sequences are computed with.
var modalStreams = sync.Pool{New: func() any { return new(ModalStream) }}

// Mix filters whole sequences.
func (m *Modal) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("hyena.Modal.Mix", dst, src, m.Dim())
	s := modalStreams.Get().(*ModalStream)
	s.begin(m, src.Batch)
	s.Mix(dst, src)
	s.modal, s.filter = nil, nil
	modalStreams.Put(s)
}

// NewStream returns a *[ModalStream] at the beginning of batch sequences.
func (m *Modal) NewStream(batch int) (seqmix.Stream, error) {
	if batch < 1 {
		return nil, fmt.Errorf("hyena: a stream of %d sequences", batch)
	}
	s := new(ModalStream)
	s.begin(m, batch)
	return s, nil
}

// A ModalStream is a [Modal] in the middle of a batch of sequences. It sees the
// parameters as they are when it is made or reset.
type ModalStream struct {
	modal  *Modal
	filter *kernel.ModalFilter
	batch  int
	states []float32

	dst, src tensor.Seq
}

// begin makes s a stream at the beginning of its sequences, using its memory again.
func (s *ModalStream) begin(m *Modal, batch int) {
	s.modal, s.batch = m, batch
	s.Reset()
}

// Reset returns to the beginning of the sequences.
func (s *ModalStream) Reset() {
	s.filter = s.modal.filter()
	n := s.batch * s.filter.StateLen()
	if cap(s.states) < n {
		s.states = make([]float32, n)
	}
	s.states = s.states[:n]
	clear(s.states)
}

// Clone returns an independent stream in the same state.
func (s *ModalStream) Clone() seqmix.Stream {
	c := &ModalStream{modal: s.modal, filter: s.filter, batch: s.batch}
	c.states = append(c.states, s.states...)
	return c
}

// modalGrain is the number of positions and states of a block of channels from which it
// is worth splitting: some microseconds on one core.
const modalGrain = 1 << 11

// Mix filters the next positions.
func (s *ModalStream) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("hyena.ModalStream.Mix", dst, src, s.modal.Dim())
	tensor.CheckSeq("hyena.ModalStream.Mix", src, s.batch, -1, -1)
	if src.Len == 0 {
		return
	}
	s.dst, s.src = dst, src
	par.Do(s.batch*s.filter.Blocks(), modalGrain/(src.Len*s.modal.cfg.States)+1, s)
	s.dst, s.src = tensor.Seq{}, tensor.Seq{}
}

// modalRows is how many positions all channels are taken through before the next: so few
// that what lies between two blocks of channels of the first position is still at hand
// after the last.
const modalRows = 64

// Run filters blocks lo to hi-1 of channels, those of sequence 0 first. Mix calls it.
func (s *ModalStream) Run(lo, hi int) {
	n, size := s.filter.Blocks(), s.filter.StateLen()
	for lo < hi {
		b, first := lo/n, lo%n
		last := min(first+hi-lo, n)
		states := s.states[b*size : (b+1)*size]
		for t := 0; t < s.src.Len; t += modalRows {
			dst, src := s.dst.Data[b*s.dst.Stride+t*s.dst.Dim:], s.src.Data[b*s.src.Stride+t*s.src.Dim:]
			s.filter.Filter(dst, s.dst.Dim, src, s.src.Dim, min(modalRows, s.src.Len-t), states, first, last)
		}
		lo += last - first
	}
}

func (s *ModalStream) shape() []int {
	shape := []int{s.batch, s.modal.cfg.Dim, s.modal.cfg.States}
	if s.modal.cfg.parts() == 2 {
		shape = append(shape, 2)
	}
	return shape
}

// each calls f with the place of every number of the state, in the order of State.
func (s *ModalStream) each(f func(i, at int)) {
	i := 0
	next := func(at int) {
		f(i, at)
		i++
	}
	for b := range s.batch {
		base := b * s.filter.StateLen()
		for c := range s.modal.cfg.Dim {
			for n := range s.modal.cfg.States {
				if s.modal.cfg.parts() == 1 {
					next(base + s.filter.RealAt(c, n))
					continue
				}
				re, im := s.filter.PairAt(c, n)
				next(base + re)
				next(base + im)
			}
		}
	}
}

// State returns a copy of the states s, of shape (batch, d, S, 2) with real and imaginary
// parts last if they are complex, else (batch, d, S).
func (s *ModalStream) State() *tensor.Tensor {
	t := tensor.New(s.shape()...)
	s.each(func(i, at int) { t.Data()[i] = s.states[at] })
	return t
}

// SetState replaces the states by those of a tensor of the form that State returns. It
// panics with a *tensor.ShapeError if the shape does not fit.
func (s *ModalStream) SetState(t *tensor.Tensor) {
	if want := s.shape(); fmt.Sprint(t.Shape()) != fmt.Sprint(want) {
		panic(&tensor.ShapeError{Op: "hyena.ModalStream.SetState", Got: t.Shape(), Want: want})
	}
	v := t.Float32s()
	s.each(func(i, at int) { s.states[at] = v[i] })
}

const modalKind, modalVersion = "hyena.Modal", 1

// AppendBinary appends the state.
func (s *ModalStream) AppendBinary(b []byte) ([]byte, error) {
	r := state.Record{Kind: modalKind, Version: modalVersion, Ints: s.shape(), Floats: state.FloatsOf(s.State().Data())}
	return r.Append(b), nil
}

// UnmarshalBinary replaces the state by a saved one. The numbers of sequences, channels
// and states must be those of the stream.
func (s *ModalStream) UnmarshalBinary(saved []byte) error {
	t := tensor.New(s.shape()...)
	r, err := state.Decode(saved, modalKind, modalVersion, s.shape()...)
	if err == nil {
		err = r.WantFloats(t.Len())
	}
	if err != nil {
		return fmt.Errorf("hyena: %w", err)
	}
	r.Floats[0].CopyTo(t.Data())
	s.SetState(t)
	return nil
}
