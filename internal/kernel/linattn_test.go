package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// linearCase is a random problem for LinearAttention. State and keep have shapes
// (e, n) and (e), where e is whole blocks.
type linearCase struct {
	l, e, n            int
	k, q, v, state, fa []float32
}

func newLinearCase(l, e, n int) *linearCase {
	return &linearCase{
		l: l, e: e, n: n, k: random(l*n, 1), q: random(l*n, 2), v: random(l*e, 3),
		state: random(e*n, 4), fa: random(e, 5),
	}
}

// solve returns y and the state after it, in float64, and the sum of the magnitudes
// that make up each y.
func (c *linearCase) solve() (y, state, size []float64) {
	state, magnitude := make([]float64, c.e*c.n), make([]float64, c.e*c.n)
	for i := range state {
		state[i] = float64(c.state[i]) * float64(c.fa[i/c.n])
		magnitude[i] = math.Abs(state[i])
	}
	for t := range c.l {
		for e := range c.e {
			sum, all := 0.0, 0.0
			for n := range c.n {
				add := float64(c.k[t*c.n+n]) * float64(c.v[t*c.e+e])
				state[e*c.n+n] += add
				magnitude[e*c.n+n] += math.Abs(add)
				sum += float64(c.q[t*c.n+n]) * state[e*c.n+n]
				all += math.Abs(float64(c.q[t*c.n+n])) * magnitude[e*c.n+n]
			}
			y, size = append(y, sum), append(size, all)
		}
	}
	return y, state, size
}

// arguments returns the arguments for c, in slices of their own.
func (c *linearCase) arguments(gap int) *Linear {
	ld := c.e + gap
	s := &Linear{
		L: c.l, N: c.n, Blocks: c.e / ScanBlock, LdY: ld, LdV: ld, Room: c.l + 2, First: 1,
		Y: random(c.l*ld, 6), V: make([]float32, c.l*ld), Keys: random(KeysLen(c.l+2, c.n), 7),
		State: make([]float32, LinearLen(c.e, c.n)), Keep: c.fa,
	}
	for t := range c.l {
		copy(s.V[t*ld:], c.v[t*c.e:(t+1)*c.e])
	}
	PackLinearState(s.State, c.state, c.e, c.n)
	PackKeysQueries(s.Keys, c.k, c.n, c.q, c.n, 1, c.l, c.l+2, c.n)
	return s
}

func TestLinearAttention(t *testing.T) {
	shapes := [][3]int{{1, 16, 1}, {5, 16, 8}, {3, 32, 9}, {64, 48, 16}, {65, 80, 7}, {130, 64, 24}, {2, 112, 3}}
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, shape := range shapes {
			testLinear(t, newLinearCase(shape[0], shape[1], shape[2]))
		}
	})
}

func testLinear(t *testing.T, c *linearCase) {
	t.Helper()
	const gap = 3
	s := c.arguments(gap)
	before := slices.Clone(s.Y)
	LinearAttention(s)
	y, state, size := c.solve()
	for i, got := range s.Y {
		row, col := i/s.LdY, i%s.LdY
		if col >= c.e {
			if got != before[i] {
				t.Fatalf("L=%d E=%d N=%d: wrote between the rows", c.l, c.e, c.n)
			}
			continue
		}
		if d := math.Abs(float64(got) - y[row*c.e+col]); !(d <= 1e-6*size[row*c.e+col]+1e-6) {
			t.Fatalf("L=%d E=%d N=%d: y[%d][%d] = %v, want %v", c.l, c.e, c.n, row, col, got, y[row*c.e+col])
		}
	}
	after := make([]float32, c.e*c.n)
	UnpackLinearState(after, s.State, c.e, c.n)
	for i, got := range after {
		if d := math.Abs(float64(got) - state[i]); !(d <= 1e-5*(1+math.Abs(state[i]))) {
			t.Fatalf("L=%d E=%d N=%d: state[%d] = %v, want %v", c.l, c.e, c.n, i, got, state[i])
		}
	}
}

