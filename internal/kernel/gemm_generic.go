package kernel

// gemmTileGeneric computes up to tileRows rows of one panel.
func gemmTileGeneric(c []float32, ldc int, a []float32, lda int, b []float32, m, n, k int, add bool) {
	for i := range m {
		gemmRowGeneric(c[i*ldc:i*ldc+n], a[i*lda:i*lda+k], b, add)
	}
}

// gemmRowGeneric computes one row, eight columns at a time: so many sums fit the
// registers.
func gemmRowGeneric(c, a, b []float32, add bool) {
	for j := 0; j < len(c); j += 8 {
		var s [8]float32
		for p, x := range a {
			w := b[p*PanelWidth+j : p*PanelWidth+j+8 : p*PanelWidth+j+8]
			s[0] += x * w[0]
			s[1] += x * w[1]
			s[2] += x * w[2]
			s[3] += x * w[3]
			s[4] += x * w[4]
			s[5] += x * w[5]
			s[6] += x * w[6]
			s[7] += x * w[7]
		}
		out := c[j:min(j+8, len(c))]
		for i := range out {
			if add {
				out[i] = s[i] + out[i]
			} else {
				out[i] = s[i]
			}
		}
	}
}
