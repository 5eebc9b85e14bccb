package ssm

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/memo"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A ShiftConfig describes a [Shift].
type ShiftConfig struct {
	DModel int `json:"d_model"`           // channels H
	DState int `json:"d_state,omitempty"` // states N of each channel; 64
}

// A Shift is the shift SSM of H3 (arXiv:2212.14052, SSKernelShift in
// HazyResearch/safari): the N states of each of H channels move on by one place at each
// position, the last one is forgotten, and
//
//	h[n] = h[n-1] + B[n]·src,  dst = Σ_n C[n]·h[n]
//
// That is a convolution with N taps, K[j] = Σ_n C[n+j]·B[n], and computed as one.
//
// Its parameters are B (H, N) and C (1, H, N). A stream holds H·N numbers for each
// sequence: its last inputs.
type Shift struct {
	cfg  ShiftConfig
	b, c *tensor.Tensor
	taps memo.Memo[[]float32]
}

// NewShift returns a mixer whose parameters are ready to be loaded; see [Shift.Init].
func NewShift(cfg ShiftConfig) (*Shift, error) {
	setDefault(&cfg.DState, 64)
	h, n := cfg.DModel, cfg.DState
	if h < 1 || n < 1 || float64(h) > maxElements || n > maxStates || float64(h)*float64(n+1) > maxElements {
		return nil, fmt.Errorf("ssm: Shift with d_model %d and d_state %d, want at least 1, and no more than %d elements in a parameter", h, n, maxElements)
	}
	return &Shift{cfg: cfg, b: tensor.New(h, n), c: tensor.New(1, h, n)}, nil
}

// Config returns the configuration with all fields filled in.
func (m *Shift) Config() ShiftConfig { return m.cfg }

// Dim returns the width of the vectors.
func (m *Shift) Dim() int { return m.cfg.DModel }

// Params yields the parameters.
func (m *Shift) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(paramlist.Of("B", m.b), paramlist.Of("C", m.c))
}

// Init makes the states the last N inputs, B = (1, 0, 0 …), and draws C evenly from
// ±1/√(H·N), as PyTorch's kaiming_uniform_ with a = √5 does for its shape.
func (m *Shift) Init(r *rand.Rand) {
	nn.Fill(m.b, 0)
	for ch := range m.cfg.DModel {
		m.b.Data()[ch*m.cfg.DState] = 1
	}
	nn.Uniform(m.c, r, 1/math.Sqrt(float64(m.c.Len())))
}

// Kernel returns the first n values of the impulse responses K, of shape (H, n).
func (m *Shift) Kernel(n int) *tensor.Tensor {
	k := tensor.New(m.cfg.DModel, n)
	for ch := range m.cfg.DModel {
		copy(k.Data()[ch*n:(ch+1)*n], m.response(ch))
	}
	return k
}

// response returns the taps of a channel, first the one for the present.
func (m *Shift) response(channel int) []float32 {
	n := m.cfg.DState
	b, c := m.b.Data()[channel*n:(channel+1)*n], m.c.Data()[channel*n:(channel+1)*n]
	k := make([]float32, n)
	for j := range k {
		sum := 0.0
		for i, v := range c[j:] {
			sum += float64(v) * float64(b[i])
		}
		k[j] = float32(sum)
	}
	return k
}

// packedTaps returns the taps as a shortConv reads them, with the skip of each channel
// added to that for the present. There is one more than there are states, and it is
// zero: so the last N inputs are kept, which say what the states are.
func (m *Shift) packedTaps(skip *tensor.Tensor) []float32 {
	return m.taps.Get(func() []float32 {
		h, taps := m.cfg.DModel, m.cfg.DState+1
		conv := nn.NewCausalConv1D(h, taps, false, nn.Identity)
		w := conv.Weight.Data()
		for ch := range h {
			for j, v := range m.response(ch) {
				w[(ch+1)*taps-1-j] = v
			}
			if skip != nil {
				w[(ch+1)*taps-1] += skip.Data()[ch]
			}
		}
		return packConvTaps(conv)
	}, m.b, m.c, skip)
}

// begin makes c the convolution of m, with no inputs yet.
func (m *Shift) begin(c *shortConv, batch int, skip *tensor.Tensor) {
	c.linear = true
	c.begin(batch, m.cfg.DModel, m.cfg.DState+1)
	clear(c.inputs)
	c.w = m.packedTaps(skip)
}

