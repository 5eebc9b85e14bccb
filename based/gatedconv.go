package based

import (
	"fmt"
	"iter"
	"math/rand/v2"
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

// A GatedConv is the gated short convolution of Based's language models (the class
// BaseConv of HazyResearch/based): with src of width d, and E = Expand·d/2 channels,
//
//	x, z = split(W_in·src + b_in)           E, E
//	y    = SiLU(conv(x)) · z                K taps for each channel
//	dst  = W_out·y + b_out
//
// at every position, where conv is a [nn.CausalConv1D]. [BaseConv] is what Zoology means
// by that name.
//
// Its parameters are in_proj.weight (2E, d), in_proj.bias (2E), conv.conv.weight
// (E, 1, K), conv.conv.bias (E) if there is one, out_proj.weight (d, E) and out_proj.bias
// (d). The two matrices can have any format and order of package tensor.
//
// A stream holds (K-1)·E numbers for each sequence.
type GatedConv struct {
	cfg     GatedConvConfig
	in, out *nn.Linear
	conv    *nn.CausalConv1D
}

// A GatedConvConfig describes a [GatedConv]. Only DModel has to be given; the zero value
// of every other field stands for the choice of HazyResearch/based. The JSON keys are
// those of its constructor. The released configurations have "kernel_sizes" as well,
// which the reference does not read.
type GatedConvConfig struct {
	DModel   int   `json:"d_model"`               // width d of the vectors
	Expand   int   `json:"expand_proj,omitempty"` // 4 by default; Expand·DModel is even
	Kernel   int   `json:"kernel_size,omitempty"` // taps K; 3 by default
	Bias     *bool `json:"use_bias,omitempty"`    // biases of in_proj and out_proj; true by default
	ConvBias bool  `json:"use_cuda,omitempty"`    // bias of the convolution, which the reference has with its CUDA kernel
}

func (c GatedConvConfig) withDefaults() GatedConvConfig {
	setDefault(&c.Expand, 4)
	setDefault(&c.Kernel, 3)
	if c.Bias == nil {
		c.Bias = new(true)
	}
	return c
}

func (c GatedConvConfig) validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{{"d_model", c.DModel}, {"expand_proj", c.Expand}, {"kernel_size", c.Kernel}} {
		if f.value < 1 || f.value > maxElements {
			return fmt.Errorf("based: GatedConv with %s %d, want at least 1", f.name, f.value)
		}
	}
	wide := float64(c.Expand) * float64(c.DModel)
	switch {
	case wide*float64(max(c.DModel, c.Kernel)) > maxElements:
		return fmt.Errorf("based: GatedConv with d_model %d, expand_proj %d and kernel_size %d has more than %d elements in a parameter", c.DModel, c.Expand, c.Kernel, maxElements)
	case c.Expand*c.DModel%2 != 0:
		return fmt.Errorf("based: GatedConv with d_model %d and expand_proj %d, want an even product to split", c.DModel, c.Expand)
	}
	return nil
}

// NewGatedConv returns a mixer whose parameters are zero, ready to be loaded; see
// [GatedConv.Init].
func NewGatedConv(cfg GatedConvConfig) (*GatedConv, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	wide := cfg.Expand * cfg.DModel
	return &GatedConv{
		cfg:  cfg,
		in:   nn.NewLinear(cfg.DModel, wide, *cfg.Bias),
		conv: nn.NewCausalConv1D(wide/2, cfg.Kernel, cfg.ConvBias, nn.SiLU),
		out:  nn.NewLinear(wide/2, cfg.DModel, *cfg.Bias),
	}, nil
}

// Init draws the parameters as PyTorch's Linear and Conv1d begin.
func (m *GatedConv) Init(r *rand.Rand) {
	m.in.Init(r)
	m.conv.Init(r)
	m.out.Init(r)
}

// Config returns the configuration with all fields filled in.
func (m *GatedConv) Config() GatedConvConfig { return m.cfg }

// Dim returns the width of the vectors.
func (m *GatedConv) Dim() int { return m.cfg.DModel }

// Params yields the parameters in the order of checkpoints.
func (m *GatedConv) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(
		paramlist.Of("in_proj.weight", m.in.Weight), paramlist.Of("in_proj.bias", m.in.Bias),
		paramlist.Of("conv.conv.weight", m.conv.Weight), paramlist.Of("conv.conv.bias", m.conv.Bias),
		paramlist.Of("out_proj.weight", m.out.Weight), paramlist.Of("out_proj.bias", m.out.Bias),
	)
}

