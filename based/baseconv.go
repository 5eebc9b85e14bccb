package based

import (
	"fmt"
	"iter"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
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
//   - with Explicit as well, a long one whose filter is a parameter, likewise.
//
// The residual connection is part of it. [GatedConv] is what Based's language models
// have under the same name.
//
// Its parameters are projection.weight (d, d), projection.bias (d) and
// conv.conv.weight (d, 1, K), conv.conv.bias (d), or those of the network after "conv.",
// or conv.filter (d, LMax).
//
// A stream holds (K-1)·d numbers for each sequence, where a long filter has K = LMax. It
// computes the convolution directly, at a cost of K for each position. The filter is
// taken to end after LMax taps: sequences may be longer.
type BaseConv struct {
	cfg        BaseConvConfig
	projection *nn.Linear
	short      *nn.CausalConv1D // nil with a long filter
	implicit   *ImplicitFilter  // nil without
	filter     *tensor.Tensor   // nil unless explicit
}

// A BaseConvConfig describes a [BaseConv]. DModel has to be given, and LMax for a long
// filter. The JSON keys are those of zoology's constructor.
type BaseConvConfig struct {
	DModel     int  `json:"d_model"`               // width d of the vectors
	KernelSize int  `json:"kernel_size,omitempty"` // taps K; 3 by default, -1 for a long filter
	LMax       int  `json:"l_max,omitempty"`       // taps of a long filter
	Activate   bool `json:"use_act,omitempty"`     // SiLU on both factors
	Explicit   bool `json:"-"`                     // the long filter is a parameter: "implicit_long_conv": false
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
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	m := &BaseConv{cfg: cfg, projection: nn.NewLinear(cfg.DModel, cfg.DModel, true)}
	switch {
	case cfg.KernelSize > 0:
		m.short = nn.NewCausalConv1D(cfg.DModel, cfg.KernelSize, true, m.activation())
	case cfg.Explicit:
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
	params := []named{{"projection.weight", m.projection.Weight}, {"projection.bias", m.projection.Bias}}
	switch {
	case m.short != nil:
		params = append(params, named{"conv.conv.weight", m.short.Weight}, named{"conv.conv.bias", m.short.Bias})
	case m.implicit != nil:
		for name, p := range m.implicit.Params() {
			params = append(params, named{"conv." + name, p})
		}
	default:
		params = append(params, named{"conv.filter", m.filter})
	}
	return yieldParams(params...)
}

// longFilter returns the first n taps of the filter, one row for each, tap 0 being that
// of the position itself, and the input added.
func (m *BaseConv) longFilter(n int) []float32 {
	d := m.cfg.DModel
	var h []float32
	if m.implicit != nil {
		h = m.implicit.Taps(n).Data
	} else {
		h = make([]float32, n*d)
		for i := range h {
			h[i] = m.filter.Data()[i%d*m.cfg.LMax+i/d]
		}
	}
	kernel.AddConst(h[:d], h[:d], 1)
	return h
}

// direct returns the convolution as one of few taps: the filter backwards.
func (m *BaseConv) direct() *nn.CausalConv1D {
	if m.short != nil {
		return m.short
	}
	d, n := m.cfg.DModel, m.cfg.LMax
	h := m.longFilter(n)
	c := nn.NewCausalConv1D(d, n, false, m.activation())
	w := c.Weight.Data()
	for i, v := range h {
		w[i%d*n+n-1-i/d] = v
	}
	return c
}

// fourierLen is the length from which long filters are applied by Fourier transforms.
const fourierLen = 128

// Mix computes whole sequences.
func (m *BaseConv) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("based.BaseConv.Mix", dst, src, m.Dim())
	if src.Batch == 0 || src.Len == 0 {
		return
	}
	s := tensor.GetScratch()
	defer tensor.PutScratch(s)
	y := s.TakeSeq(src.Batch, src.Len, src.Dim)
	switch {
	case m.short != nil:
		m.short.Mix(y, src)
	case src.Len < fourierLen:
		m.direct().Mix(y, src)
	default:
		m.convolve(y, src)
	}
	m.gate(dst, src, y, s)
}

// convolve applies the long filter to whole sequences.
func (m *BaseConv) convolve(dst, src tensor.Seq) {
	d, taps := m.cfg.DModel, min(m.cfg.LMax, src.Len)
	plan := kernel.NewConvPlan(src.Len)
	blocks := (d + kernel.ConvBlock - 1) / kernel.ConvBlock
	spectrum, scratch := make([]float32, plan.SpectrumLen(d)), make([]float32, plan.ScratchLen())
	plan.Spectrum(spectrum, m.longFilter(taps), d, taps, d, 0, blocks)
	for b := range src.Batch {
		plan.Convolve(dst.Sequence(b).Data, d, src.Sequence(b).Data, d, src.Len, d, spectrum, scratch, 0, blocks)
		if m.cfg.Activate {
			tensor.SiLU(dst.Sequence(b).Data, dst.Sequence(b).Data)
		}
	}
}

// gate finishes dst, with the convolution of src in y.
func (m *BaseConv) gate(dst, src, y tensor.Seq, s *tensor.Scratch) {
	p := s.TakeSeq(src.Batch, src.Len, src.Dim)
	m.projection.ApplyMat(p.Mat(), gatherRows(src, s))
	for b := range src.Batch {
		p, y, src, dst := p.Sequence(b).Data, y.Sequence(b).Data, src.Sequence(b).Data, dst.Sequence(b).Data
		m.activation().Gate(y, y, p)
		kernel.Add(dst, y, src)
	}
}

// NewStream returns a stream at the beginning of batch sequences. It sees a long filter
// as it is then, and again when it is reset.
func (m *BaseConv) NewStream(batch int) (seqmix.Stream, error) {
	if batch < 1 || float64(batch)*float64(m.cfg.DModel)*float64(max(m.cfg.KernelSize, m.cfg.LMax)) > maxElements {
		return nil, fmt.Errorf("based: a stream of %d sequences", batch)
	}
	conv, err := m.direct().NewStream(batch)
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
}

func (s *baseConvStream) Mix(dst, src tensor.Seq) {
	const op = "based.BaseConv stream"
	tensor.CheckMix(op, dst, src, s.mixer.Dim())
	tensor.CheckSeq(op, src, s.batch, -1, -1)
	for t := 0; t < src.Len; t += blockPositions {
		end := min(t+blockPositions, src.Len)
		s.scratch.Reset()
		u := src.Slice(t, end)
		y := s.scratch.TakeSeq(u.Batch, u.Len, u.Dim)
		s.conv.Mix(y, u)
		s.mixer.gate(dst.Slice(t, end), u, y, &s.scratch)
	}
}

func (s *baseConvStream) Reset() {
	if s.mixer.short == nil {
		s.conv, _ = s.mixer.direct().NewStream(s.batch) // it worked before
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
