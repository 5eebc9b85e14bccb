package kernel

// transposeGeneric is [Transpose]. It goes through blocks of rows and columns that stay
// in the cache, whatever the strides are.
func transposeGeneric(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	const block = 16
	for i0 := 0; i0 < rows; i0 += block {
		i1 := min(i0+block, rows)
		for j0 := 0; j0 < cols; j0 += block {
			for j := j0; j < min(j0+block, cols); j++ {
				row := dst[j*ldd+i0 : j*ldd+i1]
				for i := range row {
					row[i] = src[(i0+i)*lds+j]
				}
			}
		}
	}
}
