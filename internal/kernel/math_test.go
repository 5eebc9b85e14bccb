package kernel

import (
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// mathFunctions lists the functions of one argument with their definitions, the
// largest error allowed in units of the last place, and the arguments down to which
// that bound holds in relative terms.
var mathFunctions = []struct {
	name string
	f    func(dst, x []float32)
	want func(float64) float64
	ulp  float64
	from float64
}{
	{"Exp", Exp, math.Exp, 2, math.Inf(-1)},
	{"Sigmoid", Sigmoid, sigmoid64, 4, -88},
	{"SiLU", SiLU, silu64, 4, -87},
	{"Softplus", Softplus, softplus64, 3, math.Inf(-1)},
	{"Tanh", Tanh, math.Tanh, 4, math.Inf(-1)},
	{"GELU", GELU, gelu64, 40, -10},
	{"GELUTanh", GELUTanh, geluTanh64, 60, -6},
	{"ReLU", ReLU, func(x float64) float64 { return max(x, 0) }, 0, math.Inf(-1)},
}

// arguments covers the range of float32: a dense grid where functions bend, all
// exponents, and the edges.
func arguments() []float32 {
	var x []float32
	for v := -110.0; v <= 110; v += 0.0037 {
		x = append(x, float32(v))
	}
	for v := -1.0; v <= 1; v += 0.00013 {
		x = append(x, float32(v))
	}
	for e := -149; e < 128; e++ {
		for _, m := range []float64{1, 1.3, 1.999} {
			v := float32(math.Ldexp(m, e))
			x = append(x, v, -v)
		}
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	zero := float32(0)
	return append(x, 0, -zero, inf, -inf, nan, 20, 19.999, 20.001, -17, 88.72283, 88.7229, -87.33654, -103.97, -103.98, math.MaxFloat32, -math.MaxFloat32)
}

// ulps returns the distance of got from want in units of the last place of want as a
// float32.
func ulps(got float32, want float64) float64 {
	w := float32(want)
	switch {
	case got == w || got != got && w != w:
		return 0
	case got != got || w != w || math.IsInf(float64(w), 0) || math.IsInf(float64(got), 0):
		// The largest finite number next to what should just overflow is an error of
		// rounding like others.
		if math.Abs(want) > math.MaxFloat32*0.9999995 && math.Abs(float64(got)) > math.MaxFloat32*0.9999995 {
			return 1
		}
		return math.Inf(1)
	}
	_, e := math.Frexp(want)
	unit := math.Ldexp(1, max(e-24, -149))
	return math.Abs(float64(got)-want) / unit
}

func TestMathAccuracy(t *testing.T) {
	x := arguments()
	cputest.ForEachTier(t, func(t *testing.T) {
		got := make([]float32, len(x))
		for _, fn := range mathFunctions {
			fn.f(got, x)
			worst, at := 0.0, float32(0)
			for i, v := range x {
				want := fn.want(float64(v))
				if float64(v) < fn.from {
					// Near the smallest numbers: the size must be right.
					if d := math.Abs(float64(got[i]) - want); d > 1e-3*math.Abs(want)+3e-37 {
						t.Errorf("%s(%v) = %v, want %v", fn.name, v, got[i], want)
					}
					continue
				}
				if u := ulps(got[i], want); u > worst {
					worst, at = u, v
				}
			}
			t.Logf("%s: %.2f ulp at %v", fn.name, worst, at)
			if worst > fn.ulp {
				t.Errorf("%s is off by %.2f ulp at %v, want at most %v", fn.name, worst, at, fn.ulp)
			}
		}
	})
}

func TestMathExact(t *testing.T) {
	inf := float32(math.Inf(1))
	nan := float32(math.NaN())
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, c := range []struct {
			name string
			f    func(dst, x []float32)
			x    float32
			want float32
		}{
			{"Exp", Exp, 0, 1}, {"Exp", Exp, -inf, 0}, {"Exp", Exp, inf, inf}, {"Exp", Exp, 1000, inf}, {"Exp", Exp, -1000, 0},
			{"Sigmoid", Sigmoid, 0, 0.5}, {"Sigmoid", Sigmoid, -inf, 0}, {"Sigmoid", Sigmoid, inf, 1},
			{"SiLU", SiLU, 0, 0}, {"SiLU", SiLU, -inf, 0}, {"SiLU", SiLU, inf, inf},
			{"Softplus", Softplus, -inf, 0}, {"Softplus", Softplus, inf, inf}, {"Softplus", Softplus, 60, 60},
			{"Tanh", Tanh, 0, 0}, {"Tanh", Tanh, -inf, -1}, {"Tanh", Tanh, inf, 1}, {"Tanh", Tanh, 200, 1},
			{"GELU", GELU, 0, 0}, {"GELU", GELU, inf, inf}, {"GELUTanh", GELUTanh, inf, inf}, {"GELUTanh", GELUTanh, -inf, 0},
			{"ReLU", ReLU, -inf, 0}, {"ReLU", ReLU, inf, inf},
		} {
			got := []float32{c.x}
			c.f(got, got)
			if got[0] != c.want {
				t.Errorf("%s(%v) = %v, want %v", c.name, c.x, got[0], c.want)
			}
		}
		for _, fn := range mathFunctions {
			got := []float32{nan, 1}
			fn.f(got, got)
			if got[0] == got[0] || got[1] != got[1] {
				t.Errorf("%s(NaN), %s(1) = %v", fn.name, fn.name, got)
			}
		}
	})
}

