package nn

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
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
	return yieldParams(named{"weight", c.Weight}, named{"bias", c.Bias})
}

// NewStream returns a stream at the beginning of batch sequences.
func (c *CausalConv1D) NewStream(batch int) (seqmix.Stream, error) {
	s := new(convStream)
	s.begin(c, batch, c.Activation)
	return s, nil
}

// convStream is a convolution in the middle of a batch of sequences.
type convStream struct {
	layer   *CausalConv1D
	batch   int
	act     Activation
	taps    []float32 // K×channels: the weight, transposed
	bias    []float32
	history []float32 // batch×(K-1)×channels: the last inputs, oldest first
	last    []float32 // of the same size: those of the input that is being mixed

	dst, src tensor.Seq
}

// begin makes s a stream at the beginning of its sequences, using its memory again.
func (s *convStream) begin(c *CausalConv1D, batch int, act Activation) {
	channels, taps := c.Dim(), c.Taps()
	s.layer, s.batch, s.act, s.bias = c, batch, act, data(c.Bias)
	s.taps = resize(s.taps, taps*channels)
	s.history = resize(s.history, batch*(taps-1)*channels)
	s.last = resize(s.last, len(s.history))
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
	for k := range taps {
		row := s.taps[k*channels : (k+1)*channels]
		for c := range row {
			row[c] = w[c*taps+k]
		}
	}
	clear(s.history)
}

// convWidth is the number of channels that are computed at a time.
const convWidth = 128

func (s *convStream) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("nn.CausalConv1D.Mix", dst, src, s.layer.Dim())
	tensor.CheckSeq("nn.CausalConv1D.Mix", src, s.batch, -1, -1)
	if src.Len == 0 {
		return
	}
	s.saveLast(src)
	s.dst, s.src = dst, src
	strips := (src.Dim + convWidth - 1) / convWidth
	par.Do(strips*s.batch, elementGrain/(src.Len*convWidth)+1, s)
	s.dst, s.src = tensor.Seq{}, tensor.Seq{}
	s.history, s.last = s.last, s.history
}

// saveLast makes last what history is to be after src: src may be overwritten.
func (s *convStream) saveLast(src tensor.Seq) {
	n := (s.layer.Taps() - 1) * src.Dim
	for b := range s.batch {
		last, history := s.last[b*n:(b+1)*n], s.history[b*n:(b+1)*n]
		x := src.Sequence(b).Data
		if len(x) >= n {
			copy(last, x[len(x)-n:])
			continue
		}
		copy(last, history[len(x):])
		copy(last[n-len(x):], x)
	}
}

// Run computes strips of channels, lo to hi-1, those of sequence 0 first.
func (s *convStream) Run(lo, hi int) {
	strips := (s.src.Dim + convWidth - 1) / convWidth
	for i := lo; i < hi; i++ {
		c := i % strips * convWidth
		s.strip(i/strips, c, min(c+convWidth, s.src.Dim))
	}
}

// strip computes channels c0 to c1-1 of sequence b. It goes backwards in time,
// because dst may be src.
func (s *convStream) strip(b, c0, c1 int) {
	var sums [convWidth]float32
	sum := sums[:c1-c0]
	channels, taps := s.src.Dim, s.layer.Taps()
	history := s.history[b*(taps-1)*channels : (b+1)*(taps-1)*channels]
	for t := s.src.Len - 1; t >= 0; t-- {
		if s.bias != nil {
			copy(sum, s.bias[c0:c1])
		} else {
			clear(sum)
		}
		for k := range taps {
			w := s.taps[k*channels+c0 : k*channels+c1]
			if p := t - taps + 1 + k; p >= 0 {
				kernel.MulAdd(sum, w, s.src.At(b, p)[c0:c1])
			} else {
				p += taps - 1
				kernel.MulAdd(sum, w, history[p*channels+c0:p*channels+c1])
			}
		}
		s.act.Apply(s.dst.At(b, t)[c0:c1], sum)
	}
}

func (s *convStream) Clone() seqmix.Stream {
	c := new(convStream)
	c.begin(s.layer, s.batch, s.act)
	copy(c.taps, s.taps)
	copy(c.history, s.history)
	return c
}

func (s *convStream) record() state.Record {
	return state.Record{
		Kind: "nn.CausalConv1D", Version: 1,
		Ints:   []int{s.layer.Dim(), s.layer.Taps(), s.batch},
		Floats: state.FloatsOf(s.history),
	}
}

func (s *convStream) AppendBinary(b []byte) ([]byte, error) {
	r := s.record()
	return r.Append(b), nil
}

func (s *convStream) UnmarshalBinary(saved []byte) error {
	want := s.record()
	r, err := state.Decode(saved, want.Kind, want.Version, want.Ints...)
	if err == nil {
		err = r.WantFloats(len(s.history))
	}
	if err != nil {
		return fmt.Errorf("nn: %w", err)
	}
	r.Floats[0].CopyTo(s.history)
	return nil
}

// Record is Mix that keeps what Backward needs.
func (c *CausalConv1D) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("nn.CausalConv1D.Record", dst, src, c.Dim())
	return record(c, dst, src)
}
