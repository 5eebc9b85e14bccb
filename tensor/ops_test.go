package tensor

import (
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// lengths are around the lane multiples of the kernels.
var lengths = []int{0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100, 1000}

// edges are arguments where functions bend, overflow or vanish.
var edges = []float32{0, 1e-30, -1e-30, 0.5, -0.5, 1, -1, 3, -3, 10, -10, 19.9, 20.1, -20, 50, -50, 87, -87}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func geluTanh(x float64) float64 {
	return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
}

func gelu(x float64) float64 { return 0.5 * x * math.Erfc(-x/math.Sqrt2) }

// off returns the error of got in units in the last place of want.
func off(got float32, want float64) float64 {
	unit := math.Max(math.Abs(want)*0x1p-23, 0x1p-149)
	return math.Abs(float64(got)-want) / unit
}

func TestFunctions(t *testing.T) {
	for _, f := range []struct {
		name string
		run  func(dst, x []float32)
		want func(float64) float64
		ulps float64
		from float32 // the bound holds from here on
	}{
		{"Exp", Exp, math.Exp, 2, -87},
		{"Sigmoid", Sigmoid, sigmoid, 4, -87},
		{"Tanh", Tanh, math.Tanh, 4, -100},
		{"Softplus", Softplus, func(x float64) float64 { return math.Log1p(math.Exp(x)) }, 3, -87},
		{"ReLU", ReLU, func(x float64) float64 { return max(x, 0) }, 0, -100},
		{"SiLU", SiLU, func(x float64) float64 { return x * sigmoid(x) }, 4, -87},
		{"GELU", GELU, gelu, 2e-6 * 0x1p23, -10},
		{"GELUTanh", GELUTanh, geluTanh, 2e-5 * 0x1p23, -3},
	} {
		cputest.ForEachTier(t, func(t *testing.T) {
			r := newRand()
			for _, n := range lengths {
				x := randomValues(r, n)
				copy(x, edges)
				dst := make([]float32, n)
				f.run(dst, x)
				for i, v := range x {
					want := f.want(float64(v))
					if e := off(dst[i], want); v >= f.from && e > f.ulps {
						t.Errorf("%s(%v) = %v, want %v: off by %.1f ulp", f.name, v, dst[i], want, e)
					}
				}
				inPlace := slices.Clone(x)
				f.run(inPlace, inPlace)
				if i := firstDifference(inPlace, dst); i >= 0 {
					t.Errorf("%s in place: element %d is %v, else %v", f.name, i, inPlace[i], dst[i])
				}
			}
			mustPanic(t, f.name, true, func() { f.run(make([]float32, 3), make([]float32, 4)) })
		})
	}
}

func TestFunctionLimits(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, f := range []struct {
		name     string
		run      func(dst, x []float32)
		low, top float32
	}{
		{"Exp", Exp, 0, inf}, {"Sigmoid", Sigmoid, 0, 1}, {"Tanh", Tanh, -1, 1}, {"Softplus", Softplus, 0, inf},
		{"ReLU", ReLU, 0, inf}, {"SiLU", SiLU, 0, inf}, {"GELU", GELU, 0, inf}, {"GELUTanh", GELUTanh, 0, inf},
	} {
		cputest.ForEachTier(t, func(t *testing.T) {
			x := []float32{-inf, inf, float32(math.NaN()), -3e38, 3e38}
			f.run(x, x)
			if x[0] != f.low || x[1] != f.top {
				t.Errorf("%s of infinities: %v and %v, want %v and %v", f.name, x[0], x[1], f.low, f.top)
			}
			if x[2] == x[2] {
				t.Errorf("%s of NaN: %v", f.name, x[2])
			}
			if math.IsNaN(float64(x[3])) || math.IsNaN(float64(x[4])) {
				t.Errorf("%s of large numbers: %v and %v", f.name, x[3], x[4])
			}
		})
	}
}

func TestBinary(t *testing.T) {
	for _, f := range []struct {
		name string
		run  func(dst, a, b []float32)
		want func(dst, a, b float64) float64
		tol  float64
	}{
		{"Add", Add, func(_, a, b float64) float64 { return a + b }, 1},
		{"Sub", Sub, func(_, a, b float64) float64 { return a - b }, 1},
		{"Mul", Mul, func(_, a, b float64) float64 { return a * b }, 1},
		{"MulAdd", MulAdd, func(d, a, b float64) float64 { return d + a*b }, 2},
		{"AddScaled", func(dst, a, b []float32) { AddScaled(dst, a, -2.5, b) }, func(_, a, b float64) float64 { return a - 2.5*b }, 2},
		{"SiLUMul", SiLUMul, func(_, a, b float64) float64 { return a * sigmoid(a) * b }, 8},
		{"SigmoidMul", SigmoidMul, func(_, a, b float64) float64 { return sigmoid(a) * b }, 8},
		{"GELUMul", GELUMul, func(_, a, b float64) float64 { return gelu(a) * b }, 32},
	} {
		cputest.ForEachTier(t, func(t *testing.T) {
			r := newRand()
			for _, n := range lengths {
				a, b, before := randomValues(r, n), randomValues(r, n), randomValues(r, n)
				dst := slices.Clone(before)
				f.run(dst, a, b)
				for i := range dst {
					d, x, y := float64(before[i]), float64(a[i]), float64(b[i])
					size := 1 + math.Abs(d) + math.Abs(x) + math.Abs(y) + math.Abs(x*y)
					if diff := math.Abs(float64(dst[i]) - f.want(d, x, y)); diff > f.tol*0x1p-24*size {
						t.Errorf("%s of %d elements: %v, want %v", f.name, n, dst[i], f.want(d, x, y))
					}
				}
				if f.name == "MulAdd" {
					continue // dst is an input of its own
				}
				for _, in := range []*[]float32{&a, &b} {
					saved := slices.Clone(*in)
					f.run(*in, a, b)
					if i := firstDifference(*in, dst); i >= 0 {
						t.Errorf("%s with dst for an input: element %d is %v, else %v", f.name, i, (*in)[i], dst[i])
					}
					*in = saved
				}
			}
			three, four := make([]float32, 3), make([]float32, 4)
			mustPanic(t, f.name, true, func() { f.run(four, three, four) })
			mustPanic(t, f.name, true, func() { f.run(four, four, three) })
			mustPanic(t, f.name, true, func() { f.run(three, four, four) })
		})
	}
}

func TestUnary(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		r := newRand()
		for _, n := range lengths {
			x, y := randomValues(r, n), randomValues(r, n)
			scaled, moved, sum := make([]float32, n), make([]float32, n), slices.Clone(y)
			Scale(scaled, 3, x)
			AddConst(moved, x, 3)
			Axpy(3, x, sum)
			for i := range x {
				if scaled[i] != 3*x[i] || moved[i] != x[i]+3 || off(sum[i], float64(y[i])+3*float64(x[i])) > 8 && math.Abs(float64(sum[i])) > 0.1 {
					t.Errorf("Scale, AddConst, Axpy of %v, %v: %v, %v, %v", x[i], y[i], scaled[i], moved[i], sum[i])
				}
			}
		}
		three, four := make([]float32, 3), make([]float32, 4)
		mustPanic(t, "Scale", true, func() { Scale(three, 1, four) })
		mustPanic(t, "AddConst", true, func() { AddConst(three, four, 1) })
		mustPanic(t, "Axpy", true, func() { Axpy(1, four, three) })
		mustPanic(t, "Dot", true, func() { Dot(four, three) })
	})
}

