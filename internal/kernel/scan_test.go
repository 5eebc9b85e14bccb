package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/seqmix/seqmix/internal/cpu"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// scanCase is a random problem for SelectiveScan and its solution in float64.
type scanCase struct {
	l, e, n, groups    int
	gap                int // between rows
	bConst, cConst     bool
	noD, noZ           bool
	resets             []int
	u, delta, z        []float32
	a, b, c, d, before []float32 // a, constant b and c, and the state of shape (e, n)
}

func (k *scanCase) String() string {
	return fmt.Sprintf("L=%d E=%d N=%d groups=%d const=%v,%v D=%v Z=%v resets=%v", k.l, k.e, k.n, k.groups, k.bConst, k.cConst, !k.noD, !k.noZ, k.resets)
}

// fill draws the data of k, of which the fields for sizes and options are set.
func (k *scanCase) fill(seed uint64) *scanCase {
	k.groups = max(k.groups, 1)
	r := rand.New(rand.NewPCG(seed, 2))
	draw := func(n int, f func() float64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(f())
		}
		return x
	}
	rows := k.l * (k.e + k.gap)
	k.u = draw(rows, r.NormFloat64)
	k.delta = draw(rows, func() float64 { return math.Exp(4*r.Float64() - 6.5) })
	k.z = draw(rows, r.NormFloat64)
	k.a = draw(k.e*k.n, func() float64 { return -math.Exp(3 * r.Float64()) })
	k.b, k.c = draw(k.l*k.bc(), r.NormFloat64), draw(k.l*k.bc(), r.NormFloat64)
	if k.bConst {
		k.b = draw(k.e*k.n, r.NormFloat64)
	}
	if k.cConst {
		k.c = draw(k.e*k.n, r.NormFloat64)
	}
	k.d = draw(k.e, r.NormFloat64)
	k.before = draw(k.e*k.n, r.NormFloat64)
	return k
}

// bc is the distance between the rows of b and of c.
func (k *scanCase) bc() int { return k.groups*k.n + 2*k.gap }

func inBlocks(x []float32, e, n int) []float32 {
	dst := make([]float32, ScanLen(e, n))
	PackState(dst, x, e, n)
	return dst
}

// scan returns the arguments for k. The result is a slice of its own.
func (k *scanCase) scan() *Scan {
	ld := k.e + k.gap
	s := &Scan{
		L: k.l, E: k.e, N: k.n, Groups: k.groups,
		Y: make([]float32, k.l*ld), LdY: ld,
		U: k.u, LdU: ld, Delta: k.delta, LdDelta: ld, Z: k.z, LdZ: ld,
		A: make([]float32, ScanLen(k.e, k.n)),
		B: k.b, LdB: k.bc(), BConst: k.bConst, C: k.c, LdC: k.bc(), CConst: k.cConst,
		D: k.d, State: inBlocks(k.before, k.e, k.n), Resets: k.resets,
	}
	PackScanA(s.A, k.a, k.e, k.n)
	if k.bConst {
		s.B = inBlocks(k.b, k.e, k.n)
	}
	if k.cConst {
		s.C = inBlocks(k.c, k.e, k.n)
	}
	if k.noD {
		s.D = nil
	}
	if k.noZ {
		s.Z = nil
	}
	return s
}

// A total is a number that was added up, and what it would be with all terms positive:
// rounding errors are in proportion to that.
type total struct{ value, size float64 }

func (s *total) add(v float64, of total) {
	s.value += v * of.value
	s.size += math.Abs(v) * of.size
}

// want computes the result and the last state one channel after the other.
func (k *scanCase) want() (y, state []total) {
	ld := k.e + k.gap
	y, state = make([]total, k.l*ld), make([]total, k.e*k.n)
	for e := range k.e {
		h := state[e*k.n : (e+1)*k.n]
		for i := range h {
			h[i].add(float64(k.before[e*k.n+i]), total{1, 1})
		}
		for t := range k.l {
			if slices.Contains(k.resets, t) {
				clear(h)
			}
			u, delta := float64(k.u[t*ld+e]), float64(k.delta[t*ld+e])
			out, one := &y[t*ld+e], total{1, 1}
			if !k.noD {
				out.add(float64(k.d[e])*u, one)
			}
			for i := range h {
				at := t*k.bc() + e/(k.e/k.groups)*k.n + i
				bAt, cAt := at, at
				if k.bConst {
					bAt = e*k.n + i
				}
				if k.cConst {
					cAt = e*k.n + i
				}
				var next total
				next.add(math.Exp(delta*float64(k.a[e*k.n+i])), h[i])
				next.add(delta*float64(k.b[bAt])*u, one)
				h[i] = next
				out.add(float64(k.c[cAt]), next)
			}
			if !k.noZ {
				z := float64(k.z[t*ld+e])
				var gated total
				gated.add(z/(1+math.Exp(-z)), *out)
				*out = gated
			}
		}
	}
	return y, state
}

