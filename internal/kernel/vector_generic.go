package kernel

func addGeneric(dst, a, b []float32) {
	for i, v := range a {
		dst[i] = v + b[i]
	}
}

func subGeneric(dst, a, b []float32) {
	for i, v := range a {
		dst[i] = v - b[i]
	}
}

func mulGeneric(dst, a, b []float32) {
	for i, v := range a {
		dst[i] = v * b[i]
	}
}

func mulAddGeneric(dst, a, b, c []float32) {
	for i, v := range a {
		dst[i] = v*b[i] + c[i]
	}
}

func addScaledGeneric(dst, a, b []float32, s float32) {
	for i, v := range b {
		dst[i] = a[i] + s*v
	}
}

func addConstGeneric(dst, x []float32, s float32) {
	for i, v := range x {
		dst[i] = v + s
	}
}

func scaleGeneric(dst, x []float32, s float32) {
	for i, v := range x {
		dst[i] = s * v
	}
}

func scaleMulGeneric(dst, a, b []float32, s float32) {
	for i, v := range a {
		dst[i] = s * v * b[i]
	}
}

func dotGeneric(a, b []float32) float64 {
	var s float64
	for i, v := range a {
		s += float64(v) * float64(b[i])
	}
	return s
}

func sumGeneric(x []float32) float64 { return addUp(x) }

// maximumGeneric returns the largest element of a slice that is not empty.
func maximumGeneric(x []float32) float32 {
	m := x[0]
	for _, v := range x {
		m = max(m, v)
	}
	return m
}
