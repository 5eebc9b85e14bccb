package tensor

import "github.com/seqmix/seqmix/internal/kernel"

// The functions of this file work on vectors: slices of one length. Lengths that
// differ are a mistake of the caller and panic with a *[ShapeError]. dst may be any
// of the inputs, but must not overlap them otherwise. They run on one core and
// allocate nothing.
//
// Errors are stated in ulp, units in the last place, for results that are normal
// numbers. NaN gives NaN, and infinities give the limits.

// Add computes dst[i] = a[i] + b[i].
func Add(dst, a, b []float32) {
	check2("tensor.Add", dst, a, b)
	kernel.Add(dst, a, b)
}

// Sub computes dst[i] = a[i] - b[i].
func Sub(dst, a, b []float32) {
	check2("tensor.Sub", dst, a, b)
	kernel.Sub(dst, a, b)
}

// Mul computes dst[i] = a[i] · b[i].
func Mul(dst, a, b []float32) {
	check2("tensor.Mul", dst, a, b)
	kernel.Mul(dst, a, b)
}

// MulAdd computes dst[i] += a[i] · b[i]. The product may be rounded before it is
// added, or not.
func MulAdd(dst, a, b []float32) {
	check2("tensor.MulAdd", dst, a, b)
	kernel.MulAdd(dst, a, b)
}

// Scale computes dst[i] = alpha · x[i].
func Scale(dst []float32, alpha float32, x []float32) {
	check1("tensor.Scale", dst, x)
	kernel.Scale(dst, alpha, x)
}

// AddScaled computes dst[i] = a[i] + alpha · b[i]. The product may be rounded before
// it is added, or not.
func AddScaled(dst, a []float32, alpha float32, b []float32) {
	check2("tensor.AddScaled", dst, a, b)
	kernel.AddScaled(dst, a, alpha, b)
}

// AddConst computes dst[i] = x[i] + c.
func AddConst(dst, x []float32, c float32) {
	check1("tensor.AddConst", dst, x)
	kernel.AddConst(dst, x, c)
}

// Axpy computes y[i] += alpha · x[i]. The product may be rounded before it is added,
// or not.
func Axpy(alpha float32, x, y []float32) {
	check1("tensor.Axpy", y, x)
	kernel.Axpy(alpha, x, y)
}

// Dot returns Σ a[i] · b[i]. The sum is made of many partial sums, so that its
// rounding error grows far slower than the length.
func Dot(a, b []float32) float32 {
	check1("tensor.Dot", a, b)
	return kernel.Dot(a, b)
}

// Sum returns Σ x[i], with the rounding error of [Dot].
func Sum(x []float32) float32 { return kernel.Sum(x) }

// SumSquares returns Σ x[i]², with the rounding error of [Dot].
func SumSquares(x []float32) float32 { return kernel.SumSquares(x) }

// Max returns the largest x[i], or -Inf if there is none.
func Max(x []float32) float32 { return kernel.Max(x) }

// Exp computes dst[i] = exp(x[i]), within 2 ulp.
func Exp(dst, x []float32) {
	check1("tensor.Exp", dst, x)
	kernel.Exp(dst, x)
}

// Sigmoid computes the logistic function dst[i] = 1/(1+exp(-x[i])), within
// 4 ulp.
func Sigmoid(dst, x []float32) {
	check1("tensor.Sigmoid", dst, x)
	kernel.Sigmoid(dst, x)
}

// Tanh computes dst[i] = tanh(x[i]), within 4 ulp.
func Tanh(dst, x []float32) {
	check1("tensor.Tanh", dst, x)
	kernel.Tanh(dst, x)
}

// Softplus computes dst[i] = log(1+exp(x[i])), within 3 ulp. Above 20 that is x[i], as
// in PyTorch.
func Softplus(dst, x []float32) {
	check1("tensor.Softplus", dst, x)
	kernel.Softplus(dst, x)
}

