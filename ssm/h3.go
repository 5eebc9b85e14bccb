package ssm

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/internal/rowmat"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// An H3Config describes an [H3]. Only DModel has to be given; the zero value of every
// other field stands for what comes after it.
type H3Config struct {
	DModel  int `json:"d_model"`            // width d of the vectors
	DState  int `json:"d_state,omitempty"`  // states N of both systems; 64
	HeadDim int `json:"head_dim,omitempty"` // width p of the d/p heads; 1

	Disc Discretization `json:"disc,omitempty"`  // of the diagonal system; bilinear
	LMax int            `json:"l_max,omitempty"` // length that dss normalises by

	// What Init draws, see [S4DConfig].
	Init  Init    `json:"init,omitempty"`
	DTMin float64 `json:"dt_min,omitempty"`
	DTMax float64 `json:"dt_max,omitempty"`
}

// An H3 is the mixer of H3 (arXiv:2212.14052, the class H3 of HazyResearch/safari): a
// linear attention whose keys come from a [Shift] and whose sums are weighed by an
// [S4D]. With src of width d and heads of width p,
//
//	q, k, v       = W_q·src + b_q, W_k·src + b_k, W_v·src + b_v
//	k             = shift(k) + D_k·k
//	kv[h][i][j]   = k[h][i]·v[h][j]
//	y[h][i][j]    = ssm_h(kv[h][i][j]) + D[h]·kv[h][i][j]
//	o[j][h]       = Σ_i q[h][i]·y[h][i][j]
//	dst           = W_o·o + b_o
//
// at every position. The heads of q, k and v lie one after the other, while o has the
// place in the head as its slow index, which is how checkpoints were trained.
//
// Its parameters are, with H = d/p heads, ssm_k_D (d), D (H), q_proj, k_proj, v_proj and
// output_linear with .weight (d, d) and .bias (d), ssm_k_kernel.kernel.B (d, N) and .C
// (1, d, N), and those of the diagonal system, kernel.kernel.C (1, H, N/2, 2), .log_dt
// (H), .B (H, N/2, 2), .inv_A_real (H, N/2) and .A_imag (H, N/2).
//
// A stream holds d·N·(1+p) numbers for each sequence.
type H3 struct {
	cfg        H3Config
	q, k, v, o *nn.Linear
	shift      *Shift
	skipK      *tensor.Tensor
	ssm        *S4D // of the heads
	system     lti  // that for each of the p² products of each head
}

// NewH3 returns a mixer whose parameters are ready to be loaded; see [H3.Init].
func NewH3(cfg H3Config) (*H3, error) {
	setDefault(&cfg.DState, 64)
	setDefault(&cfg.HeadDim, 1)
	setDefault(&cfg.Disc, Bilinear)
	d, p := cfg.DModel, cfg.HeadDim
	if d < 1 || p < 1 || d%p != 0 || float64(d)*float64(max(d, 2*p*cfg.DState)) > maxElements {
		return nil, fmt.Errorf("ssm: H3 with d_model %d and head_dim %d, want at least 1, a multiple of head_dim, and no more than %d elements in a parameter", d, p, maxElements)
	}
	shift, err := NewShift(ShiftConfig{DModel: d, DState: cfg.DState})
	if err != nil {
		return nil, err
	}
	diagonal, err := NewS4D(S4DConfig{
		DModel: d / p, DState: cfg.DState, Disc: cfg.Disc, LMax: cfg.LMax, Layout: HazyH3,
		Init: cfg.Init, DTMin: cfg.DTMin, DTMax: cfg.DTMax,
	})
	if err != nil {
		return nil, err
	}
	c := diagonal.Config()
	cfg.Init, cfg.DTMin, cfg.DTMax = c.Init, c.DTMin, c.DTMax
	m := &H3{
		cfg: cfg, shift: shift, skipK: tensor.New(d), ssm: diagonal,
		q: nn.NewLinear(d, d, true), k: nn.NewLinear(d, d, true), v: nn.NewLinear(d, d, true), o: nn.NewLinear(d, d, true),
	}
	m.system = lti{dim: d * p, names: h3Names, stateShape: diagonal.lti.stateShape, derive: m.derive, params: diagonal.lti.params}
	return m, nil
}

var h3Names = namesOf("ssm.H3")

// Config returns the configuration with all fields filled in.
func (m *H3) Config() H3Config { return m.cfg }

// Dim returns the width of the vectors.
func (m *H3) Dim() int { return m.cfg.DModel }

