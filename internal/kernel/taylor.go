package kernel

import "fmt"

//go:generate sh -c "cd _asm && go run ./taylor -out ../taylor_amd64.s -stubs ../taylor_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group taylor -out ../taylor_arm64.s -stubs ../taylor_stub_arm64.go"

// The features of a vector x of f elements are those whose products sum up to the
// second-order Taylor polynomial of the exponential, with equal ones joined into one:
//
//	φ(x) = [1, x_i, √½·x_i², x_i·x_j for j < i]    φ(x)·φ(y) = 1 + s + s²/2,  s = x·y
//
// in this order: the pairs row by row, x_1·x_0, x_2·x_0, x_2·x_1 and so on.

// TaylorLen returns the number of features of vectors of f elements.
func TaylorLen(f int) int { return 1 + f + f*(f+1)/2 }

// taylorLanes is the number of elements that the kernels write at a time.
const taylorLanes = 16

// TaylorWidth returns n rounded up to whole vectors.
func TaylorWidth(n int) int { return (n + taylorLanes - 1) &^ (taylorLanes - 1) }

// TaylorStride returns the distance between rows that [TaylorRows] writes: there is
// room for whole vectors of squares and of the last pairs.
func TaylorStride(f int) int {
	lastPairs := TaylorLen(f) - (f - 1)
	return TaylorWidth(max(1+f+TaylorWidth(f), lastPairs+TaylorWidth(f-1)))
}

const sqrtHalf = 0.70710678118654752440

// TaylorRows writes the features of some vectors as rows: dst[r*ldd+i] is feature i
// of src[r*lds:r*lds+f]. The elements of a row after the features, of which there are
// [TaylorStride] together, are overwritten. Rows of src are padded with anything to
// whole vectors, see [TaylorWidth]. dst must not overlap src. It panics if a slice or
// a distance is too short.
func TaylorRows(dst []float32, ldd int, src []float32, lds, rows, f int) {
	if rows <= 0 {
		return
	}
	if f < 1 || ldd < TaylorStride(f) && rows > 1 || lds < 0 || len(dst) < (rows-1)*ldd+TaylorStride(f) || len(src) < (rows-1)*lds+TaylorWidth(f) {
		panic(fmt.Sprintf("kernel: Taylor features of %d vectors of %d: %d elements with distance %d into %d with distance %d", rows, f, len(src), lds, len(dst), ldd))
	}
	for rows > 0 {
		n := min(rows, taylorWork/TaylorLen(f)+1)
		taylorRows(dst, ldd, src, lds, n, f)
		if rows -= n; rows > 0 {
			dst, src = dst[n*ldd:], src[n*lds:]
		}
	}
}

// TaylorColumns writes the features of the 32 vectors of a panel, see [PackPanels], as
// columns: dst[i*ldd+p] is feature i of vector p. It panics if a slice is too short or
// ldd below 32.
func TaylorColumns(dst []float32, ldd int, panel []float32, f int) {
	if f < 1 || ldd < PanelWidth || len(dst) < (TaylorLen(f)-1)*ldd+PanelWidth || len(panel) < f*PanelWidth {
		panic(fmt.Sprintf("kernel: Taylor features of %d elements of a panel of %d into %d with distance %d", f, len(panel), len(dst), ldd))
	}
	taylorColumns(dst, ldd, panel, f)
}

// TaylorWeights makes the weights of causal attention of products s: in row r, of
// which the first first+r+1 are visible,
//
//	s[r][j] ← 1 + s[r][j] + ½·s[r][j]²    sum[r] = Σ_j s[r][j]
//
// for those, and 0 for the others up to n, whatever they were. n is a multiple of 16.
// Rows begin lds elements apart. The bits of a row do not depend on n. It panics if a
// slice is too short.
func TaylorWeights(s []float32, lds int, sum []float32, rows, n, first int) {
	if rows <= 0 || n <= 0 {
		return
	}
	if n%taylorLanes != 0 || first < 0 || lds < n && rows > 1 || len(s) < (rows-1)*lds+n || len(sum) < rows {
		panic(fmt.Sprintf("kernel: Taylor weights of %d×%d from %d elements with distance %d and %d sums", rows, n, len(s), lds, len(sum)))
	}
	for r := 0; r < rows; {
		count := min(rows-r, taylorWork/n+1)
		taylorWeights(s[r*lds:], lds, sum[r:], count, n, first+r)
		r += count
	}
}

// TaylorWeightsGrad makes weights of products s, and gradients of these of those of weights:
//
//	ds[r][j] ← (1 + s[r][j])·ds[r][j]    s[r][j] ← 1 + s[r][j] + ½·s[r][j]² = ½·(1 + s[r][j])² + ½
//
// for r < rows and j < n. Rows begin lds and ldd elements apart; s and ds must not overlap.
// It panics if a slice is too short.
func TaylorWeightsGrad(s []float32, lds int, ds []float32, ldd, rows, n int) {
	if rows <= 0 || n <= 0 {
		return
	}
	if min(lds, ldd) < n && rows > 1 || len(s) < (rows-1)*lds+n || len(ds) < (rows-1)*ldd+n {
		panic(fmt.Sprintf("kernel: gradients of Taylor weights of %d×%d: %d elements with distance %d and %d with distance %d", rows, n, len(s), lds, len(ds), ldd))
	}
	for r := 0; r < rows; {
		count := min(rows-r, taylorWork/n+1)
		taylorWeightsGrad(s[r*lds:], lds, ds[r*ldd:], ldd, count, n)
		r += count
	}
}

// RowDots computes y[i] = Σ_p a[i*lda+p]·x[p] for i < m and p < n = len(x), or adds
// the sum to y[i] if add is set. Every sum consists of 16 partial sums, of the p of
// equal remainder, so that the bits do not depend on m. It panics if a slice is too
// short.
func RowDots(y, a []float32, lda int, x []float32, m int, add bool) {
	n := len(x)
	if m <= 0 {
		return
	}
	if lda < 0 || len(y) < m || len(a) < (m-1)*lda+n {
		panic(fmt.Sprintf("kernel: products of %d rows of %d: %d elements with distance %d and %d results", m, n, len(a), lda, len(y)))
	}
	for i := 0; i < m; {
		count := min(m-i, taylorWork/(n+1)+1)
		rowDots(y[i:], a[i*lda:], lda, x, count, add)
		i += count
	}
}

// ScaleRows computes dst[i*ldd+j] = factors[i]·src[i*lds+j] for i < len(factors) and
// j < n. dst may be src, with the same distance, and else overlaps nothing. It panics if
// a slice is too short.
func ScaleRows(dst []float32, ldd int, src []float32, lds int, factors []float32, n int) {
	m := len(factors)
	if m <= 0 || n <= 0 {
		return
	}
	if ldd < n && m > 1 || lds < 0 || len(dst) < (m-1)*ldd+n || len(src) < (m-1)*lds+n {
		panic(fmt.Sprintf("kernel: scaling of %d rows of %d: %d elements with distance %d into %d with distance %d", m, n, len(src), lds, len(dst), ldd))
	}
	for i := 0; i < m; {
		end := min(m, i+taylorWork/n+1)
		scaleRows(dst[i*ldd:], ldd, src[i*lds:], lds, factors[i:end], n)
		i = end
	}
}

// taylorWork bounds the elements of one call into assembly.
const taylorWork = 1 << 16
