package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// softmaxState is what OnlineSoftmax works on, with gaps that must not be touched.
type softmaxState struct {
	s, o, max, sum      []float32
	rows, n, cols       int
	lds, ldo            int
	wantMax, wantTotals []float64
}

const gap = 7 // elements between rows

func newSoftmaxState(t testing.TB, rows, n, cols int) *softmaxState {
	st := &softmaxState{rows: rows, n: n, cols: cols, lds: n + gap, ldo: cols + gap}
	st.s = guardedFloats(t, (rows-1)*st.lds+n)
	st.o = guardedFloats(t, (rows-1)*st.ldo+cols)
	st.max = guardedFloats(t, rows)
	st.sum = guardedFloats(t, rows*SoftmaxLanes)
	for r := range rows {
		st.max[r] = SoftmaxStart
	}
	st.wantMax, st.wantTotals = make([]float64, rows), make([]float64, rows)
	for r := range rows {
		st.wantMax[r] = math.Inf(-1)
	}
	return st
}

// step calls OnlineSoftmax with new scores and compares with the definition.
func (st *softmaxState) step(t *testing.T, scores []float32, o []float32) {
	t.Helper()
	copy(st.s, scores)
	copy(st.o, o)
	oldS, oldO := slices.Clone(st.s), slices.Clone(st.o)
	OnlineSoftmax(st.s, st.lds, st.o, st.ldo, st.max, st.sum, st.rows, st.n, st.cols)
	for r := range st.rows {
		m := st.wantMax[r]
		for _, v := range oldS[r*st.lds : r*st.lds+st.n] {
			m = max(m, float64(v))
		}
		c := 1.0
		if m > st.wantMax[r] {
			c = math.Exp(st.wantMax[r] - m)
		}
		st.wantMax[r] = m
		st.wantTotals[r] *= c
		for j := range st.n {
			want := 0.0
			d := float64(oldS[r*st.lds+j]) - m
			if d > -87 {
				want = math.Exp(d)
			}
			st.wantTotals[r] += want
			// The difference is rounded before its exponential is taken.
			if got := float64(st.s[r*st.lds+j]); math.Abs(got-want) > (3e-7-7e-8*max(d, -87))*want+2e-38 {
				t.Fatalf("rows %d, n %d: s[%d][%d] = %v, want %v", st.rows, st.n, r, j, got, want)
			}
		}
		for j := range st.cols {
			want := c * float64(oldO[r*st.ldo+j])
			if got := float64(st.o[r*st.ldo+j]); math.Abs(got-want) > 6e-6*math.Abs(want)+1e-37 {
				t.Fatalf("rows %d, cols %d: o[%d][%d] = %v, want %v", st.rows, st.cols, r, j, got, want)
			}
		}
		var total float64
		for _, v := range st.sum[r*SoftmaxLanes : (r+1)*SoftmaxLanes] {
			total += float64(v)
		}
		if math.Abs(total-st.wantTotals[r]) > 6e-6*st.wantTotals[r] {
			t.Fatalf("rows %d, n %d: the sum of row %d is %v, want %v", st.rows, st.n, r, total, st.wantTotals[r])
		}
		if got := float64(st.max[r]); got != m && !(math.IsInf(m, -1) && got == SoftmaxStart) {
			t.Fatalf("the maximum of row %d is %v, want %v", r, got, m)
		}
		if r < st.rows-1 {
			if !slices.Equal(st.s[r*st.lds+st.n:(r+1)*st.lds], oldS[r*st.lds+st.n:(r+1)*st.lds]) ||
				!slices.Equal(st.o[r*st.ldo+st.cols:(r+1)*st.ldo], oldO[r*st.ldo+st.cols:(r+1)*st.ldo]) {
				t.Fatalf("something was written between the rows")
			}
		}
	}
}