func blocksOf(e int) int { return (e + ScanBlock - 1) / ScanBlock }

// farthest returns the largest difference between got and want, in parts of the size
// of the sum.
func farthest(got []float32, want []total) float64 {
	var worst float64
	for i, w := range want {
		if d := math.Abs(float64(got[i])-w.value) / (w.size + 1e-30); !(d <= worst) {
			worst = d
		}
	}
	return worst
}

func (k *scanCase) test(t *testing.T) {
	t.Helper()
	s := k.scan()
	SelectiveScan(s, 0, blocksOf(k.e))
	k.check(t, s)
}

func (k *scanCase) check(t *testing.T, s *Scan) {
	t.Helper()
	y, state := k.want()
	if d := farthest(s.Y, y); !(d <= 2e-6) {
		t.Fatalf("%v: y is off by %.3g", k, d)
	}
	last := make([]float32, k.e*k.n)
	UnpackState(last, s.State, k.e, k.n)
	if d := farthest(last, state); !(d <= 2e-6) {
		t.Fatalf("%v: the state is off by %.3g", k, d)
	}
	for i, v := range s.State {
		if e := i / (ScanBlock * k.n) * ScanBlock; e+i%ScanBlock >= k.e && v != 0 {
			t.Fatalf("%v: padding of the state is %v", k, v)
		}
	}
}

func TestSelectiveScan(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, e := range []int{1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 69} {
			for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 64, 256} {
				(&scanCase{l: 1 + (e+n)%35, e: e, n: n, gap: e % 3}).fill(uint64(e * n)).test(t)
			}
		}
		(&scanCase{l: 20, e: 120, n: 256}).fill(1).test(t) // more than one call
		for _, l := range []int{0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 257} {
			(&scanCase{l: l, e: 20, n: 16}).fill(uint64(l)).test(t)
		}
		for options := range 16 {
			for _, n := range []int{1, 8, 16, 18} {
				(&scanCase{
					l: 40, e: 37, n: n, gap: 1, bConst: options&1 != 0, cConst: options&2 != 0,
					noD: options&4 != 0, noZ: options&8 != 0, resets: []int{0, 7, 32, 33},
				}).fill(uint64(options)).test(t)
			}
		}
		for _, g := range []int{1, 2, 3, 4, 6, 12, 48} {
			(&scanCase{l: 33, e: 48, n: 5, groups: g}).fill(uint64(g)).test(t)
			(&scanCase{l: 33, e: 96, n: 16, groups: g, bConst: true}).fill(uint64(g)).test(t)
			if g <= 12 {
				(&scanCase{l: 5, e: 12, n: 4, groups: g, gap: 2}).fill(uint64(g)).test(t)
			}
		}
	})
}

// TestSelectiveScanSplit cuts positions and blocks in two everywhere.
func TestSelectiveScanSplit(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		k := (&scanCase{l: 70, e: 37, n: 16, resets: []int{11, 50}}).fill(1)
		whole := k.scan()
		SelectiveScan(whole, 0, 3)
		SelectiveScan(whole, 3, 3)
		for cut := range k.l + 1 {
			s := k.scan()
			first := *s
			first.L = cut
			first.Resets = slices.DeleteFunc(slices.Clone(k.resets), func(r int) bool { return r >= cut })
			SelectiveScan(&first, 2, 3)
			SelectiveScan(&first, 0, 2)
			rest := *s
			rest.L -= cut
			for _, x := range []*[]float32{&rest.Y, &rest.U, &rest.Delta, &rest.Z} {
				*x = (*x)[cut*s.LdU:]
			}
			rest.B, rest.C = rest.B[cut*s.LdB:], rest.C[cut*s.LdC:]
			rest.Resets = nil
			for _, r := range k.resets {
				if r >= cut {
					rest.Resets = append(rest.Resets, r-cut)
				}
			}
			SelectiveScan(&rest, 0, 1)
			SelectiveScan(&rest, 1, 3)
			if !slices.Equal(s.Y, whole.Y) || !slices.Equal(s.State, whole.State) {
				t.Fatalf("cut at %d: results differ", cut)
			}
		}
	})
}

// TestSelectiveScanInPlace lets the result replace the input or the step sizes.
func TestSelectiveScanInPlace(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, n := range []int{3, 16, 40} {
			for range 2 {
				k := (&scanCase{l: 40, e: 23, n: n, gap: 2}).fill(uint64(n))
				s := k.scan()
				y := slices.Clone(k.u)
				s.Y, s.U = y, y
				SelectiveScan(s, 0, 2)
				k.checkBeside(t, s, k.u)
				s = k.scan()
				y = slices.Clone(k.delta)
				s.Y, s.Delta = y, y
				SelectiveScan(s, 0, 2)
				k.checkBeside(t, s, k.delta)
			}
		}
	})
}

