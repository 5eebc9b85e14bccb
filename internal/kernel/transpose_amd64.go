//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func haveTransposeBlocks() bool { return cpu.AVX512 || cpu.AVX2 }

// transposeBlocks is the same in both tiers. AVX-512 would not be faster: the limit is
// the number of shuffles.
func transposeBlocks(n int, dst *float32, ldd, dstStep int, src *float32, lds, srcStep int) {
	transposeBlocksAVX2(n, dst, ldd, dstStep, src, lds, srcStep)
}