func TestReductions(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		r := newRand()
		for _, n := range append(lengths, 1<<17) {
			a, b := randomValues(r, n), randomValues(r, n)
			var dot, sum, squares, size float64
			largest := math.Inf(-1)
			for i := range a {
				x, y := float64(a[i]), float64(b[i])
				dot, sum, squares, size = dot+x*y, sum+x, squares+x*x, size+math.Abs(x)+math.Abs(x*y)
				largest = max(largest, x)
			}
			tol := 1e-7 * (size + 1e-6)
			for name, pair := range map[string][2]float64{
				"Dot": {float64(Dot(a, b)), dot}, "Sum": {float64(Sum(a)), sum}, "SumSquares": {float64(SumSquares(a)), squares},
			} {
				if math.Abs(pair[0]-pair[1]) > tol+1e-6*math.Abs(pair[1]) {
					t.Errorf("%s of %d elements is %v, want %v", name, n, pair[0], pair[1])
				}
			}
			if float64(Max(a)) != largest {
				t.Errorf("Max of %d elements is %v, want %v", n, Max(a), largest)
			}
		}
	})
}

func TestSoftmax(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		r := newRand()
		for _, n := range lengths {
			for _, offset := range []float32{0, 1e4, -1e4} {
				x := randomValues(r, n)
				for i := range x {
					x[i] = 4*x[i] + offset
				}
				var sum float64
				for _, v := range x {
					sum += math.Exp(float64(v - offset))
				}
				if n > 0 {
					if got, want := float64(LogSumExp(x)), math.Log(sum)+float64(offset); math.Abs(got-want) > 1e-6*(1+math.Abs(want)) {
						t.Errorf("LogSumExp of %d elements at %v is %v, want %v", n, offset, got, want)
					}
				}
				p := make([]float32, n)
				Softmax(p, x)
				for i, v := range x {
					// The distance to the largest is rounded before it is an exponent.
					tol := 1e-6 + 0x1p-23*math.Abs(float64(v-Max(x)))
					if want := math.Exp(float64(v-offset)) / sum; math.Abs(float64(p[i])-want) > tol*want+1e-38 {
						t.Errorf("Softmax of %d elements at %v: %v, want %v", n, offset, p[i], want)
					}
				}
				Softmax(x, x)
				if i := firstDifference(x, p); i >= 0 {
					t.Errorf("Softmax in place: element %d is %v, else %v", i, x[i], p[i])
				}
			}
		}
		low := float32(math.Inf(-1))
		masked := []float32{low, 1, low, 1, low}
		Softmax(masked, masked)
		if !slices.Equal(masked, []float32{0, 0.5, 0, 0.5, 0}) {
			t.Errorf("Softmax with masked elements: %v", masked)
		}
		if got := LogSumExp([]float32{low, 2, low}); got != 2 {
			t.Errorf("LogSumExp of one element that counts is %v, want 2", got)
		}
		if got := LogSumExp([]float32{low, low}); got != low {
			t.Errorf("LogSumExp of -Inf is %v", got)
		}
		if got := LogSumExp(nil); got != low {
			t.Errorf("LogSumExp of nothing is %v", got)
		}
	})
}

