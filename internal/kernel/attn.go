package kernel

import (
	"fmt"
	"math"
)

//go:generate sh -c "cd _asm && go run ./attn -out ../attn_amd64.s -stubs ../attn_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group attn -out ../attn_arm64.s -stubs ../attn_stub_arm64.go"

// SoftmaxLanes is the number of partial sums of a running softmax. The lengths of
// [OnlineSoftmax] are multiples of it.
const SoftmaxLanes = 16

// SoftmaxStart is the maximum that a running softmax begins with. It is finite, so
// that a row of which nothing has been seen is told from one that ends.
const SoftmaxStart = -math.MaxFloat32

// OnlineSoftmax continues the softmax of some rows (arXiv:1805.02867) with n more
// scores s of each. For row r, with the old maximum and the new one
// m = max(max[r], max_j s[r][j]),
//
//	s[r][j]    ← e^(s[r][j] - m)
//	sum[r][l]  ← e^(max[r] - m)·sum[r][l] + Σ_i s[r][16i+l]    l < 16
//	o[r][c]    ← e^(max[r] - m)·o[r][c]                        c < cols
//	max[r]     ← m
//
// so that o remains in step when products of the new s are added to it. Scores of -Inf
// give 0. Numbers below e^-87 times the largest may count as 0.
//
// Rows begin lds and ldo elements apart in s and o, and sum has 16 elements for each.
// n and cols are multiples of 16. In the beginning max is [SoftmaxStart], and sum and
// o are 0. It panics if a slice is too short.
func OnlineSoftmax(s []float32, lds int, o []float32, ldo int, max, sum []float32, rows, n, cols int) {
	if rows <= 0 || n <= 0 {
		return
	}
	if n%SoftmaxLanes != 0 || cols < 0 || cols%SoftmaxLanes != 0 || lds < n && rows > 1 || ldo < cols && rows > 1 ||
		len(s) < (rows-1)*lds+n || len(o) < (rows-1)*ldo+cols || len(max) < rows || len(sum) < rows*SoftmaxLanes {
		panic(fmt.Sprintf("kernel: softmax of %d×%d scores for %d columns: %d elements with distance %d, %d with distance %d, %d maxima, %d sums",
			rows, n, cols, len(s), lds, len(o), ldo, len(max), len(sum)))
	}
	onlineSoftmax(s, lds, o, ldo, max, sum, rows, n, cols)
}

// PackKeys writes rows of k elements, lds apart, to a panel of [PackPanels], as rows
// first to first+rows-1 of its 32. It leaves the other rows as they are.
func PackKeys(panel []float32, src []float32, lds, first, rows, k int) {
	if rows <= 0 || k <= 0 {
		return
	}
	if first < 0 || first+rows > PanelWidth || len(panel) < k*PanelWidth || lds < 0 || len(src) < (rows-1)*lds+k {
		panic(fmt.Sprintf("kernel: rows %d to %d of %d elements of a panel of %d from %d elements with distance %d", first, first+rows-1, k, len(panel), len(src), lds))
	}
	packKeys(panel, src, lds, first, rows, k)
}

// RotateHalves rotates vectors of dim elements that lie one after the other in x. Of
// each it turns the pairs (i, i+p), for i < p = len(cos), by an angle of which the
// cosine and the sine are given:
//
//	a, b ← a·cos[i] - b·sin[i], b·cos[i] + a·sin[i]
//
// Elements from 2p on stay. It panics if 2p is more than dim or if the lengths do not
// fit.
func RotateHalves(x []float32, dim int, cos, sin []float32) {
	checkRotation(len(x), dim, 2*len(cos), 2*len(sin))
	if len(x) > 0 && len(cos) > 0 {
		rotateHalves(x, dim, cos, sin)
	}
}

// RotatePairs is [RotateHalves] for the pairs (2i, 2i+1). Its tables have two elements
// for each pair: cos[i], cos[i] and -sin[i], sin[i].
func RotatePairs(x []float32, dim int, cos, sin []float32) {
	checkRotation(len(x), dim, len(cos), len(sin))
	if len(x) > 0 && len(cos) > 0 {
		rotatePairs(x, dim, cos, sin)
	}
}

func checkRotation(n, dim, cos, sin int) {
	if cos != sin || cos%2 != 0 || dim < max(cos, 1) || n%dim != 0 {
		panic(fmt.Sprintf("kernel: rotation of %d and %d elements in %d of vectors of %d", cos, sin, n, dim))
	}
}
