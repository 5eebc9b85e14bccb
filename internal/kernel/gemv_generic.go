package kernel

import "math"

// gemvBF16Generic computes c[j] (+)= Σ a[p]·w[j][p] for the 32 columns of a panel.
func gemvBF16Generic(c, a []float32, b []uint16, add bool) {
	var s, w [PanelWidth]float32
	for p, x := range a {
		bf16Row(&w, b, p)
		for j, v := range w {
			s[j] += x * v
		}
	}
	storeRow(c, &s, add)
}

func storeRow(c []float32, s *[PanelWidth]float32, add bool) {
	for j, v := range s {
		if add {
			v += c[j]
		}
		c[j] = v
	}
}

func widenBF16Generic(dst []float32, b []uint16, k int) {
	for p := range k {
		bf16Row((*[PanelWidth]float32)(dst[p*PanelWidth:]), b, p)
	}
}

// bf16Row widens the weights of one k.
func bf16Row(dst *[PanelWidth]float32, b []uint16, p int) {
	pairs := b[p/2*2*PanelWidth:]
	for j := range dst {
		dst[j] = math.Float32frombits(uint32(pairs[2*j+p%2]) << 16)
	}
}
