//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// The dispatchers below get at least one element.

func exp(dst, x []float32) {
	switch {
	case cpu.AVX512:
		expAVX512(len(x), &dst[0], &x[0])
	case cpu.AVX2:
		expAVX2(len(x), &dst[0], &x[0])
	default:
		expGeneric(dst, x)
	}
}

func sigmoid(dst, x []float32) {
	switch {
	case cpu.AVX512:
		sigmoidAVX512(len(x), &dst[0], &x[0])
	case cpu.AVX2:
		sigmoidAVX2(len(x), &dst[0], &x[0])
	default:
		sigmoidGeneric(dst, x)
	}
}

func silu(dst, x []float32) {
	switch {
	case cpu.AVX512:
		siluAVX512(len(x), &dst[0], &x[0])
	case cpu.AVX2:
		siluAVX2(len(x), &dst[0], &x[0])
	default:
		siluGeneric(dst, x)
	}
}

func softplus(dst, x []float32) {
	switch {
	case cpu.AVX512:
		softplusAVX512(len(x), &dst[0], &x[0])
	case cpu.AVX2:
		softplusAVX2(len(x), &dst[0], &x[0])
	default:
		softplusGeneric(dst, x)
	}
}

func tanh(dst, x []float32) {
	switch {
	case cpu.AVX512:
		tanhAVX512(len(x), &dst[0], &x[0])
	case cpu.AVX2:
		tanhAVX2(len(x), &dst[0], &x[0])
	default:
		tanhGeneric(dst, x)
	}
}

func gelu(dst, x []float32) {
	switch {
	case cpu.AVX512:
		geluAVX512(len(x), &dst[0], &x[0])
	case cpu.AVX2:
		geluAVX2(len(x), &dst[0], &x[0])
	default:
		geluGeneric(dst, x)
	}
}

func geluTanh(dst, x []float32) {
	switch {
	case cpu.AVX512:
		geluTanhAVX512(len(x), &dst[0], &x[0])
	case cpu.AVX2:
		geluTanhAVX2(len(x), &dst[0], &x[0])
	default:
		geluTanhGeneric(dst, x)
	}
}

func relu(dst, x []float32) {
	switch {
	case cpu.AVX512:
		reluAVX512(len(x), &dst[0], &x[0])
	case cpu.AVX2:
		reluAVX2(len(x), &dst[0], &x[0])
	default:
		reluGeneric(dst, x)
	}
}

func sigmoidMul(dst, x, y []float32) {
	switch {
	case cpu.AVX512:
		sigmoidMulAVX512(len(x), &dst[0], &x[0], &y[0])
	case cpu.AVX2:
		sigmoidMulAVX2(len(x), &dst[0], &x[0], &y[0])
	default:
		sigmoidMulGeneric(dst, x, y)
	}
}

func siluMul(dst, x, y []float32) {
	switch {
	case cpu.AVX512:
		siluMulAVX512(len(x), &dst[0], &x[0], &y[0])
	case cpu.AVX2:
		siluMulAVX2(len(x), &dst[0], &x[0], &y[0])
	default:
		siluMulGeneric(dst, x, y)
	}
}

func siluGrad(dst, x, y []float32) {
	switch {
	case cpu.AVX512:
		siluGradAVX512(len(x), &dst[0], &x[0], &y[0])
	case cpu.AVX2:
		siluGradAVX2(len(x), &dst[0], &x[0], &y[0])
	default:
		siluGradGeneric(dst, x, y)
	}
}

func geluGrad(dst, x, y []float32) {
	switch {
	case cpu.AVX512:
		geluGradAVX512(len(x), &dst[0], &x[0], &y[0])
	case cpu.AVX2:
		geluGradAVX2(len(x), &dst[0], &x[0], &y[0])
	default:
		geluGradGeneric(dst, x, y)
	}
}

func geluTanhGrad(dst, x, y []float32) {
	switch {
	case cpu.AVX512:
		geluTanhGradAVX512(len(x), &dst[0], &x[0], &y[0])
	case cpu.AVX2:
		geluTanhGradAVX2(len(x), &dst[0], &x[0], &y[0])
	default:
		geluTanhGradGeneric(dst, x, y)
	}
}

func adamW(a *AdamW, p, m, v, g []float32) {
	c := a.constants()
	switch {
	case cpu.AVX512:
		adamWAVX512(len(g), &p[0], &m[0], &v[0], &g[0], &c[0])
	case cpu.AVX2:
		adamWAVX2(len(g), &p[0], &m[0], &v[0], &g[0], &c[0])
	default:
		adamWGeneric(a, p, m, v, g)
	}
}

func geluMul(dst, x, y []float32) {
	switch {
	case cpu.AVX512:
		geluMulAVX512(len(x), &dst[0], &x[0], &y[0])
	case cpu.AVX2:
		geluMulAVX2(len(x), &dst[0], &x[0], &y[0])
	default:
		geluMulGeneric(dst, x, y)
	}
}

func geluTanhMul(dst, x, y []float32) {
	switch {
	case cpu.AVX512:
		geluTanhMulAVX512(len(x), &dst[0], &x[0], &y[0])
	case cpu.AVX2:
		geluTanhMulAVX2(len(x), &dst[0], &x[0], &y[0])
	default:
		geluTanhMulGeneric(dst, x, y)
	}
}

func expSub(dst, x []float32, s float32) {
	switch {
	case cpu.AVX512:
		expSubAVX512(len(x), &dst[0], &x[0], s)
	case cpu.AVX2:
		expSubAVX2(len(x), &dst[0], &x[0], s)
	default:
		expSubGeneric(dst, x, s)
	}
}
