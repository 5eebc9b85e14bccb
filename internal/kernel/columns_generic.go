package kernel

func columnSumsGeneric(sum, x []float32, ldx, rows, n int) {
	for j := range n {
		var s float32
		for i := range rows {
			s += x[i*ldx+j]
		}
		sum[j] += s
	}
}

func columnDotsGeneric(sum, x []float32, ldx int, y []float32, ldy, rows, n int) {
	for j := range n {
		var s float32
		for i := range rows {
			s += x[i*ldx+j] * y[i*ldy+j]
		}
		sum[j] += s
	}
}
