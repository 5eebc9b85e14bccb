package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// dplrCase is a random problem for a DPLRFilter that does not grow.
type dplrCase struct {
	n, channels, states, rank, gap int
	x, before, d                   []float32
	g, b, c                        []complex128 // (channels, states)
	w, p                           []complex128 // (channels, rank, states)
	filter                         *DPLRFilter
}

func newDPLRCase(n, channels, states, rank, gap int) *dplrCase {
	c := &dplrCase{n: n, channels: channels, states: states, rank: rank, gap: gap}
	c.filter = NewDPLRFilter(channels, states, rank)
	c.x, c.d = random(n*(channels+gap), 1), random(channels, 2)
	c.before = make([]float32, c.filter.StateLen())
	r, old := random(channels*states*(8+4*rank)+2, 3), 0
	next := func(scale float64) complex128 {
		old += 2
		return complex(float64(float32(scale*float64(r[old-2]))), float64(float32(scale*float64(r[old-1]))))
	}
	for ch := range channels {
		c.filter.SetSkip(ch, c.d[ch])
		for k := range states {
			v := next(1)
			turn := imag(v)
			radius := 1 - math.Exp(-0.5-2*math.Abs(real(v)))
			g := complex(float64(float32(radius*math.Cos(turn)-1)), float64(float32(radius*math.Sin(turn))))
			c.g, c.b, c.c = append(c.g, g), append(c.b, next(1)), append(c.c, next(1))
			c.filter.SetState(ch, k, g, c.b[len(c.b)-1], c.c[len(c.c)-1])
			re, im := c.filter.StateAt(ch, k)
			h := next(1)
			c.before[re], c.before[im] = float32(real(h)), float32(imag(h))
		}
		for j := range rank {
			for k := range states {
				scale := 0.02 / math.Sqrt(float64(states*rank))
				c.w, c.p = append(c.w, next(scale)), append(c.p, next(scale))
				c.filter.SetRank(ch, j, k, c.w[len(c.w)-1], c.p[len(c.p)-1])
			}
		}
	}
	return c
}

func (c *dplrCase) String() string {
	return fmt.Sprintf("n=%d channels=%d states=%d rank=%d gap=%d", c.n, c.channels, c.states, c.rank, c.gap)
}

// naive returns the result and the state after it, from the definition.
func (c *dplrCase) naive() (y, state []float64) {
	y, state = make([]float64, c.n*c.channels), make([]float64, len(c.before))
	for ch := range c.channels {
		h := make([]complex128, c.states)
		for k := range h {
			re, im := c.filter.StateAt(ch, k)
			h[k] = complex(float64(c.before[re]), float64(c.before[im]))
		}
		for t := range c.n {
			u := float64(c.x[t*(c.channels+c.gap)+ch])
			sigma := make([]float64, c.rank)
			for j := range sigma {
				for k, v := range h {
					sigma[j] += real(c.w[(ch*c.rank+j)*c.states+k] * v)
				}
			}
			sum := float64(c.d[ch]) * u
			for k := range h {
				at := ch*c.states + k
				step := c.g[at]*h[k] + c.b[at]*complex(u, 0)
				for j, s := range sigma {
					step -= c.p[(ch*c.rank+j)*c.states+k] * complex(s, 0)
				}
				h[k] += step
				sum += real(c.c[at] * h[k])
			}
			y[t*c.channels+ch] = sum
		}
		for k, v := range h {
			re, im := c.filter.StateAt(ch, k)
			state[re], state[im] = real(v), imag(v)
		}
	}
	return y, state
}

func (c *dplrCase) test(t *testing.T) {
	t.Helper()
	c.within(t, 2e-6)
}

// within compares with the definition, up to so much of the largest number.
func (c *dplrCase) within(t *testing.T, tolerance float64) {
	t.Helper()
	ld, ldd := c.channels+c.gap, c.channels+2*c.gap
	dst, state := random(c.n*ldd, 5), slices.Clone(c.before)
	old := slices.Clone(dst)
	c.filter.Filter(dst, ldd, c.x, ld, c.n, state, 0, c.filter.Blocks())
	want, wantState := c.naive()
	var worst, size float64
	for i, got := range dst {
		row, ch := i/ldd, i%ldd
		if ch >= c.channels {
			if got != old[i] {
				t.Fatalf("%v: wrote beside row %d", c, row)
			}
			continue
		}
		w := want[row*c.channels+ch]
		worst, size = max(worst, math.Abs(float64(got)-w)), max(size, math.Abs(w))
		if got != got {
			t.Fatalf("%v: position %d, channel %d is %v", c, row, ch, got)
		}
	}
	if worst > tolerance*size {
		t.Fatalf("%v: result off by %.3g of %.3g", c, worst, size)
	}
	worst, size = 0, 0
	for i, w := range wantState {
		worst, size = max(worst, math.Abs(float64(state[i])-w)), max(size, math.Abs(w))
	}
	if worst > tolerance*size {
		t.Fatalf("%v: state off by %.3g of %.3g", c, worst, size)
	}
}

