package kernel

import "fmt"

// GemmQ8 computes, for i < m and j < n,
//
//	c[i*ldc+j] = Σ_p a[i][p] · w[j][p]    p < k
//
// or adds the sum to c[i*ldc+j] if add is set. x holds the rows a, as [SplitRows] makes
// it of them, and panels the n×k matrix w, as [PackQ8Panels] makes it. Within each block
// of 32 elements along k, the sum of the products of integers is exact; it is rounded to
// float32, multiplied by the unit of the elements of a and, as a fused multiply-add to
// the blocks before it, by the scale of the weights.
//
// The bits of a result do not depend on m and n, and are the same on AVX2, AVX-512 and
// NEON. It panics if a slice is too short.
func GemmQ8(c []float32, ldc int, x []byte, panels []byte, m, n, k int, add bool) {
	if m <= 0 || n <= 0 {
		return
	}
	checkPacked("int8", len(panels), Q8PanelLen(n, k), len(x), SplitLen(m, k))
	checkGemm(len(c), ldc, m*k, k, m, n, k)
	if k == 0 {
		gemmEmpty(c, ldc, m, n, add)
		return
	}
	for j := 0; j < n; j += blockPanels * PanelWidth {
		gemmPanels(c[j:], ldc, x, panels[Q8PanelLen(j, k):], m, min(blockPanels*PanelWidth, n-j), k, q8Scales, add)
	}
}

// GemmQ4ScratchLen returns the number of bytes of temporary memory that [GemmQ4] needs
// for more than one row of k elements: room for the int8 panels that it works on at a
// time.
func GemmQ4ScratchLen(k int) int { return Q8PanelLen(blockPanels*PanelWidth, k) }

// GemmQ4 is [GemmQ8] with weights in blocks of four bits, as [PackQ4Panels] makes them.
// One row is multiplied by them as they are; for more rows, panels are converted to int8
// in scratch first, but for their scales, which does not change the result.
func GemmQ4(c []float32, ldc int, x []byte, panels []byte, m, n, k int, scratch []byte, add bool) {
	if m <= 0 || n <= 0 {
		return
	}
	checkPacked("int4", len(panels), Q4PanelLen(n, k), len(x), SplitLen(m, k))
	checkGemm(len(c), ldc, m*k, k, m, n, k)
	if k == 0 {
		gemmEmpty(c, ldc, m, n, add)
		return
	}
	if m == 1 {
		for j := 0; j < n; j += PanelWidth {
			tileQ4(c[j:min(j+PanelWidth, n)], x, panels[Q4PanelLen(j, k):], Q4RowBlocks(k), add)
		}
		return
	}
	if len(scratch) < GemmQ4ScratchLen(k) {
		panic(fmt.Sprintf("kernel: scratch of %d bytes, want %d", len(scratch), GemmQ4ScratchLen(k)))
	}
	for j := 0; j < n; j += blockPanels * PanelWidth {
		cols := min(blockPanels*PanelWidth, n-j)
		for i := 0; i < cols; i += PanelWidth {
			expandQ4(scratch[Q8PanelLen(i, k):], panels[Q4PanelLen(j+i, k):], Q4RowBlocks(k))
		}
		gemmPanels(c[j:], ldc, x, scratch, m, cols, k, q4Scales, add)
	}
}

// gemmPanels is GemmQ8 for as many panels as stay in the L2 cache, with scales of any format.
func gemmPanels(c []float32, ldc int, x []byte, panels []byte, m, n, k int, scales *scaleFormat, add bool) {
	height := tileQ8Rows()
	tiles := (m + height - 1) / height
	for t := range tiles {
		i0, i1 := t*m/tiles, (t+1)*m/tiles
		for j := 0; j < n; j += PanelWidth {
			out := c[i0*ldc+j : (i1-1)*ldc+min(j+PanelWidth, n)]
			tileQ8(out, ldc, x[SplitLen(i0, k):], panels[Q8PanelLen(j, k):], i1-i0, min(PanelWidth, n-j), Q4RowBlocks(k), scales, add)
		}
	}
}

// tileQ8 multiplies a few rows by one panel, of which n columns exist. The kernels
// compute all 32: a part of them goes through a buffer.
func tileQ8(c []float32, ldc int, x, panel []byte, m, n, blocks int, scales *scaleFormat, add bool) {
	if n == PanelWidth {
		tileQ8Whole(c, ldc, x, panel, m, blocks, scales, add)
		return
	}
	var buf [mostTileQ8Rows * PanelWidth]float32
	tileQ8Whole(buf[:], PanelWidth, x, panel, m, blocks, scales, false)
	for i := range m {
		storePart(c[i*ldc:i*ldc+n], buf[i*PanelWidth:], add)
	}
}

// mostTileQ8Rows is the number of rows of the tallest tile of any tier.
const mostTileQ8Rows = 6

// tileQ4 multiplies one row by one panel.
func tileQ4(c []float32, x, panel []byte, blocks int, add bool) {
	if len(c) == PanelWidth {
		tileQ4Whole(c, x, panel, blocks, add)
		return
	}
	var buf [PanelWidth]float32
	tileQ4Whole(buf[:], x, panel, blocks, false)
	storePart(c, buf[:], add)
}

// storePart writes s, plus what is there if add is set, to c.
func storePart(c, s []float32, add bool) {
	for j := range c {
		if add {
			c[j] = s[j] + c[j]
		} else {
			c[j] = s[j]
		}
	}
}