// unaryKernels and binaryKernels are all functions that go element by element.
func unaryKernels() map[string]func(dst, x []float32) {
	m := map[string]func(dst, x []float32){
		"AddConst": func(dst, x []float32) { AddConst(dst, x, 1.5) },
		"Scale":    func(dst, x []float32) { Scale(dst, -2.5, x) },
		"expSub":   func(dst, x []float32) { ExpSubSum(dst, x, 0.5) },
	}
	for _, fn := range mathFunctions {
		m[fn.name] = fn.f
	}
	return m
}

func binaryKernels() map[string]func(dst, a, b []float32) {
	return map[string]func(dst, a, b []float32){
		"Add": Add, "Sub": Sub, "Mul": Mul, "SigmoidMul": SigmoidMul, "SiLUMul": SiLUMul, "GELUMul": GELUMul, "GELUTanhMul": GELUTanhMul, "ReLUMul": ReLUMul,
		"AddScaled": func(dst, a, b []float32) { AddScaled(dst, a, 1.25, b) },
		"ScaleMul":  func(dst, a, b []float32) { ScaleMul(dst, 1.25, a, b) },
		"MulAddTo":  func(dst, a, b []float32) { MulAddTo(dst, a, b, b) },
		"SiLUGrad":  SiLUGrad, "SigmoidGrad": SigmoidGrad, "TanhGrad": TanhGrad, "SoftplusGrad": SoftplusGrad, "GELUGrad": GELUGrad, "GELUTanhGrad": GELUTanhGrad, "ReLUGrad": ReLUGrad,
	}
}

// TestElementwise proves, for all lengths around the lanes, that an element does not
// depend on its place, that nothing is read or written beyond a slice, and that dst
// may be an input.
func TestElementwise(t *testing.T) {
	const most = 70
	a, b := random(most, 1), random(most, 2)
	cputest.ForEachTier(t, func(t *testing.T) {
		for name, f := range unaryKernels() {
			binary := func(dst, a, _ []float32) { f(dst, a) }
			testElementwise(t, name, binary, a, b)
		}
		for name, f := range binaryKernels() {
			testElementwise(t, name, f, a, b)
		}
		testElementwise(t, "MulAdd", func(dst, a, b []float32) {
			clear(dst)
			MulAdd(dst, a, b)
		}, a, b)
	})
}

// TestMulAddTo compares a·b + c with its definition, c being apart from dst or not.
func TestMulAddTo(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		a, b, c := random(piece+70, 1), random(piece+70, 2), random(piece+70, 3)
		dst := make([]float32, len(a))
		MulAddTo(dst, a, b, c)
		sum := slices.Clone(c)
		MulAddTo(sum, a, b, sum)
		for i, got := range dst {
			product := float64(a[i]) * float64(b[i])
			want, size := product+float64(c[i]), math.Abs(product)+math.Abs(float64(c[i]))
			if !(math.Abs(float64(got)-want) <= 2e-7*size) || sum[i] != got {
				t.Fatalf("element %d is %v and %v in place, want %v", i, got, sum[i], want)
			}
		}
	})
}

func testElementwise(t *testing.T, name string, f func(dst, a, b []float32), a, b []float32) {
	t.Helper()
	single := make([]float32, len(a))
	for i := range a {
		f(single[i:i+1], a[i:i+1], b[i:i+1])
	}
	for n := range a {
		x, y, dst := guardedFloats(t, n), guardedFloats(t, n), guardedFloats(t, n)
		copy(x, a)
		copy(y, b)
		f(dst, x, y)
		for i := range dst {
			if dst[i] != single[i] {
				t.Fatalf("%s: element %d of %d is %v, alone it is %v", name, i, n, dst[i], single[i])
			}
			if x[i] != a[i] || y[i] != b[i] {
				t.Fatalf("%s: an input of length %d was changed at %d", name, n, i)
			}
		}
		if name == "MulAdd" {
			continue
		}
		f(x, x, y)
		for i := range x {
			if x[i] != single[i] {
				t.Fatalf("%s in place: element %d of %d is %v, want %v", name, i, n, x[i], single[i])
			}
		}
	}
}