func TestDPLRFilter(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 63, 65, 130} {
			for _, channels := range []int{1, 16, 17, 35} {
				for _, p := range [][2]int{{0, 0}, {1, 0}, {1, 1}, {2, 1}, {3, 2}, {8, 3}} {
					newDPLRCase(n, channels, p[0], p[1], channels%3).test(t)
				}
			}
		}
		newDPLRCase(500, 16, 32, 1, 0).test(t)
		newDPLRCase(3, 2, 900, 20, 0).test(t) // more than one call for the positions of a tile
	})
}

// A sequence may be cut anywhere, and blocks run in any order: the same bits.
func TestDPLRFilterCuts(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		c := newDPLRCase(90, 37, 5, 2, 0)
		f, whole, state := c.filter, make([]float32, len(c.x)), slices.Clone(c.before)
		f.Filter(whole, 37, c.x, 37, c.n, state, 0, f.Blocks())
		for cut := range c.n + 1 {
			x, s := slices.Clone(c.x), slices.Clone(c.before)
			for b := f.Blocks() - 1; b >= 0; b-- {
				f.Filter(x, 37, x, 37, cut, s, b, b+1)
				f.Filter(x[cut*37:], 37, x[cut*37:], 37, c.n-cut, s, b, b+1)
			}
			if !slices.Equal(x, whole) || !slices.Equal(s, state) {
				t.Fatalf("%v, cut at %d: results differ", c, cut)
			}
		}
	})
}

func TestDPLRFilterGuard(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, channels := range []int{5, 16, 21} {
			c := newDPLRCase(67, channels, 3, 2, 0)
			x, y := guardedFloats(t, len(c.x)), guardedFloats(t, len(c.x))
			rows, state := guardedFloats(t, len(c.filter.rows)), guardedFloats(t, len(c.before))
			copy(x, c.x)
			copy(rows, c.filter.rows)
			copy(state, c.before)
			c.filter.rows = rows
			c.filter.Filter(y, channels, x, channels, c.n, state, 0, c.filter.Blocks())
		}
	})
}

func TestDPLRFilterAllocatesNothing(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		c := newDPLRCase(70, 20, 4, 2, 0)
		if n := testing.AllocsPerRun(10, func() { c.filter.Filter(c.x, 20, c.x, 20, c.n, c.before, 0, 2) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestDPLRFilterPanics(t *testing.T) {
	f := NewDPLRFilter(20, 2, 1)
	x, s := make([]float32, 60), make([]float32, f.StateLen())
	mustPanic(t, "channels", func() { NewDPLRFilter(-1, 1, 1) })
	mustPanic(t, "rank", func() { NewDPLRFilter(1, 1, 65) })
	mustPanic(t, "result", func() { f.Filter(x[:59], 20, x, 20, 3, s, 0, 2) })
	mustPanic(t, "input", func() { f.Filter(x, 20, x[:59], 20, 3, s, 0, 2) })
	mustPanic(t, "state", func() { f.Filter(x, 20, x, 20, 3, s[1:], 0, 2) })
	mustPanic(t, "blocks", func() { f.Filter(x, 20, x, 20, 3, s, 0, 3) })
}

// With few states, the largest is small beside those that it came from and that its
// error is of.
func FuzzDPLRFilter(f *testing.F) {
	f.Add(uint(70), uint(17), uint(3), uint(2), uint(1))
	f.Fuzz(func(t *testing.T, n, channels, states, rank, gap uint) {
		c := newDPLRCase(int(n%200), int(1+channels%40), int(states%12), int(rank%5), int(gap%4))
		cputest.ForEachTier(t, func(t *testing.T) { c.within(t, 1e-5) })
	})
}

// BenchmarkDPLRFilter filters 768 channels of 256 positions with 32 states. The share is
// that of the multiplications and additions in the multiply-add peak.
func BenchmarkDPLRFilter(b *testing.B) {
	for _, rank := range []int{1, 2} {
		b.Run(fmt.Sprintf("rank=%d", rank), func(b *testing.B) {
			const n, channels, states = 256, 768, 32
			c := newDPLRCase(n, channels, states, rank, 0)
			y, state := make([]float32, len(c.x)), slices.Clone(c.before)
			cputest.BenchEachTier(b, func(b *testing.B) {
				benchShare(b, n*channels*states*float64(18+8*rank), PeakFMA, "GFLOP/s", func() {
					c.filter.Filter(y, channels, c.x, channels, n, state, 0, c.filter.Blocks())
				})
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(n*channels), "ns/element")
			})
		})
	}
}