// TestLinearAttentionBits proves that the bits depend neither on how the positions are
// divided nor on the tier, as far as that fuses.
func TestLinearAttentionBits(t *testing.T) {
	c := newLinearCase(150, 80, 21)
	var want []float32
	cputest.ForEachTier(t, func(t *testing.T) {
		s := c.arguments(0)
		whole := *s
		whole.State = slices.Clone(s.State)
		LinearAttention(&whole)
		for _, cuts := range [][]int{{1, 149}, {64, 1, 85}, {7, 100, 43}} {
			pieces := *s
			pieces.Y, pieces.State = make([]float32, len(s.Y)), slices.Clone(s.State)
			at := 0
			for _, l := range cuts {
				part := pieces
				part.L, part.First = l, 1+at
				part.Y, part.V = pieces.Y[at*s.LdY:], pieces.V[at*s.LdV:]
				if at > 0 {
					part.Keep = slices.Repeat([]float32{1}, c.e)
				}
				LinearAttention(&part)
				at += l
			}
			if !slices.Equal(pieces.Y, whole.Y) || !slices.Equal(pieces.State, whole.State) {
				t.Errorf("in pieces of %v: not the same bits", cuts)
			}
		}
		if cpu.Active() == cpu.TierGeneric {
			return
		}
		if want == nil {
			want = whole.Y
		} else if !slices.Equal(want, whole.Y) {
			t.Error("not the same bits as in another tier")
		}
	})
}

func TestLinearAttentionGuard(t *testing.T) {
	guarded := func(v []float32) []float32 {
		g := guardedFloats(t, len(v))
		copy(g, v)
		return g
	}
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, shape := range [][3]int{{3, 16, 5}, {2, 48, 8}, {66, 32, 17}} {
			c := newLinearCase(shape[0], shape[1], shape[2])
			s := c.arguments(0)
			s.Room, s.First = c.l, 0
			s.Keys = guarded(s.Keys[:KeysLen(c.l, c.n)])
			PackKeysQueries(s.Keys, guarded(c.k), c.n, guarded(c.q), c.n, 0, c.l, c.l, c.n)
			s.Y, s.V, s.State, s.Keep = guarded(s.Y), guarded(s.V), guarded(s.State), guarded(s.Keep)
			LinearAttention(s)
		}
	})
}

func TestLinearAttentionDecayedState(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		c := newLinearCase(2, 32, 16)
		for i := range c.state {
			c.state[i] = 1e-38
		}
		for i := range c.fa {
			c.fa[i] = float32(i % 2) // of a decay that has reached 0 nothing is left
		}
		testLinear(t, c)
	})
}

func TestLinearAttentionAllocatesNothing(t *testing.T) {
	s := newLinearCase(70, 48, 16).arguments(0)
	if n := testing.AllocsPerRun(10, func() { LinearAttention(s) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestLinearAttentionPanics(t *testing.T) {
	for name, change := range map[string]func(s *Linear){
		"Y": func(s *Linear) { s.Y = s.Y[1:] }, "V": func(s *Linear) { s.V = s.V[1:] },
		"keys": func(s *Linear) { s.Keys = s.Keys[1:] }, "state": func(s *Linear) { s.State = s.State[1:] },
		"keep": func(s *Linear) { s.Keep = s.Keep[1:] }, "first": func(s *Linear) { s.First = 3 },
		"length": func(s *Linear) { s.L = -1 },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			s := newLinearCase(4, 32, 9).arguments(0)
			change(s)
			LinearAttention(s)
		}()
	}
}

func FuzzLinearAttention(f *testing.F) {
	f.Add(uint8(3), uint8(1), uint8(9))
	f.Add(uint8(70), uint8(3), uint8(16))
	f.Fuzz(func(t *testing.T, l, blocks, n uint8) {
		testLinear(t, newLinearCase(1+int(l%80), ScanBlock*(1+int(blocks%5)), 1+int(n%40)))
	})
}

// BenchmarkLinearAttention is one head of Mamba-2 with its usual sizes.
func BenchmarkLinearAttention(b *testing.B) {
	cputest.BenchEachTier(b, func(b *testing.B) {
		for _, l := range []int{1, 4, 16, 64, 128} {
			b.Run(fmt.Sprintf("L=%d", l), func(b *testing.B) {
				c := newLinearCase(l, 64, 128)
				for i := range c.fa {
					c.fa[i] = 1
				}
				for i := range c.k {
					c.k[i] *= 1e-6
				}
				s := c.arguments(0)
				benchShare(b, float64(16*4*l*64*128), PeakFMA, "GFLOP/s", func() {
					for range 16 {
						LinearAttention(s)
					}
				})
			})
		}
	})
}
