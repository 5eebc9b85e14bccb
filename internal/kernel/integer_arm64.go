//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func splitBlocks(dst []byte, a []float32, blocks int) {
	if cpu.NEON {
		splitNEON(blocks, &dst[0], &a[0])
	} else {
		splitBlocksGeneric(dst, a, blocks)
	}
}

func tileQ8Rows() int {
	if cpu.NEON {
		return 3
	}
	return tileQ8RowsGeneric
}

func tileQ8Whole(c []float32, ldc int, x, panel []byte, m, blocks int, scales *scaleFormat, add bool) {
	ldx := blocks * splitBytes
	switch {
	case !cpu.NEON:
		tileQ8Generic(c, ldc, x, panel, m, blocks, scales, add)
	case m == 1:
		tileQ8x1NEON(blocks, &x[0], ldx, &panel[0], &c[0], ldc, &scales.shift[0], add)
	case m == 2:
		tileQ8x2NEON(blocks, &x[0], ldx, &panel[0], &c[0], ldc, &scales.shift[0], add)
	case m == 3:
		tileQ8x3NEON(blocks, &x[0], ldx, &panel[0], &c[0], ldc, &scales.shift[0], add)
	}
}

func tileQ4Whole(c []float32, x, panel []byte, blocks int, add bool) {
	if cpu.NEON {
		tileQ4x1NEON(blocks, &x[0], 0, &panel[0], &c[0], 0, &q4Scales.shift[0], add)
	} else {
		tileQ4Generic(c, x, panel, blocks, add)
	}
}

func expandQ4(dst, panel []byte, blocks int) {
	if cpu.NEON {
		expandQ4NEON(blocks, &dst[0], &panel[0])
	} else {
		expandQ4Generic(dst, panel, blocks)
	}
}

func fitQ4(f *fits4, n int) {
	if cpu.NEON {
		fitQ4Lanes(f, n)
	} else {
		fitQ4Generic(f, 0, n)
	}
}

// roundQ4 rounds the blocks of l with the scales whose inverses it has: codes and sums.
func roundQ4(l *lanes4) { roundQ4NEON(&l.w[0], &l.inverse[0], &l.codes[0], &l.sums[0][0]) }

// quantizeBlocks rounds n blocks, or those before the first that is special, to int8, and
// returns the number of blocks that are left.
func quantizeBlocks(q []int8, scales []uint16, w []float32, n int) int {
	if n == 0 || !cpu.NEON {
		return n
	}
	return quantizeQ8NEON(n, &q[0], &scales[0], &w[0])
}