// Params yields the parameters in the order of checkpoints.
func (m *H3) Params() iter.Seq2[string, *tensor.Tensor] {
	list := []paramlist.Named{paramlist.Of("ssm_k_D", m.skipK), paramlist.Of("D", m.ssm.d)}
	for _, l := range []struct {
		name string
		*nn.Linear
	}{{"q_proj", m.q}, {"k_proj", m.k}, {"v_proj", m.v}} {
		list = append(list, paramlist.Of(l.name+".weight", l.Weight), paramlist.Of(l.name+".bias", l.Bias))
	}
	for name, p := range m.shift.Params() {
		list = append(list, paramlist.Of("ssm_k_kernel.kernel."+name, p))
	}
	for name, p := range m.ssm.Params() {
		if strings.HasPrefix(name, "kernel.") {
			list = append(list, paramlist.Of("kernel."+name, p))
		}
	}
	return paramlist.Yield(append(list, paramlist.Of("output_linear.weight", m.o.Weight), paramlist.Of("output_linear.bias", m.o.Bias))...)
}

// Init draws the parameters as upstream does: projections as PyTorch's layers begin, D
// and D_k from a normal distribution, and see [Shift.Init] and [S4D.Init].
func (m *H3) Init(r *rand.Rand) {
	for _, l := range []*nn.Linear{m.q, m.k, m.v, m.o} {
		l.Init(r)
	}
	m.shift.Init(r)
	nn.Normal(m.skipK, r, 1)
	m.ssm.Init(r)
}

// derive returns the systems of all products: channel (i·p+j)·H + h is product i, j of
// head h.
func (m *H3) derive() *ltiTables {
	heads := m.ssm.discretize(0, m.ssm.d.Data())
	var pairs [][]mode
	var d []float32
	states := complexStates{}
	for range m.cfg.HeadDim * m.cfg.HeadDim {
		pairs, d = append(pairs, heads.pairs...), append(d, m.ssm.d.Data()...)
		states.scale = append(states.scale, heads.coordinates.(complexStates).scale...)
	}
	return &ltiTables{forward: newModal(pairs, make([][]mode, len(pairs)), d, states), system: sync.OnceValue(m.modes)}
}

// Mix computes whole sequences.
func (m *H3) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("ssm.H3.Mix", dst, src, m.Dim())
	if src.Len == 0 || src.Batch == 0 {
		return
	}
	s := h3Streams.Get().(*H3Stream)
	t := m.system.tables()
	s.begin(m, t.forward, src.Batch)
	if convolutionPays(t.cost(), m.system.dim, src.Len) {
		s.whole = true
		for b := range src.Batch {
			s.mixBlock(dst.Sequence(b), src.Sequence(b), b, 0, nil)
		}
		s.whole = false
	} else {
		mixBlocks(s, dst, src, 0, nil)
	}
	s.release()
}

var h3Streams = sync.Pool{New: func() any { return new(H3Stream) }}

// NewStream returns an *[H3Stream] at the beginning of batch sequences.
func (m *H3) NewStream(batch int) (seqmix.Stream, error) {
	rec, err := m.system.streaming(batch)
	if err != nil {
		return nil, err
	}
	s := new(H3Stream)
	s.begin(m, rec, batch)
	return s, nil
}

// An H3Stream is an [H3] in the middle of a batch of sequences. It sees the parameters
// of its two systems as they are when it is made or reset.
type H3Stream struct {
	mixer   *H3
	conv    shortConv
	layer   LTIStream
	scratch tensor.Scratch
	whole   bool // what is mixed is a whole sequence
	heads   h3Heads
}

// begin makes s a stream at the beginning of its sequences, using its memory again.
func (s *H3Stream) begin(m *H3, rec recurrence, batch int) {
	s.mixer = m
	s.layer.begin(&m.system, rec, batch)
	m.shift.begin(&s.conv, batch, m.skipK)
}

func (s *H3Stream) release() {
	s.mixer, s.layer.system, s.layer.rec, s.conv.w = nil, nil, nil, nil
	h3Streams.Put(s)
}

// Reset returns to the beginning of the sequences.
func (s *H3Stream) Reset() { s.begin(s.mixer, s.mixer.system.tables().forward, s.layer.batch) }

// Clone returns an independent stream in the same state.
func (s *H3Stream) Clone() seqmix.Stream {
	c := new(H3Stream)
	c.begin(s.mixer, s.layer.rec, s.layer.batch)
	c.conv.w = s.conv.w
	copy(c.conv.inputs, s.conv.inputs)
	copy(c.layer.state, s.layer.state)
	return c
}

// Mix computes the next positions.
func (s *H3Stream) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("ssm.H3Stream.Mix", dst, src, s.mixer.Dim())
	tensor.CheckSeq("ssm.H3Stream.Mix", src, s.layer.batch, -1, -1)
	mixBlocks(s, dst, src, 0, nil)
}