// checkBeside is check, and that nothing beside the rows of the result changed.
func (k *scanCase) checkBeside(t *testing.T, s *Scan, old []float32) {
	t.Helper()
	for i := range s.Y {
		if i%s.LdY >= k.e {
			if s.Y[i] != old[i] {
				t.Fatalf("%v: wrote beside the rows", k)
			}
			s.Y[i] = 0
		}
	}
	k.check(t, s)
}

// TestSelectiveScanStill lets positions with a step of 0 pass.
func TestSelectiveScanStill(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		k := (&scanCase{l: 10, e: 20, n: 16}).fill(3)
		clear(k.delta)
		s := k.scan()
		SelectiveScan(s, 0, 2)
		if !slices.Equal(s.State, inBlocks(k.before, k.e, k.n)) {
			t.Error("the state changed")
		}
	})
}

// TestSelectiveScanExtremes has one state of one channel go through a step.
func TestSelectiveScanExtremes(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, x := range []struct{ a, delta, u, h, want float64 }{
			{-1, 0, 1, 3, 3},
			{-1, 1000, 0, 3, 0},
			{-1, 1e30, 1, 3, 1e30},
			{-1e4, 3e38, 1, 3, 3e38},
			{math.Inf(-1), 1, 1, 3, 1},
			{math.Inf(-1), 0, 1, 3, 3},
			{-1e-6, 1, 0, 3, 3 * math.Exp(-1e-6)},
			{-1e4, 1e-3, 0, 3, 3 * math.Exp(-10)},
			{-87, 1, 0, 3e30, 3e30 * math.Exp(-87)},
			{-103, 1, 0, 1, 0},
			{1, 1, 0, 3, 3 * math.E},
			{1, 88, 0, 1, math.Exp(88)},
			{1, 200, 0, 1, math.Inf(1)},
			{-1, 1, 0, math.NaN(), math.NaN()},
			{-1, math.NaN(), 0, 1, math.NaN()},
			{math.NaN(), 1, 0, 1, math.NaN()},
			{-1, 1, math.NaN(), 1, math.NaN()},
		} {
			tolerance := 1e-7 * (3 + math.Abs(x.a*x.delta)) // of the product, too
			for _, lane := range []int{0, 7, 8, 15} {
				for _, e := range []int{16, lane + 1} {
					y, state := make([]float32, e), make([]float32, 16)
					u, delta, a := make([]float32, e), make([]float32, e), make([]float32, e)
					u[lane], delta[lane], a[lane], state[lane] = float32(x.u), float32(x.delta), float32(x.a), float32(x.h)
					s := &Scan{L: 1, E: e, N: 1, Y: y, U: u, Delta: delta, B: []float32{1}, C: []float32{1}, State: state, A: make([]float32, 16)}
					PackScanA(s.A, a, e, 1)
					SelectiveScan(s, 0, 1)
					for i, v := range y {
						got, want := float64(v), 0.0
						if i == lane {
							want = x.want
						}
						if got != want && !(math.Abs(got-want) <= tolerance*math.Abs(want)+1e-38) && !(got != got && want != want) {
							t.Errorf("A=%v Δ=%v u=%v h=%v: lane %d is %v, want %v", x.a, x.delta, x.u, x.h, i, got, want)
						}
					}
				}
			}
		}
	})
}

// TestSelectiveScanLong drives a state with a time constant of 1000 positions for a
// million.
func TestSelectiveScanLong(t *testing.T) {
	const l, steps = 1000, 1000_000
	if testing.Short() {
		t.Skip("takes long")
	}
	cputest.ForEachTier(t, func(t *testing.T) {
		delta := slices.Repeat([]float32{1e-3}, l*16)
		s := &Scan{
			L: l, E: 16, N: 1, Y: make([]float32, l*16), LdY: 16, U: random(l*16, 1), LdU: 16, Delta: delta, LdDelta: 16,
			A: make([]float32, 16), B: []float32{1}, C: []float32{1}, State: make([]float32, 16),
		}
		PackScanA(s.A, slices.Repeat([]float32{-1}, 16), 16, 1)
		step := float64(delta[0])
		decay := math.Exp(-step)
		var h, size, worst float64
		for range steps / l {
			SelectiveScan(s, 0, 1)
			for i := range l {
				h = decay*h + step*float64(s.U[i*16+3])
			}
			size = max(size, math.Abs(h))
			worst = max(worst, math.Abs(float64(s.State[3])-h))
		}
		// The decay is rounded by up to 3e-8, which acts a thousandfold.
		if worst > 3e-5*size {
			t.Errorf("the state is off by %.3g of its largest value", worst/size)
		}
	})
}