// Mix computes whole sequences.
func (m *GatedConv) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("based.GatedConv.Mix", dst, src, m.Dim())
	s := gatedStreams.Get().(*GatedConvStream)
	s.begin(m, src.Batch)
	s.mix(dst, src)
	s.mixer = nil
	gatedStreams.Put(s)
}

// gatedStreams holds the streams that whole sequences are computed with.
var gatedStreams = sync.Pool{New: func() any { return new(GatedConvStream) }}

// NewStream returns a *[GatedConvStream] at the beginning of batch sequences.
func (m *GatedConv) NewStream(batch int) (seqmix.Stream, error) {
	if batch < 1 || float64(batch)*float64(max(m.historyLen(), 1)) > maxElements {
		return nil, fmt.Errorf("based: a stream of %d sequences", batch)
	}
	s := new(GatedConvStream)
	s.begin(m, batch)
	return s, nil
}

// A GatedConvStream is a [GatedConv] in the middle of a batch of sequences. Positions may
// be divided into any number of calls: the bits of the results are the same.
//
// It sees the taps as they are when it is made or reset.
type GatedConvStream struct {
	mixer   *GatedConv
	batch   int
	taps    []float32 // strips of (K, stripWidth)
	history []float32 // the last inputs of each sequence: strips of (K-1, stripWidth), oldest first
	scratch tensor.Scratch

	// The block that is being computed.
	first, length int
	xz            tensor.Mat
	group         []seqmix.Stream // those of MixEach, meanwhile
}

// stripWidth is the number of channels that are computed at a time.
const stripWidth = 256

// convGrain is the number of channels times positions from which it is worth splitting.
const convGrain = 1 << 14

func (m *GatedConv) channels() int   { return m.conv.Dim() }
func (m *GatedConv) historyLen() int { return (m.cfg.Kernel - 1) * m.channels() }

// begin makes s a stream at the beginning of its sequences, using its memory again.
func (s *GatedConvStream) begin(m *GatedConv, batch int) {
	s.mixer, s.batch = m, batch
	s.taps = resize(s.taps, m.cfg.Kernel*m.channels())
	s.history = resize(s.history, batch*m.historyLen())
	s.Reset()
}

// Reset returns to the beginning of the sequences.
func (s *GatedConvStream) Reset() {
	channels, taps := s.mixer.channels(), s.mixer.cfg.Kernel
	w := s.mixer.conv.Weight.Data()
	for c := 0; c < channels; c += stripWidth {
		kernel.PackConvTaps(s.taps[c*taps:], w[c*taps:], min(stripWidth, channels-c), taps)
	}
	clear(s.history)
}

// Clone returns an independent stream in the same state.
func (s *GatedConvStream) Clone() seqmix.Stream {
	c := new(GatedConvStream)
	c.begin(s.mixer, s.batch)
	copy(c.taps, s.taps)
	copy(c.history, s.history)
	return c
}

// Mix computes the next positions.
func (s *GatedConvStream) Mix(dst, src tensor.Seq) {
	const op = "based.GatedConvStream.Mix"
	tensor.CheckMix(op, dst, src, s.mixer.Dim())
	tensor.CheckSeq(op, src, s.batch, -1, -1)
	s.mix(dst, src)
}

func (s *GatedConvStream) mix(dst, src tensor.Seq) {
	if src.Len == 0 {
		return
	}
	length, group := min(src.Len, blockPositions), groupLen(src.Len)
	for b := 0; b < src.Batch; b += group {
		n := min(group, src.Batch-b)
		d, u := sequences(dst, b, n), sequences(src, b, n)
		for t := 0; t < src.Len; t += length {
			end := min(t+length, src.Len)
			s.mixBlock(d.Slice(t, end), u.Slice(t, end), b)
		}
	}
}

// MixEach computes the next positions of several streams of one sequence each, see
// [seqmix.MixEach].
func (s *GatedConvStream) MixEach(dst, src tensor.Seq, streams []seqmix.Stream) {
	tensor.CheckMix("based.GatedConvStream.MixEach", dst, src, s.mixer.Dim())
	s.group = streams
	s.mix(dst, src)
	s.group = nil
}

// mixBlock computes one block of sequence first and those after it.
func (s *GatedConvStream) mixBlock(dst, src tensor.Seq, first int) {
	m, e := s.mixer, s.mixer.channels()
	rows := src.Batch * src.Len
	s.scratch.Reset()
	take := func(cols int) tensor.Mat { return tensor.MatOf(s.scratch.Take(rows*cols), rows, cols) }
	s.xz, s.first, s.length = take(2*e), first, src.Len
	m.in.ApplyMat(s.xz, rowmat.Gather(src, &s.scratch))
	par.Do(src.Batch*s.strips(), convGrain/(src.Len*stripWidth)+1, (*gatedStrips)(s))
	out := rowmat.Of(dst)
	if out.Data == nil {
		out = take(dst.Dim)
	}
	m.out.ApplyMat(out, s.xz.Slice(0, e))
	rowmat.Scatter(dst, out)
	s.xz = tensor.Mat{}
	s.scratch.Release()
}