func TestNorms(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		r := newRand()
		for _, n := range lengths[2:] {
			x, w, b := randomValues(r, n), randomValues(r, n), randomValues(r, n)
			for i := range x {
				x[i] += 2
			}
			var mean, square, variance float64
			for _, v := range x {
				mean += float64(v) / float64(n)
				square += float64(v) * float64(v) / float64(n)
			}
			for _, v := range x {
				variance += (float64(v) - mean) * (float64(v) - mean) / float64(n)
			}
			const eps = 0.01
			rms, layer := math.Sqrt(square+eps), math.Sqrt(variance+eps)
			checkNorm(t, x, func(dst []float32) { RMSNorm(dst, x, w, eps) }, func(i int) float64 { return float64(x[i]) / rms * float64(w[i]) })
			checkNorm(t, x, func(dst []float32) { RMSNorm(dst, x, nil, eps) }, func(i int) float64 { return float64(x[i]) / rms })
			unit := func(i int) float64 { return (float64(x[i]) - mean) / layer }
			checkNorm(t, x, func(dst []float32) { LayerNorm(dst, x, w, b, eps) }, func(i int) float64 { return unit(i)*float64(w[i]) + float64(b[i]) })
			checkNorm(t, x, func(dst []float32) { LayerNorm(dst, x, w, nil, eps) }, func(i int) float64 { return unit(i) * float64(w[i]) })
			checkNorm(t, x, func(dst []float32) { LayerNorm(dst, x, nil, b, eps) }, func(i int) float64 { return unit(i) + float64(b[i]) })
			checkNorm(t, x, func(dst []float32) { LayerNorm(dst, x, nil, nil, eps) }, unit)
		}
		three, four := make([]float32, 3), make([]float32, 4)
		mustPanic(t, "RMSNorm", true, func() { RMSNorm(three, four, nil, 0) })
		mustPanic(t, "weight of RMSNorm", true, func() { RMSNorm(three, three, four, 0) })
		mustPanic(t, "LayerNorm", true, func() { LayerNorm(three, four, nil, nil, 0) })
		mustPanic(t, "weight of LayerNorm", true, func() { LayerNorm(three, three, four, nil, 0) })
		mustPanic(t, "bias of LayerNorm", true, func() { LayerNorm(three, three, nil, four, 0) })
	})
}

// checkNorm runs a norm of x, in place last.
func checkNorm(t *testing.T, x []float32, norm func(dst []float32), want func(i int) float64) {
	t.Helper()
	dst := make([]float32, len(x))
	norm(dst)
	for i := range x {
		if w := want(i); math.Abs(float64(dst[i])-w) > 2e-6*(1+math.Abs(w)) {
			t.Errorf("%d elements: element %d is %v, want %v", len(x), i, dst[i], w)
		}
	}
	before := slices.Clone(x)
	norm(x)
	if i := firstDifference(x, dst); i >= 0 {
		t.Errorf("%d elements in place: element %d is %v, else %v", len(x), i, x[i], dst[i])
	}
	copy(x, before)
}
