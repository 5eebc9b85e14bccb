//go:build purego || !(amd64 || arm64)

package kernel

func splitBlocks(dst []byte, a []float32, blocks int) { splitBlocksGeneric(dst, a, blocks) }

func tileQ8Rows() int { return tileQ8RowsGeneric }

func tileQ8Whole(c []float32, ldc int, x, panel []byte, m, blocks int, scales *scaleFormat, add bool) {
	tileQ8Generic(c, ldc, x, panel, m, blocks, scales, add)
}

func tileQ4Whole(c []float32, x, panel []byte, blocks int, add bool) {
	tileQ4Generic(c, x, panel, blocks, add)
}

func expandQ4(dst, panel []byte, blocks int) { expandQ4Generic(dst, panel, blocks) }

func fitQ4(f *fits4, n int) { fitQ4Generic(f, 0, n) }

// quantizeBlocks rounds none, and returns n as the number of blocks that are left.
func quantizeBlocks(_ []int8, _ []uint16, _ []float32, n int) int { return n }