func TestGatedEqualsProduct(t *testing.T) {
	gate, up := random(100, 1), random(100, 2)
	cputest.ForEachTier(t, func(t *testing.T) {
		for name, fs := range map[string]struct {
			gated func(dst, gate, up []float32)
			f     func(dst, x []float32)
		}{
			"SigmoidMul": {SigmoidMul, Sigmoid}, "SiLUMul": {SiLUMul, SiLU}, "GELUMul": {GELUMul, GELU}, "GELUTanhMul": {GELUTanhMul, GELUTanh}, "ReLUMul": {ReLUMul, ReLU},
		} {
			got, want := make([]float32, 100), make([]float32, 100)
			fs.gated(got, gate, up)
			fs.f(want, gate)
			Mul(want, want, up)
			for i := range got {
				if got[i] != want[i] {
					t.Errorf("%s(%v, %v) = %v, want %v", name, gate[i], up[i], got[i], want[i])
				}
			}
		}
	})
}

// TestGradients compares the derivatives with differences of the definitions.
func TestGradients(t *testing.T) {
	cputest.ForEachTier(t, testGradients)
}

func testGradients(t *testing.T) {
	inf := float32(math.Inf(1))
	for name, fs := range map[string]struct {
		grad func(dst, x, dy []float32)
		f    func(float64) float64
	}{
		"SigmoidGrad": {SigmoidGrad, sigmoid64}, "SiLUGrad": {SiLUGrad, silu64}, "SoftplusGrad": {SoftplusGrad, softplus64}, "TanhGrad": {TanhGrad, math.Tanh},
		"GELUGrad": {GELUGrad, gelu64}, "GELUTanhGrad": {GELUTanhGrad, geluTanh64}, "ReLUGrad": {ReLUGrad, func(x float64) float64 { return max(x, 0) }},
	} {
		for _, x := range []float32{-30, -8, -2.5, -1, -0.3, -0.01, 0.02, 0.7, 1, 3, 9, 25} {
			got := []float32{0}
			grad := got
			fs.grad(grad, []float32{x}, []float32{2})
			const h = 1e-5
			want := (fs.f(float64(x)+h) - fs.f(float64(x)-h)) / h
			if d := math.Abs(float64(got[0]) - want); d > 1e-6*(1+math.Abs(want)) {
				t.Errorf("%s(%v) = %v, want %v", name, x, got[0], want)
			}
		}
		for _, x := range []float32{inf, -inf} {
			got := []float32{0}
			fs.grad(got, []float32{x}, []float32{2})
			if want := fs.f(100*math.Copysign(1, float64(x))+1) - fs.f(100*math.Copysign(1, float64(x))); math.Abs(float64(got[0])-2*want) > 1e-6 {
				t.Errorf("%s(%v) = %v, want %v", name, x, got[0], 2*want)
			}
		}
	}
}

func TestReductions(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for n := range 300 {
			x, y := guardedFloats(t, n), guardedFloats(t, n)
			copy(x, random(n, uint64(n)))
			copy(y, random(n, uint64(n)+1000))
			var sum, dot, square, abs float64
			most := math.Inf(-1)
			for i := range x {
				sum += float64(x[i])
				dot += float64(x[i]) * float64(y[i])
				square += float64(x[i]) * float64(x[i])
				abs += math.Abs(float64(x[i])) + math.Abs(float64(x[i])*float64(y[i]))
				most = max(most, float64(x[i]))
			}
			for _, c := range []struct {
				name      string
				got, want float64
			}{{"Sum", float64(Sum(x)), sum}, {"Dot", float64(Dot(x, y)), dot}, {"SumSquares", float64(SumSquares(x)), square}} {
				if math.Abs(c.got-c.want) > 2e-7*(abs+square) {
					t.Fatalf("%s of %d elements = %v, want %v", c.name, n, c.got, c.want)
				}
			}
			if float64(Max(x)) != most {
				t.Fatalf("Max of %d elements = %v, want %v", n, Max(x), most)
			}
		}
		ones := make([]float32, 1<<20+7)
		for i := range ones {
			ones[i] = 0.1
		}
		if got, want := float64(Sum(ones)), float64(len(ones))*float64(float32(0.1)); math.Abs(got/want-1) > 5e-6 {
			t.Errorf("Sum of a million = %v, want %v", got, want)
		}
	})
}

