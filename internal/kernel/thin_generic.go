package kernel

// thinTileGeneric computes up to tileRows rows.
func thinTileGeneric(c []float32, ldc int, a []float32, lda int, b []float32, m, k int, add bool) {
	for i := range m {
		var s [ThinWidth]float32
		for p, x := range a[i*lda : i*lda+k] {
			w := b[p*ThinWidth : p*ThinWidth+ThinWidth : p*ThinWidth+ThinWidth]
			s[0] += x * w[0]
			s[1] += x * w[1]
			s[2] += x * w[2]
			s[3] += x * w[3]
			s[4] += x * w[4]
			s[5] += x * w[5]
			s[6] += x * w[6]
			s[7] += x * w[7]
		}
		out := c[i*ldc : i*ldc+ThinWidth]
		for j := range out {
			if add {
				out[j] = s[j] + out[j]
			} else {
				out[j] = s[j]
			}
		}
	}
}
