package main

import (
	"slices"

	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// conv makes a matrix of a convolution, whose weight is (out, in, taps) in the
// checkpoint. A row of the matrix holds tap after tap, all channels of each.
func (b *builder) conv(name string, in, out, taps int) *nn.Linear {
	if b.err != nil {
		return nil
	}
	l := nn.NewLinear(taps*in, out, true)
	b.params = append(b.params, param{name + ".bias", l.Bias})
	b.arrange(l, b.param(name+".weight", out, in, taps), func(row, col int) int {
		tap, channel := col/in, col%in
		return (row*in+channel)*taps + tap
	})
	return l
}

// transposedConv makes a matrix of a transposed convolution, whose weight is
// (in, out, taps) in the checkpoint. A pair of positions gets the first two taps of one
// position and the last two of the one before it. A row of the matrix holds the channels
// of the one before and then those of the other; first come the rows of the first
// position of the pair.
func (b *builder) transposedConv(name string, in, out int) *nn.Linear {
	if b.err != nil {
		return nil
	}
	l := nn.NewLinear(2*in, stride*out, true)
	b.arrange(l, b.param(name+".weight", in, out, taps), func(row, col int) int {
		tap, channel := row/out, row%out
		if col < in {
			tap += stride
		}
		return (col%in*out+channel)*taps + tap
	})
	bias := b.param(name+".bias", out)
	b.loaded = append(b.loaded, func() {
		l.Bias.SetFloat32s(slices.Repeat(bias.Data(), stride))
	})
	return l
}

// arrange fills the matrix of l when w is loaded: at says which element of w comes to
// a place.
func (b *builder) arrange(l *nn.Linear, w *tensor.Tensor, at func(row, col int) int) {
	b.loaded = append(b.loaded, func() {
		m := make([]float32, 0, w.Len())
		for row := range l.Out() {
			for col := range l.In() {
				m = append(m, w.Data()[at(row, col)])
			}
		}
		l.Weight.SetFloat32s(m)
		l.Weight.Pack()
	})
}