// ReLU computes dst[i] = max(x[i], 0).
func ReLU(dst, x []float32) {
	check1("tensor.ReLU", dst, x)
	kernel.ReLU(dst, x)
}

// SiLU computes dst[i] = x[i]/(1+exp(-x[i])), also called swish, within 4 ulp.
func SiLU(dst, x []float32) {
	check1("tensor.SiLU", dst, x)
	kernel.SiLU(dst, x)
}

// GELU computes dst[i] = x[i]·Φ(x[i]) with the cumulative distribution function Φ of
// the standard normal distribution (arXiv:1606.08415), with a relative error below
// 2e-6 for x[i] > -10.
func GELU(dst, x []float32) {
	check1("tensor.GELU", dst, x)
	kernel.GELU(dst, x)
}

// GELUTanh computes dst[i] = ½x(1+tanh(√(2/π)(x+0.044715x³))) with x = x[i], the
// usual approximation of [GELU].
func GELUTanh(dst, x []float32) {
	check1("tensor.GELUTanh", dst, x)
	kernel.GELUTanh(dst, x)
}

// SiLUMul computes dst[i] = SiLU(gate[i]) · up[i], the gate of SwiGLU
// (arXiv:2002.05202) and of Mamba.
func SiLUMul(dst, gate, up []float32) {
	check2("tensor.SiLUMul", dst, gate, up)
	kernel.SiLUMul(dst, gate, up)
}

// SigmoidMul computes dst[i] = Sigmoid(gate[i]) · up[i], the gated linear unit of
// arXiv:1612.08083.
func SigmoidMul(dst, gate, up []float32) {
	check2("tensor.SigmoidMul", dst, gate, up)
	kernel.SigmoidMul(dst, gate, up)
}

// GELUMul computes dst[i] = GELU(gate[i]) · up[i], the gate of GeGLU
// (arXiv:2002.05202).
func GELUMul(dst, gate, up []float32) {
	check2("tensor.GELUMul", dst, gate, up)
	kernel.GELUMul(dst, gate, up)
}

// Softmax computes dst[i] = exp(x[i]) / Σ_j exp(x[j]). The largest x is subtracted
// from all before, so that no number overflows. -Inf gives 0, as in masked
// attention, if there is anything larger.
func Softmax(dst, x []float32) {
	check1("tensor.Softmax", dst, x)
	if len(x) > 0 {
		kernel.Softmax(dst, x)
	}
}

// LogSumExp returns log Σ exp(x[i]), computed with the largest x subtracted, and
// -Inf if there is none.
func LogSumExp(x []float32) float32 { return kernel.LogSumExp(x) }

// RMSNorm computes dst[i] = weight[i] · x[i] / √(mean(x²) + eps). Without a weight
// (nil) it does not scale. The weight must not be dst.
func RMSNorm(dst, x, weight []float32, eps float32) {
	check1("tensor.RMSNorm", dst, x)
	checkOptional("tensor.RMSNorm", weight, x)
	kernel.RMSNorm(dst, x, weight, eps)
}

// LayerNorm computes dst[i] = weight[i] · (x[i]-mean(x)) / √(variance(x) + eps) +
// bias[i], with the mean square of x[i]-mean(x) as the variance. Weight and bias may
// be nil, and must not be dst.
func LayerNorm(dst, x, weight, bias []float32, eps float32) {
	check1("tensor.LayerNorm", dst, x)
	checkOptional("tensor.LayerNorm", weight, x)
	checkOptional("tensor.LayerNorm", bias, x)
	kernel.LayerNorm(dst, x, weight, bias, eps)
}

func check1(op string, dst, x []float32) {
	if len(x) != len(dst) {
		panic(&ShapeError{op, []int{len(x)}, []int{len(dst)}})
	}
}

func check2(op string, dst, a, b []float32) {
	check1(op, dst, a)
	check1(op, dst, b)
}

func checkOptional(op string, w, x []float32) {
	if w != nil {
		check1(op, x, w)
	}
}
