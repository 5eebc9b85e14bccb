package nn

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/tensor"
)

// A CausalConv1D is the short convolution in front of a mixer: each channel is
// convolved with a few taps of its own, over the position and the ones before it,
//
//	y[t][c] = act( b[c] + Σ_{k<K} w[c][0][k] · x[t-K+1+k][c] )
//
// with zeros before the beginning. The last tap is that of the position itself.
//
// Weight w has shape (channels, 1, K) as in PyTorch's Conv1d, Bias b has shape
// (channels) or is nil. They are called "weight" and "bias".
//
// A stream carries the last K-1 inputs of each sequence. It sees the parameters as
// they are when it is made or reset.
type CausalConv1D struct {
	Weight     *tensor.Tensor
	Bias       *tensor.Tensor
	Activation Activation
}

// NewCausalConv1D returns a convolution with the given number of taps whose
// parameters are zero. It panics with a *tensor.ShapeError if channels is negative
// or taps below 1.
func NewCausalConv1D(channels, taps int, bias bool, act Activation) *CausalConv1D {
	if taps < 1 {
		panic(&tensor.ShapeError{Op: "nn.NewCausalConv1D", Got: []int{channels, 1, taps}, Want: []int{channels, 1, 1}})
	}
	c := &CausalConv1D{Weight: tensor.New(channels, 1, taps), Activation: act}
	if bias {
		c.Bias = tensor.New(channels)
	}
	return c
}

// Init draws the weight and the bias evenly from ±1/√K, as PyTorch's Conv1d with
// one group for each channel does.
func (c *CausalConv1D) Init(r *rand.Rand) { initFanIn(r, c.Weight, c.Bias, c.Taps()) }

// Dim returns the number of channels.
func (c *CausalConv1D) Dim() int { return c.Weight.Dim(0) }

// Taps returns the number of taps K.
func (c *CausalConv1D) Taps() int { return c.Weight.Dim(-1) }

// Mix convolves whole sequences.
func (c *CausalConv1D) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("nn.CausalConv1D.Mix", dst, src, c.Dim())
	c.mix(dst, src, c.Activation)
}

func (c *CausalConv1D) mix(dst, src tensor.Seq, act Activation) {
	s := convStreams.Get().(*convStream)
	s.begin(c, src.Batch, act)
	s.Mix(dst, src)
	s.layer, s.bias = nil, nil
	convStreams.Put(s)
}

// convStreams holds the streams that whole sequences are computed with.
var convStreams = sync.Pool{New: func() any { return new(convStream) }}

// Params yields the weight and the bias.
func (c *CausalConv1D) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(paramlist.Of("weight", c.Weight), paramlist.Of("bias", c.Bias))
}

// NewStream returns a stream at the beginning of batch sequences.
func (c *CausalConv1D) NewStream(batch int) (seqmix.Stream, error) {
	s := new(convStream)
	s.begin(c, batch, c.Activation)
	return s, nil
}

// convWidth is the number of channels that are computed at a time.
const convWidth = 256

// convStream is a convolution in the middle of a batch of sequences. Taps and history
// lie in strips of convWidth channels, which are independent of each other.
type convStream struct {
	layer   *CausalConv1D
	batch   int
	act     Activation
	taps    []float32 // strips of (K, convWidth)
	bias    []float32
	history []float32 // the last inputs of each sequence: strips of (K-1, convWidth), oldest first

	dst, src tensor.Seq
}

// begin makes s a stream at the beginning of its sequences, using its memory again.
func (s *convStream) begin(c *CausalConv1D, batch int, act Activation) {
	channels, taps := c.Dim(), c.Taps()
	s.layer, s.batch, s.act, s.bias = c, batch, act, paramlist.Data(c.Bias)
	s.taps = resize(s.taps, taps*channels)
	s.history = resize(s.history, batch*(taps-1)*channels)
	s.Reset()
}

func resize(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}

func (s *convStream) Reset() {
	channels, taps := s.layer.Dim(), s.layer.Taps()
	w := s.layer.Weight.Data()
	for c := 0; c < channels; c += convWidth {
		kernel.PackConvTaps(s.taps[c*taps:], w[c*taps:], min(convWidth, channels-c), taps)
	}
	clear(s.history)
}

