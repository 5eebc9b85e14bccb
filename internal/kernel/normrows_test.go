package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// normOf is the definition of the norms and their gradients in float64.
type normOf struct {
	centred         bool
	inside, outside float64
}

// statistics returns the mean, the root and the scale of a row.
func (o normOf) statistics(x []float32) (mean, root, scale float64) {
	n := float64(len(x))
	for _, v := range x {
		if o.centred {
			mean += float64(v) / n
		}
	}
	squares := 0.0
	for _, v := range x {
		squares += (float64(v) - mean) * (float64(v) - mean) / n
	}
	root = math.Sqrt(squares + o.inside)
	return mean, root, 1 / (root + o.outside)
}

func (o normOf) forward(x, w, b []float32) []float64 {
	out := make([]float64, len(x))
	n := len(w)
	for r := 0; r < len(x); r += n {
		mean, _, scale := o.statistics(x[r : r+n])
		for i := range n {
			out[r+i] = (float64(x[r+i]) - mean) * scale * float64(w[i])
			if b != nil {
				out[r+i] += float64(b[i])
			}
		}
	}
	return out
}

// backward returns the gradients, and of each the root of the sum of squares of what its
// elements are sums of: the larger that is beside the gradient, the more of it is rounding.
func (o normOf) backward(dy, x, w []float32) (dx, dw, db []float64, sizes [3]float64) {
	n := len(w)
	dx, dw, db = make([]float64, len(x)), make([]float64, n), make([]float64, n)
	defer func() {
		for i := range sizes {
			sizes[i] = math.Sqrt(sizes[i])
		}
	}()
	for r := 0; r < len(x); r += n {
		mean, root, scale := o.statistics(x[r : r+n])
		var sum, along float64
		for i := range n {
			g, u := float64(dy[r+i])*float64(w[i]), (float64(x[r+i])-mean)*scale
			sum += g / float64(n)
			along += g * u / float64(n)
			dw[i] += float64(dy[r+i]) * u
			db[i] += float64(dy[r+i])
		}
		if !o.centred {
			sum = 0
		}
		if root > 0 {
			along /= root * scale
		}
		for i := range n {
			g, u := float64(dy[r+i])*float64(w[i]), (float64(x[r+i])-mean)*scale
			dx[r+i] = scale * (g - sum - u*along)
			most := (math.Abs(float64(x[r+i])) + math.Abs(mean)) * scale // of what u is a difference of
			sizes[0] += scale * scale * (g*g + sum*sum + most*along*most*along)
			sizes[1] += float64(dy[r+i]) * most * float64(dy[r+i]) * most
			sizes[2] += float64(dy[r+i]) * float64(dy[r+i])
		}
	}
	return dx, dw, db, sizes
}

// guardedCopy returns a copy of x that ends at a page that must not be touched.
func guardedCopy(t *testing.T, x []float32) []float32 {
	g := guardedFloats(t, len(x))
	copy(g, x)
	return g
}

// near fails unless |got - want| is small beside a size.
func near(t *testing.T, what string, got []float32, want []float64, size, tolerance float64) {
	t.Helper()
	d := 0.0
	for i, w := range want {
		d += (float64(got[i]) - w) * (float64(got[i]) - w)
	}
	if !(math.Sqrt(d) <= tolerance*size+1e-30) {
		t.Errorf("%s is off by %.3g of %.3g", what, math.Sqrt(d), size)
	}
}

func length(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v * v
	}
	return math.Sqrt(sum)
}

// checkNormRows compares all functions with the definitions.
func checkNormRows(t *testing.T, rows, n int, eps float32) {
	t.Helper()
	x, dy, w, b := random(rows*n, 1), random(rows*n, 2), random(n, 3), random(n, 4)
	for i := range x {
		x[i] = 2*x[i] + 1
	}
	if rows > 2 {
		clear(x[n : 2*n]) // a row of zeros
	}
	const tolerance = 2e-6
	x, dy, w, b = guardedCopy(t, x), guardedCopy(t, dy), guardedCopy(t, w), guardedCopy(t, b)
	out, dw, db := guardedFloats(t, rows*n), guardedFloats(t, n), guardedFloats(t, n)
	for _, o := range []normOf{{true, float64(eps), 0}, {false, float64(eps), 0}, {false, 0, float64(eps)}} {
		what := fmt.Sprintf("%d×%d %+v: ", rows, n, o)
		forward := func(dst, x []float32) {
			if o.centred {
				LayerNormRows(dst, x, w, b, eps)
			} else {
				RMSNormRows(dst, x, w, float32(o.inside), float32(o.outside))
			}
		}
		backward := func(dx, dy, x []float32) {
			clear(dw)
			clear(db)
			if o.centred {
				LayerNormGradRows(dx, dy, x, w, dw, db, eps)
			} else {
				RMSNormGradRows(dx, dy, x, w, dw, float32(o.inside), float32(o.outside))
			}
		}
		forward(out, x)
		bias := b
		if !o.centred {
			bias = nil
		}
		normed := o.forward(x, w, bias)
		near(t, what+"norm", out, normed, length(normed), tolerance)
		inPlace := slices.Clone(x)
		forward(inPlace, inPlace)
		if !slices.Equal(inPlace, out) {
			t.Errorf("%sin place: other bits", what)
		}
		dx, wantW, wantB, sizes := o.backward(dy, x, w)
		backward(out, dy, x)
		near(t, what+"dx", out, dx, sizes[0], tolerance)
		near(t, what+"dweight", dw, wantW, sizes[1], tolerance)
		if o.centred {
			near(t, what+"dbias", db, wantB, sizes[2], tolerance)
		}
		for _, alias := range []string{"dy", "x"} {
			e, v := slices.Clone(dy), slices.Clone(x)
			into := e
			if alias == "x" {
				into = v
			}
			backward(into, e, v)
			if !slices.Equal(into, out) {
				t.Errorf("%sdx is %s: other bits", what, alias)
			}
		}
	}
}

