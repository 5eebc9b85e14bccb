package kernel

func taylorRowsGeneric(dst []float32, ldd int, src []float32, lds, rows, f int) {
	for r := range rows {
		x, out := src[r*lds:r*lds+f], dst[r*ldd:]
		out[0] = 1
		copy(out[1:], x)
		for i, v := range x {
			out[1+f+i] = sqrtHalf * v * v
		}
		at := 1 + 2*f
		for i, v := range x {
			for j, w := range x[:i] {
				out[at+j] = v * w
			}
			at += i
		}
	}
}

func taylorColumnsGeneric(dst []float32, ldd int, panel []float32, f int) {
	row := func(i int) []float32 { return panel[i*PanelWidth : (i+1)*PanelWidth] }
	for p := range PanelWidth {
		dst[p] = 1
	}
	at := ldd
	for i := range f {
		copy(dst[at:], row(i))
		at += ldd
	}
	for i := range f {
		for p, v := range row(i) {
			dst[at+p] = sqrtHalf * v * v
		}
		at += ldd
	}
	for i := range f {
		a := row(i)
		for j := range i {
			out := dst[at : at+PanelWidth]
			for p, v := range row(j) {
				out[p] = a[p] * v
			}
			at += ldd
		}
	}
}

func taylorWeightsGeneric(s []float32, lds int, sum []float32, rows, n, first int) {
	for r := range rows {
		row := s[r*lds : r*lds+n]
		visible := min(first+r+1, n)
		var lanes [taylorLanes]float32
		for j, v := range row[:visible] {
			w := 1 + v*(1+0.5*v)
			row[j] = w
			lanes[j%taylorLanes] += w
		}
		clear(row[visible:])
		sum[r] = addLanes(&lanes)
	}
}

func rowDotsGeneric(y, a []float32, lda int, x []float32, m int, add bool) {
	for i := range m {
		var lanes [taylorLanes]float32
		row := a[i*lda : i*lda+len(x)]
		for p, v := range x {
			lanes[p%taylorLanes] += row[p] * v
		}
		if add {
			y[i] += addLanes(&lanes)
		} else {
			y[i] = addLanes(&lanes)
		}
	}
}

func scaleRowsGeneric(dst []float32, ldd int, src []float32, lds int, factors []float32, n int) {
	for i, f := range factors {
		out := dst[i*ldd : i*ldd+n]
		for j, v := range src[i*lds : i*lds+n] {
			out[j] = f * v
		}
	}
}

// addLanes adds in the order in which the halves of vectors are added.
func addLanes(lanes *[taylorLanes]float32) float32 {
	for n := taylorLanes / 2; n > 0; n /= 2 {
		for i := range n {
			lanes[i] += lanes[i+n]
		}
	}
	return lanes[0]
}

func taylorWeightsGradGeneric(s []float32, lds int, ds []float32, ldd, m, n int) {
	for r := range m {
		row, d := s[r*lds:r*lds+n], ds[r*ldd:r*ldd+n]
		for j, x := range row {
			t := 1 + x
			d[j] *= t
			row[j] = t*t*0.5 + 0.5
		}
	}
}