func TestOnlineSoftmax(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(3, 4))
		for _, size := range [][3]int{{1, 16, 0}, {1, 16, 16}, {1, 32, 48}, {2, 48, 16}, {3, 64, 32}, {5, 96, 64}, {12, 128, 64}, {12, 144, 96}, {1, 2048, 16}} {
			st := newSoftmaxState(t, size[0], size[1], size[2])
			for step := range 4 {
				scores := make([]float32, len(st.s))
				for i := range scores {
					scores[i] = float32(rng.NormFloat64() * 20)
					if rng.IntN(4) == 0 || step == 0 && size[0] > 2 && i < st.n {
						scores[i] = float32(math.Inf(-1)) // the first row sees nothing at first
					}
				}
				st.step(t, scores, random(len(st.o), uint64(step)))
			}
		}
	})
}

func TestOnlineSoftmaxSpecial(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, bad := range []float32{inf, nan} {
			for at := range 32 {
				st := newSoftmaxState(t, 2, 32, 0)
				st.s[at] = bad
				OnlineSoftmax(st.s, st.lds, st.o, st.ldo, st.max, st.sum, 2, 32, 0)
				if v := st.sum[at%SoftmaxLanes]; v == v {
					t.Errorf("%v at %d adds up to %v", bad, at, v)
				}
				for _, v := range st.sum[SoftmaxLanes:] {
					if v != 2 {
						t.Errorf("%v in one row makes the sum of the next %v", bad, v)
					}
				}
			}
		}
		st := newSoftmaxState(t, 1, 16, 16)
		copy(st.s, []float32{0, -86.9, -87.5, -1e30, -math.MaxFloat32, -inf, 1e-40, -1e-40})
		OnlineSoftmax(st.s, st.lds, st.o, st.ldo, st.max, st.sum, 1, 16, 16)
		for i, want := range []float64{1, math.Exp(-86.9), 0, 0, 0, 0, 1, 1} {
			if got := float64(st.s[i]); math.Abs(got-want) > 1e-6*want+2e-38 {
				t.Errorf("element %d is %v, want %v", i, got, want)
			}
		}
	})
}

func TestOnlineSoftmaxAllocates(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		st := newSoftmaxState(t, 3, 32, 32)
		if n := testing.AllocsPerRun(10, func() {
			OnlineSoftmax(st.s, st.lds, st.o, st.ldo, st.max, st.sum, 3, 32, 32)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestPackKeys(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, k := range []int{1, 2, 7, 8, 9, 15, 16, 23, 40, 64, 67} {
			for rows := 1; rows <= PanelWidth; rows++ {
				for _, first := range []int{0, 1, PanelWidth - rows} {
					if first+rows <= PanelWidth {
						testPackKeys(t, k, first, rows)
					}
				}
			}
		}
	})
}

func testPackKeys(t *testing.T, k, first, rows int) {
	t.Helper()
	lds := k + 3
	src := guardedFloats(t, (rows-1)*lds+k)
	copy(src, random(len(src), uint64(k)))
	panel := guardedFloats(t, k*PanelWidth)
	want := make([]float32, len(panel))
	for p := range k {
		for i := range rows {
			want[p*PanelWidth+first+i] = src[i*lds+p]
		}
	}
	PackKeys(panel, src, lds, first, rows, k)
	if !slices.Equal(panel, want) {
		t.Fatalf("k %d, rows %d from %d: the panel differs", k, rows, first)
	}
}

func TestRotate(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for pairs := range 70 {
			for _, extra := range []int{0, 1, 5} {
				dim := max(2*pairs+extra, 1)
				for _, vectors := range []int{0, 1, 3} {
					testRotate(t, pairs, dim, vectors)
				}
			}
		}
	})
}

