//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func haveTransposeBlocks() bool { return cpu.NEON }

func transposeBlocks(n int, dst *float32, ldd, dstStep int, src *float32, lds, srcStep int) {
	transposeBlocksNEON(n, dst, ldd, dstStep, src, lds, srcStep)
}