func TestNormRows(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for n := 2; n < 140; n++ {
			checkNormRows(t, 3, n, 1e-3)
			checkNormRows(t, 7, n, 1e-3)
		}
		for _, n := range []int{192, 256, 512, 513, 768, 1023, 4096} {
			checkNormRows(t, 5, n, 1e-5)
		}
		checkNormRows(t, 0, 64, 1e-5)
		checkNormRows(t, 700, 64, 1e-5)
	})
}

// TestNormRowsOneByOne checks that a row does not depend on its neighbours, of which some
// are computed together with it.
func TestNormRowsOneByOne(t *testing.T) {
	for _, n := range []int{7, 64, 100, 512, 600} {
		const rows = 39
		x, dy, w, b := random(n*rows, 1), random(n*rows, 4), random(n, 2), random(n, 3)
		sums := make([]float32, n)
		for name, f := range map[string]func(dst, dy, x []float32){
			"LayerNorm":     func(dst, _, x []float32) { LayerNormRows(dst, x, w, b, 1e-5) },
			"RMSNorm":       func(dst, _, x []float32) { RMSNormRows(dst, x, w, 1e-5, 0) },
			"LayerNormGrad": func(dst, dy, x []float32) { LayerNormGradRows(dst, dy, x, w, sums, sums, 1e-5) },
			"RMSNormGrad":   func(dst, dy, x []float32) { RMSNormGradRows(dst, dy, x, w, sums, 1e-5, 0) },
		} {
			cputest.ForEachTier(t, func(t *testing.T) {
				all, one := make([]float32, len(x)), make([]float32, len(x))
				f(all, dy, x)
				for r := 0; r < len(x); r += n {
					f(one[r:r+n], dy[r:r+n], x[r:r+n])
				}
				if !slices.Equal(all, one) {
					t.Errorf("%s of %d: other bits", name, n)
				}
			})
		}
	}
}

func TestNormRowsNaN(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
			x, w, b := random(3*24, 1), random(24, 2), random(24, 3)
			x[24+5] = bad
			LayerNormRows(x, x, w, b, 1e-5)
			for i, v := range x {
				if got, want := v != v, i/24 == 1; got != want {
					t.Fatalf("%v in row 1: element %d is %v", bad, i, v)
				}
			}
		}
	})
}

func TestNormRowsAllocations(t *testing.T) {
	x, w, dw := random(64*64, 1), random(64, 2), random(64, 3)
	if n := testing.AllocsPerRun(10, func() {
		LayerNormRows(x, x, w, dw, 1e-5)
		LayerNormGradRows(x, x, x, w, dw, dw, 1e-5)
		RMSNormRows(x, x, w, 1e-5, 0)
		RMSNormGradRows(x, x, x, w, dw, 1e-5, 0)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzNormRows(f *testing.F) {
	f.Add(uint8(3), uint16(70), float32(1e-5))
	f.Fuzz(func(t *testing.T, rows uint8, n uint16, eps float32) {
		if eps > 1e-12 && eps < 1e3 {
			checkNormRows(t, int(rows)%9, int(n)%700+2, eps)
		}
	})
}

func BenchmarkNormRows(b *testing.B) {
	for _, n := range []int{64, 256, 512, 768} {
		rows := 1 << 13 / n
		x, dy, out := random(rows*n, 1), random(rows*n, 2), make([]float32, rows*n)
		w, dw, db := random(n, 3), random(n, 4), random(n, 5)
		for name, f := range map[string]func(){
			"LayerNorm":     func() { LayerNormRows(out, x, w, db, 1e-5) },
			"LayerNormGrad": func() { LayerNormGradRows(out, dy, x, w, dw, db, 1e-5) },
			"RMSNorm":       func() { RMSNormRows(out, x, w, 1e-5, 0) },
			"RMSNormGrad":   func() { RMSNormGradRows(out, dy, x, w, dw, 1e-5, 0) },
		} {
			b.Run(fmt.Sprintf("%s/n=%d", name, n), func(b *testing.B) {
				benchShare(b, float64(rows*n), func() float64 { return 0 }, "Gelements/s", f)
			})
		}
	}
}
