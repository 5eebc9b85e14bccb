package based

import (
	"fmt"
	"iter"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/memo"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/internal/rowmat"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A BaseConv is the gated convolution of Zoology (arXiv:2312.04927, the class BaseConv of
// HazyResearch/zoology), the simplest mixer that gates by the input:
//
//	dst = act(conv(src)) · act(W·src + b) + src
//
// at every position. act is the identity, or SiLU with Activate. conv is one of
//
//   - a short convolution with a bias, see [nn.CausalConv1D];
//   - a long one, KernelSize -1, whose filter of LMax taps is a network of the position,
//     see [ImplicitFilter], with src added to the result;
//   - without Implicit, a long one whose filter is a parameter, likewise.
//
// The residual connection is part of it. [GatedConv] is what Based's language models
// have under the same name.
//
// Its parameters are projection.weight (d, d), projection.bias (d) and
// conv.conv.weight (d, 1, K), conv.conv.bias (d), or those of the network after "conv.",
// or conv.filter (d, LMax).
//
// A stream holds (K-1)·d numbers for each sequence, or up to about 2·LMax·d with a long
// filter, see [nn.LongConvStream]. A long filter is taken to end after LMax taps:
// sequences may be longer.
type BaseConv struct {
	cfg        BaseConvConfig
	projection *nn.Linear
	short      *nn.CausalConv1D // nil with a long filter
	implicit   *ImplicitFilter  // nil without
	filter     *tensor.Tensor   // nil unless explicit
	long       memo.Memo[*nn.LongConv]
}

// A BaseConvConfig describes a [BaseConv]. DModel has to be given, and LMax for a long
// filter. The JSON keys are those of zoology's constructor.
type BaseConvConfig struct {
	DModel     int   `json:"d_model"`                      // width d of the vectors
	KernelSize int   `json:"kernel_size,omitempty"`        // taps K; 3 by default, -1 for a long filter
	LMax       int   `json:"l_max,omitempty"`              // taps of a long filter
	Implicit   *bool `json:"implicit_long_conv,omitempty"` // the long filter is made by an ImplicitFilter; true by default
	Activate   bool  `json:"use_act,omitempty"`            // SiLU on both factors
}

func (c BaseConvConfig) validate() error {
	switch {
	case c.DModel < 1 || float64(c.DModel)*float64(c.DModel) > maxElements:
		return fmt.Errorf("based: BaseConv with d_model %d, want at least 1 and no more than %d elements in a parameter", c.DModel, maxElements)
	case c.KernelSize < 1 && c.KernelSize != -1:
		return fmt.Errorf("based: BaseConv with kernel_size %d, want at least 1, or -1 for a long filter", c.KernelSize)
	case c.KernelSize == -1 && c.LMax < 2:
		return fmt.Errorf("based: BaseConv with l_max %d, want at least 2 for a long filter", c.LMax)
	case float64(c.DModel)*float64(max(c.KernelSize, c.LMax)) > maxElements:
		return fmt.Errorf("based: BaseConv with d_model %d, kernel_size %d and l_max %d has more than %d elements in a filter", c.DModel, c.KernelSize, c.LMax, maxElements)
	}
	return nil
}

// NewBaseConv returns a mixer whose parameters are zero, ready to be loaded; see
// [BaseConv.Init].
func NewBaseConv(cfg BaseConvConfig) (*BaseConv, error) {
	setDefault(&cfg.KernelSize, 3)
	if cfg.Implicit == nil {
		cfg.Implicit = new(true)
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	m := &BaseConv{cfg: cfg, projection: nn.NewLinear(cfg.DModel, cfg.DModel, true)}
	switch {
	case cfg.KernelSize > 0:
		m.short = nn.NewCausalConv1D(cfg.DModel, cfg.KernelSize, true, m.activation())
	case !*cfg.Implicit:
		m.filter = tensor.New(cfg.DModel, cfg.LMax)
	default:
		m.implicit = NewImplicitFilter(cfg.DModel, cfg.LMax)
	}
	return m, nil
}

func (m *BaseConv) activation() nn.Activation {
	if m.cfg.Activate {
		return nn.SiLU
	}
	return nn.Identity
}

// Init draws the parameters as PyTorch's Linear and Conv1d begin, and an explicit filter
// from a standard normal distribution.
func (m *BaseConv) Init(r *rand.Rand) {
	m.projection.Init(r)
	switch {
	case m.short != nil:
		m.short.Init(r)
	case m.implicit != nil:
		m.implicit.Init(r)
	default:
		for i := range m.filter.Data() {
			m.filter.Data()[i] = float32(r.NormFloat64())
		}
	}
}

// Config returns the configuration with all fields filled in.
func (m *BaseConv) Config() BaseConvConfig { return m.cfg }

// Dim returns the width of the vectors.
func (m *BaseConv) Dim() int { return m.cfg.DModel }

// Params yields the parameters.
func (m *BaseConv) Params() iter.Seq2[string, *tensor.Tensor] {
	params := []paramlist.Named{paramlist.Of("projection.weight", m.projection.Weight), paramlist.Of("projection.bias", m.projection.Bias)}
	switch {
	case m.short != nil:
		params = append(params, paramlist.Of("conv.conv.weight", m.short.Weight), paramlist.Of("conv.conv.bias", m.short.Bias))
	case m.implicit != nil:
		for name, p := range m.implicit.Params() {
			params = append(params, paramlist.Of("conv."+name, p))
		}
	default:
		params = append(params, paramlist.Of("conv.filter", m.filter))
	}
	return paramlist.Yield(params...)
}

// convolution returns the convolution as a mixer, without the activation of a long one.
func (m *BaseConv) convolution() seqmix.Streamer {
	if m.short != nil {
		return m.short
	}
	return m.long.Get(m.makeLong, m.longParams()...)
}

func (m *BaseConv) longParams() []*tensor.Tensor {
	if m.implicit == nil {
		return []*tensor.Tensor{m.filter}
	}
	var params []*tensor.Tensor
	for _, p := range m.implicit.Params() {
		params = append(params, p)
	}
	return params
}

// makeLong makes a convolution of the long filter. That the input is added is part of
// its first tap.
func (m *BaseConv) makeLong() *nn.LongConv {
	d, n := m.cfg.DModel, m.cfg.LMax
	var h []float32
	if m.implicit != nil {
		h = m.implicit.Taps(n).Data
	} else {
		h = make([]float32, n*d)
		for i := range h {
			h[i] = m.filter.Data()[i%d*n+i/d]
		}
	}
	kernel.AddConst(h[:d], h[:d], 1)
	return nn.NewLongConv(tensor.MatOf(h, n, d))
}

// Mix computes whole sequences.
func (m *BaseConv) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("based.BaseConv.Mix", dst, src, m.Dim())
	s := tensor.GetScratch()
	y := s.TakeSeq(src.Batch, src.Len, src.Dim)
	m.convolution().Mix(y, src)
	m.gate(dst, src, y, s)
	tensor.PutScratch(s)
}

// gate finishes dst, with the convolution of src in y.
func (m *BaseConv) gate(dst, src, y tensor.Seq, s *tensor.Scratch) {
	p := s.TakeSeq(src.Batch, src.Len, src.Dim)
	m.projection.ApplyMat(p.Mat(), rowmat.Gather(src, s))
	if m.cfg.Activate && m.short == nil {
		kernel.SiLU(y.Data, y.Data)
	}
	for b := range src.Batch {
		m.combine(dst.Sequence(b).Data, y.Sequence(b).Data, p.Sequence(b).Data, src.Sequence(b).Data)
	}
}

// combine computes dst = y·act(gate) + src. It overwrites y.
func (m *BaseConv) combine(dst, y, gate, src []float32) {
	if act := m.activation(); act != nn.Identity {
		act.Gate(y, y, gate)
		kernel.Add(dst, y, src)
		return
	}
	kernel.MulAddTo(dst, y, gate, src)
}

// NewStream returns a stream at the beginning of batch sequences. It sees a long filter
// as it is then, and again when it is reset.
func (m *BaseConv) NewStream(batch int) (seqmix.Stream, error) {
	if batch < 1 || float64(batch)*float64(m.cfg.DModel)*float64(max(m.cfg.KernelSize, m.cfg.LMax)) > maxElements {
		return nil, fmt.Errorf("based: a stream of %d sequences", batch)
	}
	conv, err := m.convolution().NewStream(batch)
	if err != nil {
		return nil, err
	}
	return &baseConvStream{mixer: m, batch: batch, conv: conv}, nil
}

// baseConvStream is a BaseConv in the middle of a batch of sequences.
type baseConvStream struct {
	mixer   *BaseConv
	batch   int
	conv    seqmix.Stream
	scratch tensor.Scratch
	group   []seqmix.Stream // the convolutions of MixEach, meanwhile
}

func (s *baseConvStream) Mix(dst, src tensor.Seq) {
	const op = "based.BaseConv stream"
	tensor.CheckMix(op, dst, src, s.mixer.Dim())
	tensor.CheckSeq(op, src, s.batch, -1, -1)
	s.mix(dst, src)
}

func (s *baseConvStream) mix(dst, src tensor.Seq) {
	for t := 0; t < src.Len; t += blockPositions {
		end := min(t+blockPositions, src.Len)
		s.scratch.Reset()
		u := src.Slice(t, end)
		y := s.scratch.TakeSeq(u.Batch, u.Len, u.Dim)
		if len(s.group) > 0 {
			seqmix.MixEach(y, u, s.group)
		} else {
			s.conv.Mix(y, u)
		}
		s.mixer.gate(dst.Slice(t, end), u, y, &s.scratch)
	}
	s.scratch.Release()
}

// MixEach advances several streams of one sequence each, with the memory of s.
func (s *baseConvStream) MixEach(dst, src tensor.Seq, streams []seqmix.Stream) {
	tensor.CheckMix("based.BaseConv stream", dst, src, s.mixer.Dim())
	for _, t := range streams {
		s.group = append(s.group, t.(*baseConvStream).conv)
	}
	s.mix(dst, src)
	clear(s.group)
	s.group = s.group[:0]
}

func (s *baseConvStream) Reset() {
	if long, ok := s.conv.(*nn.LongConvStream); ok {
		long.Rebase(s.mixer.convolution().(*nn.LongConv))
		return
	}
	s.conv.Reset()
}

func (s *baseConvStream) Clone() seqmix.Stream {
	return &baseConvStream{mixer: s.mixer, batch: s.batch, conv: s.conv.Clone()}
}

const baseConvKind, baseConvVersion = "based.BaseConv", 1

func (s *baseConvStream) AppendBinary(b []byte) ([]byte, error) {
	inner, err := s.conv.AppendBinary(nil)
	if err != nil {
		return b, err
	}
	r := state.Record{Kind: baseConvKind, Version: baseConvVersion, Ints: []int{s.batch}, Nested: [][]byte{inner}}
	return r.Append(b), nil
}

func (s *baseConvStream) UnmarshalBinary(saved []byte) error {
	r, err := state.Decode(saved, baseConvKind, baseConvVersion, s.batch)
	if err == nil && len(r.Nested) != 1 {
		err = fmt.Errorf("saved state of a %s with %d parts, want 1", baseConvKind, len(r.Nested))
	}
	if err != nil {
		return fmt.Errorf("based: %w", err)
	}
	return s.conv.UnmarshalBinary(r.Nested[0])
}