// mixBlock computes one block, or one whole sequence.
func (s *H3Stream) mixBlock(dst, src tensor.Seq, first, _ int, _ []int) {
	m := s.mixer
	rows := src.Batch * src.Len
	s.scratch.Reset()
	in := rowmat.Gather(src, &s.scratch)
	project := func(l *nn.Linear) tensor.Mat {
		x := tensor.MatOf(s.scratch.Take(rows*src.Dim), rows, src.Dim)
		l.ApplyMat(x, in)
		return x
	}
	q, k, v := project(m.q), project(m.k), project(m.v)
	s.conv.run(convBlock{first: first, sequences: src.Batch, length: src.Len, x: k})
	kv := s.scratch.TakeSeq(src.Batch, src.Len, m.system.dim)
	s.heads = h3Heads{heads: m.ssm.Dim(), p: m.cfg.HeadDim, q: q, k: k, v: v, kv: kv.Mat()}
	s.heads.run(false)
	if s.whole {
		m.system.mix(kv, kv)
	} else {
		s.layer.run(kv, kv, first)
	}
	s.heads.run(true)
	s.heads = h3Heads{}
	out := rowmat.Of(dst)
	if out.Data == nil {
		out = tensor.MatOf(s.scratch.Take(rows*dst.Dim), rows, dst.Dim)
	}
	m.o.ApplyMat(out, v) // where the heads have left their results
	rowmat.Scatter(dst, out)
	s.scratch.Release()
}

// h3Heads are the products of keys and values before the diagonal system, and the sums
// with queries after it, which take the place of the values.
type h3Heads struct {
	heads, p    int
	q, k, v, kv tensor.Mat
	after       bool
}

func (h *h3Heads) run(after bool) {
	h.after = after
	par.Do(h.kv.Rows, stageGrain/max(h.kv.Cols, 1)+1, h)
}

// Run computes rows lo to hi-1.
func (h *h3Heads) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		q, k, v, kv := h.q.Row(i), h.k.Row(i), h.v.Row(i), h.kv.Row(i)
		switch {
		case h.p == 1 && h.after:
			kernel.Mul(v, q, kv)
		case h.p == 1:
			kernel.Mul(kv, k, v)
		case h.after:
			h.sums(v, q, kv)
		default:
			h.products(kv, k, v)
		}
	}
}

func (h *h3Heads) products(kv, k, v []float32) {
	for i := range h.p {
		for j := range h.p {
			row := kv[(i*h.p+j)*h.heads:]
			for head := range h.heads {
				row[head] = k[head*h.p+i] * v[head*h.p+j]
			}
		}
	}
}

func (h *h3Heads) sums(o, q, y []float32) {
	for j := range h.p {
		out := o[j*h.heads : (j+1)*h.heads]
		clear(out)
		for i := range h.p {
			row := y[(i*h.p+j)*h.heads:]
			for head := range out {
				out[head] += q[head*h.p+i] * row[head]
			}
		}
	}
}

// State returns a copy of the states: shift, of shape (batch, d, N), those of the keys,
// and diagonal, of shape (batch, p²·H, N/2, 2), those of product i, j of head h as
// channel (i·p+j)·H + h.
func (s *H3Stream) State() (shift, diagonal *tensor.Tensor) {
	return s.mixer.shift.states(&s.conv, s.layer.batch), s.layer.State()
}

func (s *H3Stream) record() state.Record {
	c := s.mixer.cfg
	return state.Record{Kind: "ssm.H3", Version: 1, Ints: []int{s.layer.batch, c.DModel, c.DState, c.HeadDim}}
}

// AppendBinary appends the state.
func (s *H3Stream) AppendBinary(b []byte) ([]byte, error) {
	inner, err := s.layer.AppendBinary(nil)
	r := s.record()
	r.Floats, r.Nested = state.FloatsOf(s.conv.saved()), [][]byte{inner}
	return r.Append(b), err
}

// UnmarshalBinary replaces the state by a saved one, of a stream with as many sequences
// of a mixer with the same sizes.
func (s *H3Stream) UnmarshalBinary(saved []byte) error {
	want := s.record()
	r, err := state.Decode(saved, want.Kind, want.Version, want.Ints...)
	if err == nil {
		err = r.WantFloats(len(s.conv.inputs))
	}
	if err == nil && len(r.Nested) != 1 {
		err = fmt.Errorf("saved state of a %s with %d records inside, want 1", want.Kind, len(r.Nested))
	}
	if err != nil {
		return fmt.Errorf("ssm: %w", err)
	}
	if err := s.layer.UnmarshalBinary(r.Nested[0]); err != nil {
		return err
	}
	s.conv.restore(r.Floats[0])
	return nil
}