func TestExp2Generic(t *testing.T) {
	for x := -126.0; x < 127.5; x += 0.00137 {
		v := float32(x)
		want := math.Exp2(float64(v))
		if d := math.Abs(float64(exp2Generic(v))/want - 1); d > 2e-7 {
			t.Fatalf("2^%v is off by %.3g", v, d)
		}
	}
}

func TestSelectiveScanGuard(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, e := range []int{1, 8, 16, 19, 32} {
			for _, n := range []int{1, 3, 16} {
				k := (&scanCase{l: 9, e: e, n: n, noZ: true}).fill(1)
				s := k.scan()
				for _, x := range []*[]float32{&s.Y, &s.U, &s.Delta, &s.A, &s.B, &s.C, &s.D, &s.State} {
					g := guardedFloats(t, len(*x))
					copy(g, *x)
					*x = g
				}
				SelectiveScan(s, 0, blocksOf(e))
				k.check(t, s)
			}
		}
	})
}

func TestSelectiveScanAllocatesNothing(t *testing.T) {
	s := (&scanCase{l: 40, e: 37, n: 18, groups: 1, resets: []int{5}}).fill(1).scan()
	if n := testing.AllocsPerRun(10, func() { SelectiveScan(s, 0, 3) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSelectiveScanPanics(t *testing.T) {
	for name, spoil := range map[string]func(s *Scan){
		"Y":      func(s *Scan) { s.Y = s.Y[1:] },
		"U":      func(s *Scan) { s.U = s.U[1:] },
		"Delta":  func(s *Scan) { s.Delta = s.Delta[1:] },
		"Z":      func(s *Scan) { s.Z = s.Z[1:] },
		"A":      func(s *Scan) { s.A = s.A[1:] },
		"B":      func(s *Scan) { s.B = s.B[1:] },
		"C":      func(s *Scan) { s.C = s.C[1:] },
		"D":      func(s *Scan) { s.D = s.D[1:] },
		"State":  func(s *Scan) { s.State = s.State[1:] },
		"Groups": func(s *Scan) { s.Groups = 2 },
		"E":      func(s *Scan) { s.E = 49 },
	} {
		s := (&scanCase{l: 2, e: 37, n: 3}).fill(1).scan()
		spoil(s)
		mustPanic(t, name, func() { SelectiveScan(s, 0, 3) })
	}
}

func FuzzSelectiveScan(f *testing.F) {
	f.Add(uint64(1), uint(5), uint(33), uint(16), uint(0))
	f.Add(uint64(2), uint(40), uint(12), uint(3), uint(0x3ff))
	f.Fuzz(func(t *testing.T, seed uint64, l, e, n, options uint) {
		k := &scanCase{
			l: int(l % 80), e: int(1 + e%70), n: int(1 + n%40), gap: int(options >> 4 % 5),
			bConst: options&1 != 0, cConst: options&2 != 0, noD: options&4 != 0, noZ: options&8 != 0,
		}
		if options&512 != 0 {
			k.groups = k.e
		}
		for r := int(seed % 7); r < k.l; r += 1 + int(seed%31) {
			k.resets = append(k.resets, r)
		}
		cputest.ForEachTier(t, k.fill(seed).test)
	})
}

// BenchmarkSelectiveScan reports how many exponentials of a scan are computed in a
// nanosecond, and how long it takes compared with the kernel that does nothing else.
func BenchmarkSelectiveScan(b *testing.B) {
	for _, s := range []struct{ l, n int }{{512, 16}, {1, 16}, {64, 8}, {64, 64}} {
		b.Run(fmt.Sprintf("L=%d/N=%d", s.l, s.n), func(b *testing.B) {
			k := (&scanCase{l: s.l, e: 1536, n: s.n, noZ: true, noD: true}).fill(1)
			scan := k.scan()
			x, y := make([]float32, 1536*s.n), make([]float32, 1536*s.n)
			for i := range x {
				x[i] = -k.delta[i%1536] * float32(i%s.n)
			}
			cputest.BenchEachTier(b, func(b *testing.B) {
				if cpu.Active() == cpu.TierGeneric && s.l > 1 {
					b.Skip("nothing to compare with")
				}
				exps := func() float64 {
					const repeat = 8
					return float64(repeat*len(x)) / nanoseconds(func() {
						for range repeat {
							Exp(y, x)
						}
					})
				}
				benchShare(b, float64(s.l*1536*s.n), exps, "exp/ns", func() { SelectiveScan(scan, 0, blocksOf(k.e)) })
			})
		})
	}
}

func nanoseconds(f func()) float64 {
	begin := time.Now()
	f()
	return float64(time.Since(begin).Nanoseconds())
}