func (s *convStream) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("nn.CausalConv1D.Mix", dst, src, s.layer.Dim())
	tensor.CheckSeq("nn.CausalConv1D.Mix", src, s.batch, -1, -1)
	if src.Len == 0 {
		return
	}
	s.dst, s.src = dst, src
	strips := (src.Dim + convWidth - 1) / convWidth
	par.Do(strips*s.batch, elementGrain/(src.Len*convWidth)+1, s)
	s.dst, s.src = tensor.Seq{}, tensor.Seq{}
}

// Run computes strips lo to hi-1, those of sequence 0 first.
func (s *convStream) Run(lo, hi int) {
	strips := (s.src.Dim + convWidth - 1) / convWidth
	for i := lo; i < hi; i++ {
		c := i % strips * convWidth
		s.strip(i/strips, c, min(c+convWidth, s.src.Dim))
	}
}

// strip computes channels c0 to c1-1 of sequence b.
func (s *convStream) strip(b, c0, c1 int) {
	channels, taps := s.src.Dim, s.layer.Taps()
	act := kernel.ConvLinear
	if s.act == SiLU {
		act = kernel.ConvSiLU
	}
	var bias []float32
	if s.bias != nil {
		bias = s.bias[c0:c1]
	}
	dst, src := s.dst.Data[b*s.dst.Stride+c0:], s.src.Data[b*s.src.Stride+c0:]
	history := s.history[(taps-1)*(b*channels+c0) : (taps-1)*(b*channels+c1)]
	kernel.CausalConv1D(dst, channels, src, channels, s.taps[taps*c0:taps*c1], bias, history, s.src.Len, c1-c0, taps, act)
	if s.act == SiLU || s.act == Identity {
		return
	}
	for t := range s.dst.Len {
		row := s.dst.At(b, t)[c0:c1]
		s.act.Apply(row, row)
	}
}

func (s *convStream) Clone() seqmix.Stream {
	c := new(convStream)
	c.begin(s.layer, s.batch, s.act)
	copy(c.taps, s.taps)
	copy(c.history, s.history)
	return c
}

// inputs returns the history as K-1 positions of each sequence.
func (s *convStream) inputs() tensor.Seq {
	seq := tensor.NewSeq(s.batch, s.layer.Taps()-1, s.layer.Dim())
	s.eachStrip(seq, func(position, strip []float32) { copy(position, strip) })
	return seq
}

// eachStrip calls f for all stretches of channels of the history, with the place of
// the same elements in seq.
func (s *convStream) eachStrip(seq tensor.Seq, f func(position, strip []float32)) {
	at := 0
	for b := range seq.Batch {
		for c := 0; c < seq.Dim; c += convWidth {
			width := min(convWidth, seq.Dim-c)
			for j := range seq.Len {
				f(seq.At(b, j)[c:c+width], s.history[at:at+width])
				at += width
			}
		}
	}
}

func (s *convStream) sizes() []int { return []int{s.layer.Dim(), s.layer.Taps(), s.batch} }

func (s *convStream) AppendBinary(b []byte) ([]byte, error) {
	r := state.Record{Kind: "nn.CausalConv1D", Version: 1, Ints: s.sizes(), Floats: state.FloatsOf(s.inputs().Data)}
	return r.Append(b), nil
}

func (s *convStream) UnmarshalBinary(saved []byte) error {
	r, err := state.Decode(saved, "nn.CausalConv1D", 1, s.sizes()...)
	if err == nil {
		err = r.WantFloats(len(s.history))
	}
	if err != nil {
		return fmt.Errorf("nn: %w", err)
	}
	seq := tensor.NewSeq(s.batch, s.layer.Taps()-1, s.layer.Dim())
	r.Floats[0].CopyTo(seq.Data)
	s.eachStrip(seq, func(position, strip []float32) { copy(strip, position) })
	return nil
}

// Reach is how many inputs before a position count: see [seqmix.RecordSegment].
func (s *convStream) Reach() int { return s.layer.Taps() - 1 }

// Record is Mix that keeps what Backward needs.
func (c *CausalConv1D) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("nn.CausalConv1D.Record", dst, src, c.Dim())
	return record(c, dst, src)
}
