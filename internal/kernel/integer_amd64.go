//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// The kernels for AVX-512 multiply bytes, for which the tier alone is not enough. Where
// the machine has no such instructions, those for AVX2 are next.

func splitBlocks(dst []byte, a []float32, blocks int) {
	switch {
	case cpu.VNNI:
		splitAVX512(blocks, &dst[0], &a[0])
	case cpu.AVX2 || cpu.AVX512:
		splitAVX2(blocks, &dst[0], &a[0])
	default:
		splitBlocksGeneric(dst, a, blocks)
	}
}

func tileQ8Rows() int {
	switch {
	case cpu.VNNI:
		return 4
	case cpu.AVX2 || cpu.AVX512:
		return 6
	default:
		return tileQ8RowsGeneric
	}
}

func tileQ8Whole(c []float32, ldc int, x, panel []byte, m, blocks int, scales *scaleFormat, add bool) {
	switch {
	case cpu.VNNI:
		tileQ8AVX512(blocks, &x[0], &panel[0], &c[0], ldc, m, &scales.shift[0], add)
	case cpu.AVX2 || cpu.AVX512:
		tileQ8AVX2(blocks, &x[0], &panel[0], &c[0], ldc, m, &scales.shift[0], add)
	default:
		tileQ8Generic(c, ldc, x, panel, m, blocks, scales, add)
	}
}

func tileQ8AVX512(blocks int, x, b *byte, c *float32, ldc, m int, scales *uint32, add bool) {
	ldx := blocks * splitBytes
	switch m {
	case 1:
		tileQ8x1AVX512(blocks, x, ldx, b, c, ldc, scales, add)
	case 2:
		tileQ8x2AVX512(blocks, x, ldx, b, c, ldc, scales, add)
	case 3:
		tileQ8x3AVX512(blocks, x, ldx, b, c, ldc, scales, add)
	case 4:
		tileQ8x4AVX512(blocks, x, ldx, b, c, ldc, scales, add)
	}
}

func tileQ8AVX2(blocks int, x, b *byte, c *float32, ldc, m int, scales *uint32, add bool) {
	ldx := blocks * splitBytes
	switch m {
	case 1:
		tileQ8x1AVX2(blocks, x, ldx, b, c, ldc, scales, add)
	case 2:
		tileQ8x2AVX2(blocks, x, ldx, b, c, ldc, scales, add)
	case 3:
		tileQ8x3AVX2(blocks, x, ldx, b, c, ldc, scales, add)
	case 4:
		tileQ8x4AVX2(blocks, x, ldx, b, c, ldc, scales, add)
	case 5:
		tileQ8x5AVX2(blocks, x, ldx, b, c, ldc, scales, add)
	case 6:
		tileQ8x6AVX2(blocks, x, ldx, b, c, ldc, scales, add)
	}
}

func tileQ4Whole(c []float32, x, panel []byte, blocks int, add bool) {
	switch {
	case cpu.VNNI:
		tileQ4x1AVX512(blocks, &x[0], 0, &panel[0], &c[0], 0, &q4Scales.shift[0], add)
	case cpu.AVX2 || cpu.AVX512:
		tileQ4x1AVX2(blocks, &x[0], 0, &panel[0], &c[0], 0, &q4Scales.shift[0], add)
	default:
		tileQ4Generic(c, x, panel, blocks, add)
	}
}

func expandQ4(dst, panel []byte, blocks int) {
	switch {
	case cpu.AVX512:
		expandQ4AVX512(blocks, &dst[0], &panel[0])
	case cpu.AVX2:
		expandQ4AVX2(blocks, &dst[0], &panel[0])
	default:
		expandQ4Generic(dst, panel, blocks)
	}
}

// fitQ4 rounds the first n blocks of f.
func fitQ4(f *fits4, n int) {
	switch {
	case cpu.AVX512:
		fitQ4Wide(f, n)
	case cpu.AVX2:
		fitQ4Lanes(f, n)
	default:
		fitQ4Generic(f, 0, n)
	}
}

// roundQ4 rounds the blocks of l with the scales whose inverses it has: codes and sums.
func roundQ4(l *lanes4) { roundQ4AVX2(&l.w[0], &l.inverse[0], &l.codes[0], &l.sums[0][0]) }

// fitQ4Wide is fitQ4 for AVX-512.
func fitQ4Wide(f *fits4, n int) {
	// A block in each lane: the elements in this order, the codes of a scale that is tried,
	// and those of the best.
	var lanes [fitLanes * QuantBlock]float32
	var try, best [fitLanes * QuantBlock]byte
	Transpose(lanes[:], fitLanes, f.w[:], QuantBlock, fitLanes, QuantBlock)
	bad := fitQ4AVX512(&lanes[0], &try[0], &best[0], &f.codes[0], &f.scales[0])
	for i := range n {
		if bad>>i&1 != 0 {
			fitQ4Generic(f, i, i+1)
		}
	}
}

// quantizeBlocks rounds n blocks, or those before the first that is special, to int8, and
// returns the number of blocks that are left.
func quantizeBlocks(q []int8, scales []uint16, w []float32, n int) int {
	switch {
	case n == 0:
		return 0
	case cpu.AVX512:
		return quantizeQ8AVX512(n, &q[0], &scales[0], &w[0])
	case cpu.AVX2:
		return quantizeQ8AVX2(n, &q[0], &scales[0], &w[0])
	}
	return n
}
