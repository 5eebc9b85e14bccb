package ssm

import (
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A shortConv is the convolution in front of a state space, with SiLU after it unless
// it is linear, for the sequences of a stream. What it does to a block it does in place.
type shortConv struct {
	channels, taps int
	linear         bool
	w, bias        []float32

	// inputs holds the last inputs, before the convolution: for each sequence, strips
	// of (K-1, width), oldest first.
	inputs []float32

	block convBlock
}

// A convBlock is some positions of sequences first, first+1 … of a stream. Row
// i·length+t of x is position t of sequence first+i.
type convBlock struct {
	first, sequences, length int
	x                        tensor.Mat
	starts                   []int // positions at which sequences begin, if packed
}

// packConvTaps returns the taps of a convolution in strips of channels.
func packConvTaps(c *nn.CausalConv1D) []float32 {
	e, taps, w := c.Dim(), c.Taps(), c.Weight.Data()
	packed := make([]float32, e*taps)
	for from := 0; from < e; from += stripWidth {
		kernel.PackConvTaps(packed[from*taps:], w[from*taps:], min(stripWidth, e-from), taps)
	}
	return packed
}

// begin makes c the convolution of so many sequences, using its memory again.
func (c *shortConv) begin(batch, channels, taps int) {
	c.channels, c.taps = channels, taps
	c.inputs = resize(c.inputs, batch*c.stateLen())
}

// stateLen returns the number of inputs kept for a sequence.
func (c *shortConv) stateLen() int { return (c.taps - 1) * c.channels }

// run convolves a block.
func (c *shortConv) run(b convBlock) {
	c.block = b
	par.Do(b.sequences*c.strips(), convGrain/(b.length*stripWidth)+1, c)
	c.block = convBlock{}
}

func (c *shortConv) strips() int { return (c.channels + stripWidth - 1) / stripWidth }

// Run computes strips lo to hi-1, those of the first sequence first.
func (c *shortConv) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		sequence, from := i/c.strips(), i%c.strips()*stripWidth
		to := min(from+stripWidth, c.channels)
		begin := 0
		for _, p := range c.block.starts {
			c.convolve(sequence, from, to, begin, p)
			clear(c.history(sequence, from, to))
			begin = p
		}
		c.convolve(sequence, from, to, begin, c.block.length)
	}
}

// history returns the last inputs of some channels.
func (c *shortConv) history(sequence, from, to int) []float32 {
	at := (c.block.first+sequence)*c.stateLen() + from*(c.taps-1)
	return c.inputs[at : at+(to-from)*(c.taps-1)]
}

// convolve computes positions begin to end-1 of some channels.
func (c *shortConv) convolve(sequence, from, to, begin, end int) {
	if begin == end {
		return
	}
	x := c.block.x
	rows := x.Data[(sequence*c.block.length+begin)*x.Stride+from:]
	var bias []float32
	if c.bias != nil {
		bias = c.bias[from:to]
	}
	act := kernel.ConvSiLU
	if c.linear {
		act = kernel.ConvLinear
	}
	kernel.CausalConv1D(rows, x.Stride, rows, x.Stride, c.w[from*c.taps:to*c.taps], bias,
		c.history(sequence, from, to), end-begin, to-from, c.taps, act)
}

// copyInputs copies between the strips and inputs of shape (batch, K-1, channels).
func (c *shortConv) copyInputs(inputs []float32, toState bool) {
	for at := 0; at < len(c.inputs); {
		first := at
		for from := 0; from < c.channels; from += stripWidth {
			width := min(stripWidth, c.channels-from)
			for k := range c.taps - 1 {
				strip, input := c.inputs[at:at+width], inputs[first+k*c.channels+from:]
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
