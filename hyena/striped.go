package hyena

import (
	"fmt"
	"iter"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A StripedConfig describes a [Striped].
type StripedConfig struct {
	CascadeConfig

	ProjectionBias *bool `json:"projections_bias,omitempty"`    // true for ModalFilter by default
	OutBias        *bool `json:"hyena_out_proj_bias,omitempty"` // true by default
}

// A Striped is the mixer of the convolutional blocks of StripedHyena and Evo, and, with
// the other kinds of filters, of StripedHyena 2 and Evo 2 (arXiv:2503.01868):
//
//	dst = W_o · cascade(W_p · src + b_p) + b_o
//
// with a [Cascade] between the projections. Its parameters are projections.weight
// (3d, d), projections.bias (3d), those of the cascade with filter. in front,
// out_filter_dense.weight (d, d) and out_filter_dense.bias (d).
//
// A stream holds, for each sequence and however long it is, 3d·(K-1) inputs of the short
// filter and d·S states or, with a finite filter, up to 4d·taps numbers.
type Striped struct {
	cfg     StripedConfig
	in, out *nn.Linear
	cascade *Cascade
}

// NewStriped returns a mixer whose parameters are ready to be loaded; see [Striped.Init].
func NewStriped(cfg StripedConfig) (*Striped, error) {
	c, err := NewCascade(cfg.CascadeConfig)
	if err != nil {
		return nil, err
	}
	modal, yes := cfg.Kind == ModalFilter, true
	if cfg.ProjectionBias == nil {
		cfg.ProjectionBias = &modal
	}
	if cfg.OutBias == nil {
		cfg.OutBias = &yes
	}
	cfg.CascadeConfig = c.Config()
	d := cfg.Dim
	if tooMany(3, d, d) {
		return nil, fmt.Errorf("hyena: hidden_size %d makes too many elements", d)
	}
	return &Striped{cfg: cfg, in: nn.NewLinear(d, 3*d, *cfg.ProjectionBias), out: nn.NewLinear(d, d, *cfg.OutBias), cascade: c}, nil
}

// Config returns the configuration with all fields filled in.
func (m *Striped) Config() StripedConfig { return m.cfg }

// Cascade returns the filters between the projections. They are the mixer's own.
func (m *Striped) Cascade() *Cascade { return m.cascade }

// Dim returns the width of the vectors.
func (m *Striped) Dim() int { return m.cfg.Dim }

// Init draws the parameters: see [nn.Linear.Init] and [Cascade.Init].
func (m *Striped) Init(r *rand.Rand) {
	m.in.Init(r)
	m.cascade.Init(r)
	m.out.Init(r)
}

// Params yields the parameters in the order of checkpoints.
func (m *Striped) Params() iter.Seq2[string, *tensor.Tensor] {
	return prefixed(
		prefixedParams{"projections.", m.in.Params()},
		prefixedParams{"filter.", m.cascade.Params()},
		prefixedParams{"out_filter_dense.", m.out.Params()},
	)
}

// prefixedParams are parameters with something in front of their names.
type prefixedParams struct {
	prefix string
	params iter.Seq2[string, *tensor.Tensor]
}

// prefixed yields the parameters of all parts.
func prefixed(parts ...prefixedParams) iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		for _, part := range parts {
			for name, p := range part.params {
				if !yield(part.prefix+name, p) {
					return
				}
			}
		}
	}
}

// Mix computes whole sequences.
func (m *Striped) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("hyena.Striped.Mix", dst, src, m.Dim())
	m.run(dst, src, nil)
}

// MixMasked is Mix for sequences with padding, as StripedHyena treats it: mask has a
// number for each position of one sequence after the other, 1 for a token and 0 for
// padding, which multiplies the projections and what the short filter makes of them. So
// padding is as silence, and what it gives is the bias of the last projection. It panics
// if mask has another length.
func (m *Striped) MixMasked(dst, src tensor.Seq, mask []float32) {
	tensor.CheckMix("hyena.Striped.MixMasked", dst, src, m.Dim())
	if len(mask) != src.Batch*src.Len {
		panic(fmt.Sprintf("hyena: a mask of %d numbers for %d positions", len(mask), src.Batch*src.Len))
	}
	for b := range src.Batch {
		m.run(dst.Sequence(b), src.Sequence(b), mask[b*src.Len:(b+1)*src.Len])
	}
}

