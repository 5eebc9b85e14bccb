package kernel

import "fmt"

//go:generate sh -c "cd _asm && go run ./math -out ../math_amd64.s -stubs ../math_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group math -out ../math_arm64.s -stubs ../math_stub_arm64.go"

// In this file dst may be exactly an input; it must not overlap one otherwise. All
// slices have the same length, else the functions panic. NaNs stay NaNs.

// Exp computes dst = e^x, within 2 ulp. Above 88.72 the result is +Inf; small results
// are denormal, as they should be, and 0 below -103.97. e^0 is 1.
func Exp(dst, x []float32) {
	for check("Exp", len(dst), len(x)); len(x) > 0; dst, x = rest(dst), rest(x) {
		exp(head(dst), head(x))
	}
}

// Sigmoid computes dst = 1/(1+e^-x), within 4 ulp. Below -88.7 the result is 0.
func Sigmoid(dst, x []float32) {
	for check("Sigmoid", len(dst), len(x)); len(x) > 0; dst, x = rest(dst), rest(x) {
		sigmoid(head(dst), head(x))
	}
}

// SiLU computes dst = x/(1+e^-x), within 4 ulp. Below -88.7 the result is -0.
func SiLU(dst, x []float32) {
	for check("SiLU", len(dst), len(x)); len(x) > 0; dst, x = rest(dst), rest(x) {
		silu(head(dst), head(x))
	}
}

// Softplus computes dst = log(1+e^x), within 3 ulp.
func Softplus(dst, x []float32) {
	for check("Softplus", len(dst), len(x)); len(x) > 0; dst, x = rest(dst), rest(x) {
		softplus(head(dst), head(x))
	}
}

// Tanh computes dst = tanh x, within 4 ulp.
func Tanh(dst, x []float32) {
	for check("Tanh", len(dst), len(x)); len(x) > 0; dst, x = rest(dst), rest(x) {
		tanh(head(dst), head(x))
	}
}

// GELU computes dst = x·Φ(x) = x·(1+erf(x/√2))/2, with a relative error below 2e-6
// for x > -10. Below -13 the result is about -1e-38 or less in magnitude.
func GELU(dst, x []float32) {
	for check("GELU", len(dst), len(x)); len(x) > 0; dst, x = rest(dst), rest(x) {
		gelu(head(dst), head(x))
	}
}

// GELUTanh computes dst = x·(1+tanh(√(2/π)(x+0.044715x³)))/2, the approximation of
// [GELU] that BERT and GPT-2 use.
func GELUTanh(dst, x []float32) {
	for check("GELUTanh", len(dst), len(x)); len(x) > 0; dst, x = rest(dst), rest(x) {
		geluTanh(head(dst), head(x))
	}
}

// ReLU computes dst = max(x, 0).
func ReLU(dst, x []float32) {
	for check("ReLU", len(dst), len(x)); len(x) > 0; dst, x = rest(dst), rest(x) {
		relu(head(dst), head(x))
	}
}

// SigmoidMul computes dst = σ(gate)·up with the [Sigmoid] σ.
func SigmoidMul(dst, gate, up []float32) {
	for check("SigmoidMul", len(dst), len(gate), len(up)); len(dst) > 0; dst, gate, up = rest(dst), rest(gate), rest(up) {
		sigmoidMul(head(dst), head(gate), head(up))
	}
}

// SiLUMul computes dst = [SiLU](gate)·up.
func SiLUMul(dst, gate, up []float32) {
	for check("SiLUMul", len(dst), len(gate), len(up)); len(dst) > 0; dst, gate, up = rest(dst), rest(gate), rest(up) {
		siluMul(head(dst), head(gate), head(up))
	}
}

// GELUMul computes dst = [GELU](gate)·up.
func GELUMul(dst, gate, up []float32) {
	for check("GELUMul", len(dst), len(gate), len(up)); len(dst) > 0; dst, gate, up = rest(dst), rest(gate), rest(up) {
		geluMul(head(dst), head(gate), head(up))
	}
}

// GELUTanhMul computes dst = [GELUTanh](gate)·up.
func GELUTanhMul(dst, gate, up []float32) {
	for check("GELUTanhMul", len(dst), len(gate), len(up)); len(dst) > 0; dst, gate, up = rest(dst), rest(gate), rest(up) {
		geluTanhMul(head(dst), head(gate), head(up))
	}
}

// ReLUMul computes dst = [ReLU](gate)·up.
func ReLUMul(dst, gate, up []float32) {
	check("ReLUMul", len(dst), len(gate), len(up))
	for i, g := range gate {
		dst[i] = max(g, 0) * up[i]
	}
}

// ExpSubSum computes dst = e^(x-sub) and returns the sum: with the maximum of x for
// sub, the numerators of a softmax and their denominator.
func ExpSubSum(dst, x []float32, sub float32) float32 {
	check("ExpSubSum", len(dst), len(x))
	for d := dst; len(x) > 0; d, x = rest(d), rest(x) {
		expSub(head(d), head(x), sub)
	}
	return Sum(dst)
}

// piece is the number of elements after which a kernel returns to Go, so that the
// scheduler can stop it: some 20 µs of the slowest function.
const piece = 1 << 14

func head(x []float32) []float32 { return x[:min(len(x), piece)] }
func rest(x []float32) []float32 { return x[min(len(x), piece):] }

func check(op string, dst int, inputs ...int) {
	for _, n := range inputs {
		if n != dst {
			panic(fmt.Sprintf("kernel: %s of slices of %d and %d elements", op, n, dst))
		}
	}
}
