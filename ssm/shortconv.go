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
	par.Do(b.sequences*c.columns(), convGrain/(b.length*stripWidth)+1, c)
	c.block = convBlock{}
}

// columns returns the number of strips of a sequence.
func (c *shortConv) columns() int { return (c.channels + stripWidth - 1) / stripWidth }

// Run computes strips lo to hi-1, those of the first sequence first.
func (c *shortConv) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		sequence, from := i/c.columns(), i%c.columns()*stripWidth
		to, row := min(from+stripWidth, c.channels), sequence*c.block.length
		x := c.block.x.SliceRows(row, row+c.block.length).Slice(from, to)
		c.strip(x, c.block.first+sequence, from, c.block.starts)
	}
}

// strips convolves the channels of whole strips, of which from is the first, of a
// sequence of the stream. The rows of x are its positions.
func (c *shortConv) strips(x tensor.Mat, sequence, from int, starts []int) {
	for at := 0; at < x.Cols; at += stripWidth {
		c.strip(x.Slice(at, min(at+stripWidth, x.Cols)), sequence, from+at, starts)
	}
}

// strip is strips for a single one.
func (c *shortConv) strip(x tensor.Mat, sequence, from int, starts []int) {
	begin := 0
	for _, p := range starts {
		c.convolve(x.SliceRows(begin, p), sequence, from)
		clear(c.history(sequence, from, from+x.Cols))
		begin = p
	}
	c.convolve(x.SliceRows(begin, x.Rows), sequence, from)
}

// history returns the last inputs of some channels.
func (c *shortConv) history(sequence, from, to int) []float32 {
	at := sequence*c.stateLen() + from*(c.taps-1)
	return c.inputs[at : at+(to-from)*(c.taps-1)]
}

// convolve is strip with nothing but one sequence in the rows of x.
func (c *shortConv) convolve(x tensor.Mat, sequence, from int) {
	if x.Rows == 0 {
		return
	}
	to := from + x.Cols
	var bias []float32
	if c.bias != nil {
		bias = c.bias[from:to]
	}
	act := kernel.ConvSiLU
	if c.linear {
		act = kernel.ConvLinear
	}
	kernel.CausalConv1D(x.Data, x.Stride, x.Data, x.Stride, c.w[from*c.taps:to*c.taps], bias,
		c.history(sequence, from, to), x.Rows, x.Cols, c.taps, act)
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