func (m *Striped) run(dst, src tensor.Seq, mask []float32) {
	if src.Batch == 0 || src.Len == 0 {
		return
	}
	s, err := m.stream(src.Batch)
	if err != nil {
		panic(err) // it always streams
	}
	scratch := tensor.GetScratch()
	s.run(dst, src, mask, scratch)
	tensor.PutScratch(scratch)
}

// A StripedStream is a [Striped] in the middle of a batch of sequences. It sees the
// parameters as they are when it is made or reset. The same bits come out however a
// sequence is cut, unless the filter is finite: then they differ by rounding.
type StripedStream struct {
	mixer   *Striped
	cascade *CascadeStream
	scratch tensor.Scratch
}

// NewStream returns a *[StripedStream] at the beginning of batch sequences.
func (m *Striped) NewStream(batch int) (seqmix.Stream, error) {
	s, err := m.stream(batch)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (m *Striped) stream(batch int) (*StripedStream, error) {
	c, err := m.cascade.NewStream(batch)
	if err != nil {
		return nil, err
	}
	return &StripedStream{mixer: m, cascade: c}, nil
}

// Reset returns to the beginning of the sequences.
func (s *StripedStream) Reset() { s.cascade.Reset() }

// Clone returns an independent stream in the same state.
func (s *StripedStream) Clone() seqmix.Stream {
	return &StripedStream{mixer: s.mixer, cascade: s.cascade.Clone()}
}

// State returns copies of the states of the filters: see [CascadeStream.State].
func (s *StripedStream) State() (short, inner *tensor.Tensor) { return s.cascade.State() }

// AppendBinary appends the state.
func (s *StripedStream) AppendBinary(b []byte) ([]byte, error) { return s.cascade.AppendBinary(b) }

// UnmarshalBinary replaces the state by a saved one, of a stream of a mixer with the
// same sizes and with as many sequences.
func (s *StripedStream) UnmarshalBinary(saved []byte) error { return s.cascade.UnmarshalBinary(saved) }

// Mix computes the next positions.
func (s *StripedStream) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("hyena.StripedStream.Mix", dst, src, s.mixer.Dim())
	tensor.CheckSeq("hyena.StripedStream.Mix", src, s.cascade.batch, -1, -1)
	s.run(dst, src, nil, &s.scratch)
	s.scratch.Release()
}

// run computes the next positions, block by block. A mask is for a batch of one.
func (s *StripedStream) run(dst, src tensor.Seq, mask []float32, scratch *tensor.Scratch) {
	d := src.Dim
	step := max(1, blockRows/src.Batch)
	for t := 0; t < src.Len; t += step {
		end := min(t+step, src.Len)
		scratch.Reset()
		z, y := scratch.TakeSeq(src.Batch, end-t, 3*d), scratch.TakeSeq(src.Batch, end-t, d)
		s.mixer.in.ApplyMat(z.Mat(), gatherRows(src.Slice(t, end), y.Data))
		var part []float32
		if mask != nil {
			part = mask[t:end]
		}
		applyMask(z, part)
		s.cascade.run(y, z, part, scratch)
		applyLinear(dst.Slice(t, end), s.mixer.out, y.Mat(), scratch)
	}
}

// MixEach computes the projections of all streams together.
func (s *StripedStream) MixEach(dst, src tensor.Seq, streams []seqmix.Stream) {
	if src.Len > blockRows/8 {
		for i, t := range streams {
			t.Mix(dst.Sequence(i), src.Sequence(i))
		}
		return
	}
	tensor.CheckMix("hyena.StripedStream.MixEach", dst, src, s.mixer.Dim())
	s.scratch.Reset()
	d := src.Dim
	z, y := s.scratch.TakeSeq(src.Batch, src.Len, 3*d), s.scratch.TakeSeq(src.Batch, src.Len, d)
	s.mixer.in.ApplyMat(z.Mat(), gatherRows(src, y.Data))
	for i, t := range streams {
		one := t.(*StripedStream)
		one.cascade.run(y.Sequence(i), z.Sequence(i), nil, &one.scratch)
		if one != s {
			one.scratch.Release()
		}
	}
	applyLinear(dst, s.mixer.out, y.Mat(), &s.scratch)
	s.scratch.Release()
}
