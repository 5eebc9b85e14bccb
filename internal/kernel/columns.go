package kernel

import "fmt"

//go:generate sh -c "cd _asm && go run ./columns -out ../columns_amd64.s -stubs ../columns_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group columns -out ../columns_arm64.s -stubs ../columns_stub_arm64.go"

// columnRows is the number of rows that are added up before they are added to the rest: so
// the rounding error of long sums stays small.
const columnRows = 64

// columnWork bounds the elements of one call into assembly.
const columnWork = 1 << 16

// ColumnSums adds up columns: for j < n,
//
//	sum[j] += Σ_i x[i*ldx+j]    i < rows
//
// sum must not overlap x. The bits of a sum do not depend on n. It panics if a slice is too
// short.
func ColumnSums(sum, x []float32, ldx, rows, n int) {
	if rows <= 0 || n <= 0 {
		return
	}
	checkColumns(len(sum), len(x), ldx, rows, n)
	for i := 0; i < rows; i += columnRows {
		m := min(columnRows, rows-i)
		for j := 0; j < n; j += columnWork / columnRows {
			columnSums(sum[j:], x[i*ldx+j:], ldx, m, min(columnWork/columnRows, n-j))
		}
	}
}

// ColumnDots is [ColumnSums] of the products of two matrices:
//
//	sum[j] += Σ_i x[i*ldx+j] · y[i*ldy+j]    i < rows
func ColumnDots(sum, x []float32, ldx int, y []float32, ldy, rows, n int) {
	if rows <= 0 || n <= 0 {
		return
	}
	checkColumns(len(sum), len(x), ldx, rows, n)
	checkColumns(len(sum), len(y), ldy, rows, n)
	for i := 0; i < rows; i += columnRows {
		m := min(columnRows, rows-i)
		for j := 0; j < n; j += columnWork / columnRows {
			columnDots(sum[j:], x[i*ldx+j:], ldx, y[i*ldy+j:], ldy, m, min(columnWork/columnRows, n-j))
		}
	}
}

func checkColumns(lenSum, lenX, ldx, rows, n int) {
	if ldx < 0 || lenSum < n || lenX < (rows-1)*ldx+n {
		panic(fmt.Sprintf("kernel: sums of %d columns of %d rows: %d elements with distance %d into %d", n, rows, lenX, ldx, lenSum))
	}
}
