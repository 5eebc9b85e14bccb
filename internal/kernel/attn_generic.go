package kernel

import "math"

// onlineSoftmaxGeneric is made of other kernels, and so is fast wherever they are.
func onlineSoftmaxGeneric(s []float32, lds int, o []float32, ldo int, max, sum []float32, rows, n, cols int) {
	for r := range rows {
		row := s[r*lds : r*lds+n]
		lanes := sum[r*SoftmaxLanes : (r+1)*SoftmaxLanes]
		m := Max(row)
		if !(m < max[r]) { // m may be NaN
			if c := float32(math.Exp(float64(max[r] - m))); c != 1 {
				Scale(lanes, c, lanes)
				Scale(o[r*ldo:r*ldo+cols], c, o[r*ldo:r*ldo+cols])
			}
			max[r] = m
		}
		expSub(row, row, max[r])
		for j := 0; j < n; j += SoftmaxLanes {
			Add(lanes, lanes, row[j:j+SoftmaxLanes])
		}
	}
}

func packKeysGeneric(panel, src []float32, lds, first, rows, k int) {
	const block = 16
	for p0 := 0; p0 < k; p0 += block {
		p1 := min(p0+block, k)
		for i := range rows {
			for p := p0; p < p1; p++ {
				panel[p*PanelWidth+first+i] = src[i*lds+p]
			}
		}
	}
}

func rotateHalvesGeneric(x []float32, dim int, cos, sin []float32) {
	p := len(cos)
	for ; len(x) > 0; x = x[dim:] {
		a, b := x[:p], x[p:2*p]
		for i, c := range cos {
			u, v, s := a[i], b[i], sin[i]
			a[i], b[i] = u*c-v*s, v*c+u*s
		}
	}
}

func rotatePairsGeneric(x []float32, dim int, cos, sin []float32) {
	for ; len(x) > 0; x = x[dim:] {
		for i := 0; i < len(cos); i += 2 {
			u, v := x[i], x[i+1]
			x[i], x[i+1] = u*cos[i]+v*sin[i], v*cos[i+1]+u*sin[i+1]
		}
	}
}