func (s *GatedConvStream) strips() int { return (s.mixer.channels() + stripWidth - 1) / stripWidth }

// gatedStrips is the convolution and the gate of a block.
type gatedStrips GatedConvStream

// Run computes strips lo to hi-1, those of the first sequence first.
func (g *gatedStrips) Run(lo, hi int) {
	s := (*GatedConvStream)(g)
	for i := lo; i < hi; i++ {
		from := i % s.strips() * stripWidth
		s.strip(i/s.strips(), from, min(from+stripWidth, s.mixer.channels()))
	}
}

func (s *GatedConvStream) strip(sequence, from, to int) {
	m, e, taps := s.mixer, s.mixer.channels(), s.mixer.cfg.Kernel
	var bias []float32
	if b := paramlist.Data(m.conv.Bias); b != nil {
		bias = b[from:to]
	}
	owner, index := s, s.first+sequence
	if s.group != nil {
		owner, index = s.group[index].(*GatedConvStream), 0
	}
	at := index*m.historyLen() + from*(taps-1)
	history := owner.history[at : at+(to-from)*(taps-1)]
	x := s.xz.Data[sequence*s.length*s.xz.Stride+from:]
	kernel.CausalConv1D(x, s.xz.Stride, x, s.xz.Stride, owner.taps[from*taps:to*taps], bias, history, s.length, to-from, taps, kernel.ConvLinear)
	for t := range s.length {
		row := s.xz.Row(sequence*s.length + t)
		kernel.SiLUMul(row[from:to], row[from:to], row[e+from:e+to])
	}
}

// State returns a copy of the state, with shape (batch, K-1, E): the last inputs of the
// convolution, oldest first, and zeros where there were none.
//
// HazyResearch/based keeps (batch, E, K): the same inputs after one that is not used any
// more.
func (s *GatedConvStream) State() *tensor.Tensor {
	t := tensor.New(s.batch, s.mixer.cfg.Kernel-1, s.mixer.channels())
	s.copyHistory(t.Data(), false)
	return t
}

// SetState replaces the state by one of the form that State returns. It panics with a
// *tensor.ShapeError if the shape does not fit.
func (s *GatedConvStream) SetState(history *tensor.Tensor) {
	checkShape("based.GatedConvStream.SetState", history, s.batch, s.mixer.cfg.Kernel-1, s.mixer.channels())
	s.copyHistory(history.Float32s(), true)
}

// copyHistory copies between the strips of the state and inputs in the order of State.
func (s *GatedConvStream) copyHistory(inputs []float32, toState bool) {
	e, at := s.mixer.channels(), 0
	for b := range s.batch {
		for from := 0; from < e; from += stripWidth {
			width := min(stripWidth, e-from)
			for k := range s.mixer.cfg.Kernel - 1 {
				strip, input := s.history[at:at+width], inputs[b*s.mixer.historyLen()+k*e+from:][:width]
				if toState {
					copy(strip, input)
				} else {
					copy(input, strip)
				}
				at += width
			}
		}
	}
}

const gatedKind, gatedVersion = "based.GatedConv", 1

func (s *GatedConvStream) sizes() []int {
	return []int{s.batch, s.mixer.channels(), s.mixer.cfg.Kernel}
}

// AppendBinary appends the state.
func (s *GatedConvStream) AppendBinary(b []byte) ([]byte, error) {
	r := state.Record{Kind: gatedKind, Version: gatedVersion, Ints: s.sizes(), Floats: state.FloatsOf(s.State().Data())}
	return r.Append(b), nil
}

// UnmarshalBinary replaces the state by a saved one. The numbers of sequences, of
// channels and of taps must be those of the stream.
func (s *GatedConvStream) UnmarshalBinary(saved []byte) error {
	r, err := state.Decode(saved, gatedKind, gatedVersion, s.sizes()...)
	if err == nil {
		err = r.WantFloats(len(s.history))
	}
	if err != nil {
		return fmt.Errorf("based: %w", err)
	}
	inputs := make([]float32, len(s.history))
	r.Floats[0].CopyTo(inputs)
	s.copyHistory(inputs, true)
	return nil
}
