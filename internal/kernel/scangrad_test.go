package kernel

import (
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// scanLoss is a loss of a scan in float64: the results and the last state, weighted.
type scanLoss struct {
	*scanCase
	dy, dstate                   []float32
	u64, delta64, z64            []float64
	a64, b64, c64, d64, before64 []float64
}

func newScanLoss(k *scanCase) *scanLoss {
	f := func(x []float32) []float64 {
		y := make([]float64, len(x))
		for i, v := range x {
			y[i] = float64(v)
		}
		return y
	}
	return &scanLoss{
		scanCase: k, dy: random(len(k.u), 7), dstate: random(len(k.before), 8),
		u64: f(k.u), delta64: f(k.delta), z64: f(k.z), a64: f(k.a), b64: f(k.b), c64: f(k.c), d64: f(k.d), before64: f(k.before),
	}
}

func (k *scanLoss) loss() float64 {
	ld := k.e + k.gap
	var loss float64
	h := make([]float64, k.n)
	for e := range k.e {
		copy(h, k.before64[e*k.n:])
		for t := range k.l {
			if slices.Contains(k.resets, t) {
				clear(h)
			}
			u, delta := k.u64[t*ld+e], k.delta64[t*ld+e]
			var y float64
			if !k.noD {
				y = k.d64[e] * u
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
				h[i] = math.Exp(delta*k.a64[e*k.n+i])*h[i] + delta*k.b64[bAt]*u
				y += k.c64[cAt] * h[i]
			}
			if !k.noZ {
				z := k.z64[t*ld+e]
				y *= z / (1 + math.Exp(-z))
			}
			loss += float64(k.dy[t*ld+e]) * y
		}
		for i, v := range h {
			loss += float64(k.dstate[e*k.n+i]) * v
		}
	}
	return loss
}

// check compares a gradient with differences of the loss in x.
func (k *scanLoss) check(t *testing.T, name string, got []float32, x []float64) {
	t.Helper()
	want := make([]float64, len(x))
	var size float64
	for i := range x {
		const step = 1e-5
		old := x[i]
		x[i] = old + step
		up := k.loss()
		x[i] = old - step
		want[i] = (up - k.loss()) / (2 * step)
		x[i] = old
		size = max(size, math.Abs(want[i]))
	}
	for i, w := range want {
		if !(math.Abs(float64(got[i])-w) <= 1e-5*size) {
			t.Fatalf("%v: gradient %d of %s is %v, want %v", k, i, name, got[i], w)
		}
	}
}

// ofBlocks returns x, which lies in channel blocks, in shape (e, n).
func (k *scanLoss) ofBlocks(x []float32) []float32 {
	y := make([]float32, k.e*k.n)
	UnpackState(y, x, k.e, k.n)
	return y
}

// test compares the gradients with differences. If stored is set, they are computed
// from states that the scan stored.
func (k *scanLoss) test(t *testing.T, stored bool) {
	t.Helper()
	s := k.scan()
	if stored {
		s.Starts = make([]float32, blocksOf(k.l)*len(s.State))
		state := slices.Clone(s.State)
		SelectiveScan(s, 0, blocksOf(k.e))
		s.State = state
	}
	g := &ScanGrad{
		Scan: *s, DY: slices.Clone(k.dy), LdDY: s.LdU,
		DDelta: make([]float32, len(s.U)), LdDDelta: s.LdU, DZ: make([]float32, len(s.U)), LdDZ: s.LdU,
		DA: make([]float32, len(s.A)), DB: make([]float32, len(s.B)), LdDB: s.LdB, DC: make([]float32, len(s.C)), LdDC: s.LdC,
		DD: make([]float32, k.e), DState: inBlocks(k.dstate, k.e, k.n),
		Scratch: make([]float32, ScanGradScratchLen(k.l, k.n, blocksOf(k.e))),
	}
	g.DU, g.LdDU = g.DY, g.LdDY
	if g.inBlocks() != stored {
		t.Fatalf("%v: in blocks: %v", k, !stored)
	}
	half := blocksOf(k.e) / 2
	SelectiveScanGrad(g, 0, half)
	SelectiveScanGrad(g, half, blocksOf(k.e))
	if !slices.Equal(g.State, inBlocks(k.before, k.e, k.n)) {
		t.Fatalf("%v: the state changed", k)
	}
	for i := range g.DU {
		if i%s.LdU >= k.e {
			g.DU[i] = 0 // of the gradient that was there before
		}
	}
	k.check(t, "u", g.DU, k.u64)
	k.check(t, "delta", g.DDelta, k.delta64)
	if !k.noZ {
		k.check(t, "z", g.DZ, k.z64)
	}
	if !k.noD {
		k.check(t, "D", g.DD, k.d64)
	}
	k.check(t, "A", k.ofBlocks(g.DA), k.a64)
	k.check(t, "the state", k.ofBlocks(g.DState), k.before64)
	if k.bConst {
		g.DB = k.ofBlocks(g.DB)
	}
	if k.cConst {
		g.DC = k.ofBlocks(g.DC)
	}
	k.check(t, "B", g.DB, k.b64)
	k.check(t, "C", g.DC, k.c64)
}

func TestSelectiveScanGrad(t *testing.T) {
	for _, k := range []*scanCase{
		{l: 1, e: 1, n: 1},
		{l: 5, e: 3, n: 4, gap: 1},
		{l: 7, e: 18, n: 2, groups: 2},
		{l: 5, e: 3, n: 4, noD: true, noZ: true},
		{l: 6, e: 2, n: 3, bConst: true, cConst: true},
		{l: 6, e: 17, n: 2, cConst: true, resets: []int{0, 2, 3}},
		{l: 70, e: 2, n: 2, resets: []int{33, 50}},
	} {
		newScanLoss(k.fill(uint64(k.l))).test(t, false)
	}
}

func TestSelectiveScanGradBlocks(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, k := range []*scanCase{
			{l: 1, e: 1, n: 1, noZ: true},
			{l: 5, e: 3, n: 4, gap: 1, noZ: true},
			{l: 33, e: 17, n: 3, noD: true, noZ: true},
			{l: 7, e: 64, n: 2, groups: 2, noZ: true},
			{l: 65, e: 16, n: 2, noZ: true},
			{l: 3, e: 40, n: 5, gap: 3, noZ: true},
		} {
			newScanLoss(k.fill(uint64(k.l))).test(t, true)
		}
	})
}