func testRotate(t *testing.T, pairs, dim, vectors int) {
	t.Helper()
	cos, sin := guardedFloats(t, pairs), guardedFloats(t, pairs)
	cos2, sin2 := guardedFloats(t, 2*pairs), guardedFloats(t, 2*pairs)
	for i := range pairs {
		s, c := math.Sincos(float64(i) + 0.3)
		cos[i], sin[i] = float32(c), float32(s)
		cos2[2*i], cos2[2*i+1], sin2[2*i], sin2[2*i+1] = cos[i], cos[i], -sin[i], sin[i]
	}
	old := random(dim*vectors, 5)
	x, y := guardedFloats(t, len(old)), guardedFloats(t, len(old))
	copy(x, old)
	copy(y, old)
	RotateHalves(x, dim, cos, sin)
	RotatePairs(y, dim, cos2, sin2)
	for v := range vectors {
		in := old[v*dim : (v+1)*dim]
		for i := range pairs {
			checkPair(t, in[i], in[i+pairs], x[v*dim+i], x[v*dim+i+pairs], cos[i], sin[i])
			checkPair(t, in[2*i], in[2*i+1], y[v*dim+2*i], y[v*dim+2*i+1], cos[i], sin[i])
		}
		rest := in[2*pairs:]
		if !slices.Equal(x[v*dim+2*pairs:(v+1)*dim], rest) || !slices.Equal(y[v*dim+2*pairs:(v+1)*dim], rest) {
			t.Fatalf("%d pairs of %d elements: what is not rotated has changed", pairs, dim)
		}
	}
}

// checkPair checks that a, b was turned to x, y.
func checkPair(t *testing.T, a, b, x, y, cos, sin float32) {
	t.Helper()
	wantX := float64(a)*float64(cos) - float64(b)*float64(sin)
	wantY := float64(b)*float64(cos) + float64(a)*float64(sin)
	if math.Abs(float64(x)-wantX) > 1e-6 || math.Abs(float64(y)-wantY) > 1e-6 {
		t.Fatalf("(%v, %v) becomes (%v, %v), want (%v, %v)", a, b, x, y, wantX, wantY)
	}
}

func TestAttnPanics(t *testing.T) {
	x := make([]float32, 64)
	for name, f := range map[string]func(){
		"n":         func() { OnlineSoftmax(x, 16, x, 16, x, x, 1, 17, 16) },
		"cols":      func() { OnlineSoftmax(x, 16, x, 16, x, x, 1, 16, 8) },
		"scores":    func() { OnlineSoftmax(x[:15], 16, x, 16, x, x, 1, 16, 16) },
		"sums":      func() { OnlineSoftmax(x, 16, x, 16, x, x[:16], 2, 16, 16) },
		"panel":     func() { PackKeys(x[:63], x, 2, 0, 1, 2) },
		"panel row": func() { PackKeys(x, x, 2, 31, 2, 2) },
		"keys":      func() { PackKeys(x, x[:3], 2, 0, 2, 2) },
		"pairs":     func() { RotatePairs(x, 4, x[:5], x[:5]) },
		"halves":    func() { RotateHalves(x, 4, x[:3], x[:3]) },
		"tables":    func() { RotateHalves(x, 4, x[:2], x[:1]) },
		"vectors":   func() { RotateHalves(x, 5, x[:1], x[:1]) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func FuzzOnlineSoftmax(f *testing.F) {
	f.Add(uint64(1), 3, 2, 1, 10.0)
	f.Fuzz(func(t *testing.T, seed uint64, rows, n, cols int, spread float64) {
		rows, n, cols = 1+rows&7, 16*(1+n&7), 16*(cols&3)
		if !(math.Abs(spread) < 1e4) {
			t.Skip()
		}
		rng := rand.New(rand.NewPCG(seed, 1))
		st := newSoftmaxState(t, rows, n, cols)
		for range 3 {
			scores := make([]float32, len(st.s))
			for i := range scores {
				scores[i] = float32(rng.NormFloat64() * spread)
			}
			st.step(t, scores, random(len(st.o), seed))
		}
	})
}

// BenchmarkOnlineSoftmax measures against the multiply-adds that the tile's two
// products take: what attention loses to its softmax.
func BenchmarkOnlineSoftmax(b *testing.B) {
	cputest.BenchEachTier(b, func(b *testing.B) {
		for _, n := range []int{64, 128, 256} {
			b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
				const rows, cols = 12, 64
				scores, s := random(rows*n, 1), make([]float32, rows*n)
				o, maxima, sum := make([]float32, rows*cols), make([]float32, rows), make([]float32, rows*SoftmaxLanes)
				benchShare(b, float64(rows*n), func() float64 { return 0 }, "exp/ns", func() {
					copy(s, scores)
					OnlineSoftmax(s, n, o, cols, maxima, sum, rows, n, cols)
				})
			})
		}
	})
}
