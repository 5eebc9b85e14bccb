//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// The dispatchers below get at least one element.

func exp(dst, x []float32) {
	if cpu.NEON {
		expNEON(len(x), &dst[0], &x[0])
	} else {
		expGeneric(dst, x)
	}
}

func sigmoid(dst, x []float32) {
	if cpu.NEON {
		sigmoidNEON(len(x), &dst[0], &x[0])
	} else {
		sigmoidGeneric(dst, x)
	}
}

func silu(dst, x []float32) {
	if cpu.NEON {
		siluNEON(len(x), &dst[0], &x[0])
	} else {
		siluGeneric(dst, x)
	}
}

func softplus(dst, x []float32) {
	if cpu.NEON {
		softplusNEON(len(x), &dst[0], &x[0])
	} else {
		softplusGeneric(dst, x)
	}
}

func tanh(dst, x []float32) {
	if cpu.NEON {
		tanhNEON(len(x), &dst[0], &x[0])
	} else {
		tanhGeneric(dst, x)
	}
}

func gelu(dst, x []float32) {
	if cpu.NEON {
		geluNEON(len(x), &dst[0], &x[0])
	} else {
		geluGeneric(dst, x)
	}
}

func geluTanh(dst, x []float32) {
	if cpu.NEON {
		geluTanhNEON(len(x), &dst[0], &x[0])
	} else {
		geluTanhGeneric(dst, x)
	}
}

func relu(dst, x []float32) {
	if cpu.NEON {
		reluNEON(len(x), &dst[0], &x[0])
	} else {
		reluGeneric(dst, x)
	}
}

func sigmoidMul(dst, x, y []float32) {
	if cpu.NEON {
		sigmoidMulNEON(len(x), &dst[0], &x[0], &y[0])
	} else {
		sigmoidMulGeneric(dst, x, y)
	}
}

func siluMul(dst, x, y []float32) {
	if cpu.NEON {
		siluMulNEON(len(x), &dst[0], &x[0], &y[0])
	} else {
		siluMulGeneric(dst, x, y)
	}
}

func siluGrad(dst, x, y []float32) {
	if cpu.NEON {
		siluGradNEON(len(x), &dst[0], &x[0], &y[0])
	} else {
		siluGradGeneric(dst, x, y)
	}
}

func geluGrad(dst, x, y []float32) {
	if cpu.NEON {
		geluGradNEON(len(x), &dst[0], &x[0], &y[0])
	} else {
		geluGradGeneric(dst, x, y)
	}
}

func geluTanhGrad(dst, x, y []float32) {
	if cpu.NEON {
		geluTanhGradNEON(len(x), &dst[0], &x[0], &y[0])
	} else {
		geluTanhGradGeneric(dst, x, y)
	}
}

func adamW(a *AdamW, p, m, v, g []float32) {
	if n := len(g) &^ 3; cpu.NEON && n > 0 {
		c := a.constants()
		adamWNEON(n, &p[0], &m[0], &v[0], &g[0], &c[0])
		p, m, v, g = p[n:], m[n:], v[n:], g[n:]
	}
	adamWGeneric(a, p, m, v, g)
}

func geluMul(dst, x, y []float32) {
	if cpu.NEON {
		geluMulNEON(len(x), &dst[0], &x[0], &y[0])
	} else {
		geluMulGeneric(dst, x, y)
	}
}

func geluTanhMul(dst, x, y []float32) {
	if cpu.NEON {
		geluTanhMulNEON(len(x), &dst[0], &x[0], &y[0])
	} else {
		geluTanhMulGeneric(dst, x, y)
	}
}

func expSub(dst, x []float32, s float32) {
	if cpu.NEON {
		expSubNEON(len(x), &dst[0], &x[0], s)
	} else {
		expSubGeneric(dst, x, s)
	}
}
