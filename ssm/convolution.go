package ssm

import (
	"math/bits"

	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// maxResponse bounds the elements of the impulse responses that a mixer keeps.
const maxResponse = 1 << 24

// convolutionPays reports whether sequences of a length take clearly less time by
// convolution than by recurrences that take cost nanoseconds for a position of a
// channel. The recurrence gets the benefit of the doubt: it needs no memory and no
// preparation, and gives the same bits as a stream. The costs are fits to what
// BenchmarkLTI measures on AVX-512; AVX2 takes longer for either.
func convolutionPays(cost float64, channels, length int) bool {
	n := transformLen(length)
	if n < 64 || channels > maxResponse/n {
		return false
	}
	convolution := 0.55 + 0.045*float64(bits.Len(uint(n)))
	if n > 1<<13 {
		convolution *= 2 // out of the caches
	}
	padded := float64(n) / float64(length) // zeros take as long to transform as anything else
	return 1.5*padded*convolution < cost
}

// transformLen returns the length of the transforms for sequences of this length.
func transformLen(length int) int { return 1 << bits.Len(uint(max(length, 1)-1)) }

// convolution returns the other face of the system: the convolution with its impulse
// responses, for sequences of up to this length. It is remembered.
func (t *ltiTables) convolution(length int) *nn.LongConv {
	if c := t.conv.Load(); c != nil && length <= c.Taps() {
		return c
	}
	n := transformLen(length)
	h := impulseResponse(t.forward, n)
	c := nn.NewLongConv(h)
	if t.backward != nil {
		// What comes from the future does not include the present.
		g := impulseResponse(t.backward, n)
		copy(g.Data[g.Stride:], g.Data[:len(g.Data)-g.Stride])
		clear(g.Row(0))
		c = nn.NewTwoSidedConv(h, g)
	}
	t.conv.Store(c)
	return c
}

// impulseResponse returns the first n values of the impulse response of each channel
// as a column.
func impulseResponse(rec recurrence, n int) tensor.Mat {
	h := tensor.MatOf(make([]float32, n*rec.channels()), n, rec.channels())
	for i := range h.Row(0) {
		h.Row(0)[i] = 1
	}
	state := make([]float32, rec.stateLen())
	par.Do(ltiBlocks(rec), 1, par.Func(func(lo, hi int) { rec.run(h, h, state, lo, hi) }))
	return h
}

func ltiBlocks(rec recurrence) int { return (rec.channels() + ltiBlock - 1) / ltiBlock }