func TestNorms(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, n := range []int{1, 2, 15, 16, 17, 64, 100, 768} {
			x, w, b := random(n, 1), random(n, 2), random(n, 3)
			for i := range x {
				x[i] += 3
			}
			var mean, square, variance float64
			for _, v := range x {
				mean += float64(v) / float64(n)
				square += float64(v) * float64(v) / float64(n)
			}
			for _, v := range x {
				variance += (float64(v) - mean) * (float64(v) - mean) / float64(n)
			}
			const eps = 1e-3
			got := make([]float32, n)
			expect := func(name string, want func(i int) float64) {
				t.Helper()
				for i := range got {
					if d := math.Abs(float64(got[i]) - want(i)); !(d <= 3e-6*(1+math.Abs(want(i)))) {
						t.Fatalf("%s of %d: element %d is %v, want %v", name, n, i, got[i], want(i))
					}
				}
			}
			RMSNorm(got, x, w, eps)
			expect("RMSNorm", func(i int) float64 { return float64(x[i]) / math.Sqrt(square+eps) * float64(w[i]) })
			RMSNorm(got, x, nil, eps)
			expect("RMSNorm", func(i int) float64 { return float64(x[i]) / math.Sqrt(square+eps) })
			RMSNormOutside(got, x, w, eps)
			expect("RMSNormOutside", func(i int) float64 { return float64(x[i]) / (math.Sqrt(square) + eps) * float64(w[i]) })
			LayerNorm(got, x, w, b, eps)
			expect("LayerNorm", func(i int) float64 {
				return (float64(x[i])-mean)/math.Sqrt(variance+eps)*float64(w[i]) + float64(b[i])
			})
			copy(got, x)
			LayerNorm(got, got, nil, nil, eps)
			expect("LayerNorm", func(i int) float64 { return (float64(x[i]) - mean) / math.Sqrt(variance+eps) })
			var z float64
			for _, v := range x {
				z += math.Exp(float64(v) - mean)
			}
			Softmax(got, x)
			expect("Softmax", func(i int) float64 { return math.Exp(float64(x[i])-mean) / z })
			if d := math.Abs(float64(LogSumExp(x)) - mean - math.Log(z)); d > 1e-6 {
				t.Errorf("LogSumExp of %d is off by %v", n, d)
			}
		}
		big := []float32{1000, 1001, -1000}
		Softmax(big, big)
		if math.Abs(float64(big[1])-1/(1+math.Exp(-1))) > 1e-6 || big[2] != 0 {
			t.Errorf("Softmax of large numbers = %v", big)
		}
		inf := float32(math.Inf(1))
		if got := LogSumExp([]float32{-inf, -inf}); got != -inf {
			t.Errorf("LogSumExp of -Inf = %v", got)
		}
		if got := LogSumExp(nil); got != -inf {
			t.Errorf("LogSumExp of nothing = %v", got)
		}
	})
}

func TestElementwiseAllocatesNothing(t *testing.T) {
	x, y, dst := random(100, 1), random(100, 2), make([]float32, 100)
	if n := testing.AllocsPerRun(10, func() {
		Exp(dst, x)
		SiLUMul(dst, x, y)
		RMSNorm(dst, x, y, 1e-5)
		LayerNorm(dst, x, y, x, 1e-5)
		Softmax(dst, x)
		LogSumExp(x)
		Dot(x, y)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzExp(f *testing.F) {
	f.Add(uint32(0), uint32(0x7f800000))
	f.Fuzz(func(t *testing.T, a, b uint32) {
		x := []float32{math.Float32frombits(a), math.Float32frombits(b)}
		got := make([]float32, 2)
		cputest.ForEachTier(t, func(t *testing.T) {
			for _, fn := range mathFunctions[:5] {
				fn.f(got, x)
				for i, v := range x {
					if want := fn.want(float64(v)); float64(v) >= fn.from && ulps(got[i], want) > fn.ulp {
						t.Errorf("%s(%v) = %v, want %v", fn.name, v, got[i], want)
					}
				}
			}
		})
	})
}

// BenchmarkMath reports elements per nanosecond on one core, with all in the cache.
func BenchmarkMath(b *testing.B) {
	x, dst := random(4096, 1), make([]float32, 4096)
	for _, fn := range mathFunctions {
		b.Run(fn.name, func(b *testing.B) {
			cputest.BenchEachTier(b, func(b *testing.B) {
				benchShare(b, float64(len(x)), func() float64 { return 0 }, "elem/ns", func() { fn.f(dst, x) })
			})
		})
	}
	b.Run("RMSNorm", func(b *testing.B) {
		cputest.BenchEachTier(b, func(b *testing.B) {
			benchShare(b, float64(len(x)), func() float64 { return 0 }, "elem/ns", func() { RMSNorm(dst, x, x, 1e-5) })
		})
	})
}