// TestSelectiveScanGradOptional leaves out what may be left out.
func TestSelectiveScanGradOptional(t *testing.T) {
	k := (&scanCase{l: 40, e: 5, n: 3, noZ: true}).fill(1)
	s := k.scan()
	g := &ScanGrad{
		Scan: *s, DY: random(len(k.u), 1), LdDY: s.LdU, DU: make([]float32, len(k.u)), LdDU: s.LdU,
		DDelta: make([]float32, len(k.u)), LdDDelta: s.LdU, Scratch: make([]float32, ScanGradScratchLen(k.l, k.n, blocksOf(k.e))),
	}
	SelectiveScanGrad(g, 0, 1)
	full := *g
	full.DU = make([]float32, len(k.u))
	full.DA, full.DD, full.DState = make([]float32, len(s.A)), make([]float32, k.e), make([]float32, len(s.State))
	full.DB, full.LdDB, full.DC, full.LdDC = make([]float32, len(s.B)), s.LdB, make([]float32, len(s.C)), s.LdC
	SelectiveScanGrad(&full, 0, 1)
	if !slices.Equal(g.DU, full.DU) {
		t.Error("the gradient for the input depends on which others are asked for")
	}
	if n := testing.AllocsPerRun(5, func() { SelectiveScanGrad(g, 0, 1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	g.Scratch = g.Scratch[1:]
	mustPanic(t, "short scratch", func() { SelectiveScanGrad(g, 0, 1) })
}

func BenchmarkSelectiveScanGrad(b *testing.B) {
	k := (&scanCase{l: 64, e: 1536, n: 16, groups: 1}).fill(1)
	s := k.scan()
	g := &ScanGrad{
		Scan: *s, DY: random(len(k.u), 1), LdDY: s.LdU, DU: make([]float32, len(k.u)), LdDU: s.LdU,
		DDelta: make([]float32, len(k.u)), LdDDelta: s.LdU, DZ: make([]float32, len(k.u)), LdDZ: s.LdU,
		DA: make([]float32, len(s.A)), DB: make([]float32, len(s.B)), LdDB: s.LdB, DC: make([]float32, len(s.C)), LdDC: s.LdC,
		DD: make([]float32, k.e), Scratch: make([]float32, ScanGradScratchLen(k.l, k.n, blocksOf(k.e))),
	}
	g.Z, g.Starts = nil, make([]float32, blocksOf(k.l)*len(s.State))
	for b.Loop() {
		SelectiveScanGrad(g, 0, blocksOf(k.e))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*k.l*k.e*k.n), "ns/state")
}