// states returns the states of a convolution, of shape (batch, H, N).
func (m *Shift) states(c *shortConv, batch int) *tensor.Tensor {
	h, n := m.cfg.DModel, m.cfg.DState
	inputs, s := make([]float32, len(c.inputs)), tensor.New(batch, h, n)
	c.copyInputs(inputs, false)
	for i := range s.Data() {
		b, ch, place := i/n/h, i/n%h, i%n
		sum := 0.0
		for j := range place + 1 { // from the last input back
			sum += float64(m.b.Data()[ch*n+place-j]) * float64(inputs[(b*n+n-1-j)*h+ch])
		}
		s.Data()[i] = float32(sum)
	}
	return s
}

// Mix computes whole sequences.
func (m *Shift) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("ssm.Shift.Mix", dst, src, m.Dim())
	s := shiftStreams.Get().(*ShiftStream)
	s.begin(m, src.Batch)
	mixBlocks(s, dst, src, 0, nil)
	s.mixer, s.conv.w = nil, nil
	shiftStreams.Put(s)
}

var shiftStreams = sync.Pool{New: func() any { return new(ShiftStream) }}

// NewStream returns a *[ShiftStream] at the beginning of batch sequences.
func (m *Shift) NewStream(batch int) (seqmix.Stream, error) {
	if batch < 1 {
		return nil, fmt.Errorf("ssm: a stream of %d sequences", batch)
	}
	s := new(ShiftStream)
	s.begin(m, batch)
	return s, nil
}

// A ShiftStream is a [Shift] in the middle of a batch of sequences. It sees the
// parameters as they are when it is made or reset.
type ShiftStream struct {
	mixer   *Shift
	batch   int
	conv    shortConv
	scratch tensor.Scratch
}

func (s *ShiftStream) begin(m *Shift, batch int) {
	s.mixer, s.batch = m, batch
	m.begin(&s.conv, batch, nil)
}

// Reset returns to the beginning of the sequences.
func (s *ShiftStream) Reset() { s.begin(s.mixer, s.batch) }

// Clone returns an independent stream in the same state.
func (s *ShiftStream) Clone() seqmix.Stream {
	c := new(ShiftStream)
	c.begin(s.mixer, s.batch)
	c.conv.w = s.conv.w
	copy(c.conv.inputs, s.conv.inputs)
	return c
}

// Mix computes the next positions.
func (s *ShiftStream) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("ssm.ShiftStream.Mix", dst, src, s.mixer.Dim())
	tensor.CheckSeq("ssm.ShiftStream.Mix", src, s.batch, -1, -1)
	mixBlocks(s, dst, src, 0, nil)
}

// mixBlock computes one block.
func (s *ShiftStream) mixBlock(dst, src tensor.Seq, first, _ int, _ []int) {
	s.scratch.Reset()
	x := s.scratch.TakeSeq(src.Batch, src.Len, src.Dim)
	tensor.Copy(x, src)
	s.conv.run(convBlock{first: first, sequences: src.Batch, length: src.Len, x: x.Mat()})
	tensor.Copy(dst, x)
	s.scratch.Release()
}

// State returns the states h, of shape (batch, H, N).
func (s *ShiftStream) State() *tensor.Tensor { return s.mixer.states(&s.conv, s.batch) }

func (s *ShiftStream) record() state.Record {
	return state.Record{Kind: "ssm.Shift", Version: 1, Ints: []int{s.batch, s.mixer.cfg.DModel, s.mixer.cfg.DState}}
}

// AppendBinary appends the state.
func (s *ShiftStream) AppendBinary(b []byte) ([]byte, error) {
	r := s.record()
	r.Floats = state.FloatsOf(s.conv.saved())
	return r.Append(b), nil
}

// UnmarshalBinary replaces the state by a saved one, of a stream with as many sequences
// of a mixer with the same sizes.
func (s *ShiftStream) UnmarshalBinary(saved []byte) error {
	want := s.record()
	r, err := state.Decode(saved, want.Kind, want.Version, want.Ints...)
	if err == nil {
		err = r.WantFloats(len(s.conv.inputs))
	}
	if err != nil {
		return fmt.Errorf("ssm: %w", err)
	}
	s.conv.restore(r.Floats[0])
	return nil
}

// saved returns the inputs of a convolution, oldest first.
func (c *shortConv) saved() []float32 {
	inputs := make([]float32, len(c.inputs))
	c.copyInputs(inputs, false)
	return inputs
}

// restore is the inverse of saved.
func (c *shortConv) restore(f state.Floats) {
	inputs := make([]float32, len(c.inputs))
	f.CopyTo(inputs)
	c.copyInputs(inputs, true)
}
