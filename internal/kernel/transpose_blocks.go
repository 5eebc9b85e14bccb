//go:build !purego && (amd64 || arm64)

package kernel

// transposeCall is the number of blocks for one call of the assembly.
const transposeCall = 4096

// transpose leaves what is not in a block of 8×8 to the portable version.
func transpose(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	if !haveTransposeBlocks() || rows < 8 || cols < 8 {
		transposeGeneric(dst, ldd, src, lds, rows, cols)
		return
	}
	m, n := rows&^7, cols&^7
	if lds >= ldd {
		transposeRows(dst, ldd, src, lds, m, n)
	} else {
		transposeColumns(dst, ldd, src, lds, m, n)
	}
	if n < cols {
		transposeGeneric(dst[n*ldd:], ldd, src[n:], lds, m, cols-n)
	}
	if m < rows {
		transposeGeneric(dst[m:], ldd, src[m*lds:], lds, rows-m, cols)
	}
}

// transposeRows reads eight rows from left to right. Lines of memory that are far apart
// often compete for the same places in the cache, so that the matrix with the longer
// rows is gone through eight rows at a time, line after line.
func transposeRows(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	for i := 0; i < rows; i += 8 {
		for j := 0; j < cols; j += 8 * transposeCall {
			transposeBlocks(min(cols-j, 8*transposeCall)/8, &dst[j*ldd+i], ldd, 8*ldd, &src[i*lds+j], lds, 8)
		}
	}
}

// transposeColumns writes eight rows from left to right.
func transposeColumns(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	for j := 0; j < cols; j += 8 {
		for i := 0; i < rows; i += 8 * transposeCall {
			transposeBlocks(min(rows-i, 8*transposeCall)/8, &dst[j*ldd+i], ldd, 8, &src[i*lds+j], lds, 8*lds)
		}
	}
}
