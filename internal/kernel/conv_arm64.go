//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// maxConvTaps is how many taps the assembly takes.
const maxConvTaps = 129

// convProducts bounds what is done without a point at which the scheduler can stop it.
const convProducts = 1 << 19

// noBias stands for a bias of zeros.
var noBias [ConvBlock]float32

func convRows(dst []float32, ldd int, src []float32, lds int, w, bias, state []float32, l, e, k int) {
	c, end := 0, e/ConvBlock*ConvBlock
	if k < 2 || k > maxConvTaps || !cpu.NEON {
		end = 0
	}
	most := max(1, convProducts/(l*k*ConvBlock))
	for c < end {
		blocks := min((end-c)/ConvBlock, most)
		b, step := &noBias[0], 0
		if bias != nil {
			b, step = &bias[c], ConvBlock
		}
		convBlocksNEON(l, blocks, &dst[c], ldd, &src[c], lds, &w[c], b, step, &state[c], e, k)
		c += blocks * ConvBlock
	}
	if c < e {
		convRowsGeneric(dst, ldd, src, lds, w, bias, state, l, c, e, k)
	}
}

func convBlocksNEON(l, blocks int, dst *float32, ldd int, src *float32, lds int, w, bias *float32, biasStep int, state *float32, e, k int) {
	switch k {
	case 2:
		convTaps2NEON(l, blocks, dst, ldd, src, lds, w, bias, biasStep, state, e)
	case 3:
		convTaps3NEON(l, blocks, dst, ldd, src, lds, w, bias, biasStep, state, e)
	case 4:
		convTaps4NEON(l, blocks, dst, ldd, src, lds, w, bias, biasStep, state, e)
	default:
		convTapsNEON(l, blocks, dst, ldd, src, lds, w, bias, biasStep, state, e, k)
	}
}
