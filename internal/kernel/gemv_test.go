package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/seqmix/seqmix/internal/cpu"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/pages"
	"github.com/seqmix/seqmix/internal/par"
)

// narrowMatrix is an n×k matrix in one of the narrow formats, and the same numbers
// in float32.
type narrowMatrix struct {
	wide   []float32 // panels
	panels narrow
	n, k   int
}

func bf16Matrix(n, k int) narrowMatrix {
	u := make([]uint16, n*k)
	Float32ToBF16(u, random(n*k, 5))
	w, p := make([]float32, n*k), make([]uint16, BF16PanelLen(n, k))
	BF16ToFloat32(w, u)
	PackBF16Panels(p, u, n, k)
	return narrowMatrix{packed(w, n, k), narrow{u16: p}, n, k}
}

// narrow is panels in one of the narrow formats.
type narrow struct {
	u16 []uint16
	u8  []byte
	u4  []byte
}

// TestGemmBF16 compares with the float32 product of the widened weights, to the
// bit, for one row and for several.
func TestGemmBF16(t *testing.T) {
	for _, s := range productSizes {
		w := bf16Matrix(s[0], s[1])
		cputest.ForEachTier(t, func(t *testing.T) {
			for _, m := range []int{0, 1, 2, 14} {
				for _, add := range []bool{false, true} {
					a := random(m*w.k, 1)
					want, got := random(m*w.n+1, 2), random(m*w.n+1, 2)
					Gemm(want, w.n, a, w.k, w.wide, m, w.n, w.k, add)
					GemmBF16(got, w.n, a, w.k, w.panels.u16, m, w.n, w.k, make([]float32, GemmScratchLen(w.k)), add)
					if !slices.Equal(want, got) {
						t.Fatalf("%d×%d×%d add=%v: differs from the product of the widened weights", m, w.n, w.k, add)
					}
				}
			}
		})
	}
}

// productSizes are outputs and inner elements around panels and blocks.
var productSizes = [][2]int{{1, 1}, {31, 2}, {32, 31}, {33, 32}, {40, 33}, {64, 65}, {70, 200}, {100, 1024}, {33, 1025}, {65, 1600}, {128, 36}, {96, 27}, {160, 1030}, {5, 0}}

func TestGemmBF16Guard(t *testing.T) {
	for _, s := range guardedSizes {
		w := bf16Matrix(s[0], s[1])
		a, c := guardedFloats(t, w.k), guardedFloats(t, w.n)
		panels := w.panels.moveTo(guardedFloats(t, (2*len(w.panels.u16)+3)/4))
		cputest.ForEachTier(t, func(t *testing.T) {
			GemmBF16(c, w.n, a, w.k, panels.u16, 1, w.n, w.k, nil, true)
		})
	}
}

var guardedSizes = [][2]int{{32, 33}, {7, 5}, {64, 64}, {64, 33}, {96, 7}}

func TestNarrowRoundTrip(t *testing.T) {
	const n, k = 45, 70
	u, back := make([]uint16, n*k), make([]uint16, n*k)
	Float32ToBF16(u, random(n*k, 5))
	p := make([]uint16, BF16PanelLen(n, k))
	PackBF16Panels(p, u, n, k)
	UnpackBF16Panels(back, p, n, k)
	if !slices.Equal(u, back) {
		t.Error("bfloat16 panels do not unpack to what was packed")
	}
	q, scales := make([]int8, n*k), make([]uint16, n*3)
	QuantizeQ8(q, scales, random(n*k, 5), n, k)
	p8 := make([]byte, Q8PanelLen(n, k))
	PackQ8Panels(p8, q, scales, n, k)
	q2, scales2 := make([]int8, n*k), make([]uint16, n*3)
	UnpackQ8Panels(q2, scales2, p8, n, k)
	if !slices.Equal(q, q2) || !slices.Equal(scales, scales2) {
		t.Error("int8 panels do not unpack to what was packed")
	}
	codes, scales4 := make([]byte, n*Q4RowLen(k)), make([]uint16, n*Q4RowBlocks(k))
	QuantizeQ4(codes, scales4, random(n*k, 5), n, k)
	p4 := make([]byte, Q4PanelLen(n, k))
	PackQ4Panels(p4, codes, scales4, n, k)
	codes2, scales42 := make([]byte, len(codes)), make([]uint16, len(scales4))
	UnpackQ4Panels(codes2, scales42, p4, n, k)
	if !slices.Equal(codes, codes2) || !slices.Equal(scales4, scales42) {
		t.Error("int4 panels do not unpack to what was packed")
	}
	row, row8 := make([]float32, k), make([]float32, k)
	row4, want4, want8 := make([]float32, k), make([]float32, k), make([]float32, k)
	for j := range n {
		Q4PanelRow(row4, p4, j, k)
		Q4Row(want4, codes[j*Q4RowLen(k):], scales4[j*Q4RowBlocks(k):])
		if !slices.Equal(row4, want4) {
			t.Fatalf("int4 row %d is %v, want %v", j, row4, want4)
		}
		BF16PanelRow(row, p, j, k)
		Q8PanelRow(row8, p8, j, k)
		Q8Row(want8, q[j*k:], scales[j*3:])
		if !slices.Equal(row8, want8) {
			t.Fatalf("int8 row %d is %v, want %v", j, row8, want8)
		}
		for i := range k {
			if want := math.Float32frombits(uint32(u[j*k+i]) << 16); row[i] != want {
				t.Fatalf("bfloat16 row %d: element %d is %v, want %v", j, i, row[i], want)
			}
			if want := float32(q[j*k+i]) * scaleValue(scales[j*3+i/32]); row8[i] != want {
				t.Fatalf("int8 row %d: element %d is %v, want %v", j, i, row8[i], want)
			}
		}
	}
}

func TestQuantizeQ8(t *testing.T) {
	w := random(40, 1)
	w[3] = -9
	q, s := make([]int8, 40), make([]uint16, 2)
	QuantizeQ8(q, s, w, 1, 40)
	for i, v := range w {
		scale := float64(scaleValue(s[i/32]))
		if d := math.Abs(float64(q[i])*scale - float64(v)); d > scale*0.500001 {
			t.Errorf("%v became %d·%v", v, q[i], scale)
		}
	}
	if q[3] != -127 {
		t.Errorf("the largest magnitude became %d", q[3])
	}
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, bad := range []float32{inf, -inf, nan} {
		w[5] = bad
		QuantizeQ8(q, s, w, 1, 40)
		if v := scaleValue(s[0]); v == v || q[0] == 0 {
			t.Errorf("a block with %v has scale %v", bad, v)
		}
		if v := scaleValue(s[1]); v != v {
			t.Errorf("%v reached the next block", bad)
		}
	}
}

// quantize4 returns what is left of one row of numbers in four bits.
func quantize4(w []float32) []float32 {
	codes, scales := make([]byte, Q4RowLen(len(w))), make([]uint16, Q4RowBlocks(len(w)))
	QuantizeQ4(codes, scales, w, 1, len(w))
	got := make([]float32, len(w))
	Q4Row(got, codes, scales)
	return got
}

// normal returns n normally distributed numbers.
func normal(n int) []float32 {
	r := rand.New(rand.NewPCG(3, 3))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// TestQuantizeQ4 checks the bound on the errors of blocks of any magnitude, and that
// numbers that are in the format stay what they are.
func TestQuantizeQ4(t *testing.T) {
	for _, size := range []float32{1, 1e-30, 3e38 / 5, 1e-3} {
		w := normal(32*200 + 9)
		w[32] = 5 // a block with one large number
		clear(w[64:96])
		for i := range w {
			w[i] *= size
		}
		got := quantize4(w)
		for lo := 0; lo < len(w); lo += 32 {
			checkQ4Block(t, got[lo:min(lo+32, len(w))], w[lo:min(lo+32, len(w))])
		}
		if again := quantize4(got); !slices.Equal(again, got) {
			t.Errorf("numbers of size %v change when they are quantized once more", size)
		}
	}
}

// TestQuantizeTiers tests that all tiers round to the same numbers: blocks of any kind,
// some of which are in the format already, and among them special ones.
func TestQuantizeTiers(t *testing.T) {
	for _, s := range [][2]int{{7, 320}, {40, 33}, {3, 31}, {50, 64}} {
		n, k := s[0], s[1]
		w := normal(n * k)
		for i := range w {
			switch i / 64 % 7 {
			case 1: // bfloat16
				w[i] = math.Float32frombits(math.Float32bits(w[i]) &^ 0xffff)
			case 2: // few different numbers
				w[i] = float32(math.Round(float64(w[i]) * 3))
			case 3: // one that is much larger
				if i%64 == 7 {
					w[i] *= 100
				}
			case 4: // int4
				w[i] = Q4Codes[int(math.Float32bits(w[i])>>5&15)] * 0.375
			case 5: // tiny, and subnormal
				w[i] *= 1e-38
			case 6: // around the smallest and the largest scale of int8
				w[i] *= []float32{1e-12, 1e-10, 1e-9, 1e8, 1e9}[i/448%5]
			}
		}
		w[n*k/3], w[n*k/2] = float32(math.Inf(1)), float32(math.NaN())
		q, scales := make([]int8, n*k), make([]uint16, n*Q4RowBlocks(k))
		codes, scales4 := make([]byte, n*Q4RowLen(k)), make([]uint16, n*Q4RowBlocks(k))
		var first []any
		cputest.ForEachTier(t, func(t *testing.T) {
			QuantizeQ8(q, scales, w, n, k)
			QuantizeQ4(codes, scales4, w, n, k)
			got := []any{slices.Clone(q), slices.Clone(scales), slices.Clone(codes), slices.Clone(scales4)}
			if first == nil {
				first = got
			}
			for i, what := range []string{"integers", "scales", "codes", "scales of int4"} {
				if !reflect.DeepEqual(got[i], first[i]) {
					t.Errorf("%d×%d: other %s than in another tier", n, k, what)
				}
			}
		})
	}
}

func BenchmarkQuantize(b *testing.B) {
	const n, k = 100, 1024
	w := normal(n * k)
	rounded := make([]float32, n*k)
	for i, v := range w {
		rounded[i] = math.Float32frombits(math.Float32bits(v) &^ 0xffff)
	}
	q, codes := make([]int8, n*k), make([]byte, n*Q4RowLen(k))
	scales, scales4 := make([]uint16, n*Q4RowBlocks(k)), make([]uint16, n*Q4RowBlocks(k))
	panels8, panels4 := make([]byte, Q8PanelLen(n, k)), make([]byte, Q4PanelLen(n, k))
	run := func(name string, f func()) {
		b.Run(name, func(b *testing.B) {
			cputest.BenchEachTier(b, func(b *testing.B) {
				b.SetBytes(4 * n * k)
				for b.Loop() {
					f()
				}
			})
		})
	}
	run("int8", func() { QuantizeQ8(q, scales, w, n, k) })
	run("int4", func() { QuantizeQ4(codes, scales4, w, n, k) })
	run("int4/bfloat16", func() { QuantizeQ4(codes, scales4, rounded, n, k) })
	run("int8/pack", func() { PackQ8Panels(panels8, q, scales, n, k) })
	run("int4/pack", func() { PackQ4Panels(panels4, codes, scales4, n, k) })
}

func checkQ4Block(t *testing.T, got, w []float32) {
	t.Helper()
	var largest float64
	for _, v := range w {
		largest = max(largest, math.Abs(float64(v)))
	}
	for i, v := range w {
		if d := math.Abs(float64(got[i]) - float64(v)); !(d <= 0.1500001*largest) {
			t.Errorf("%v in a block up to %v became %v", v, largest, got[i])
		}
		if v == 0 && got[i] != 0 {
			t.Errorf("0 became %v", got[i])
		}
	}
}

// TestQuantizeQ4Error compares the error of many weights with that of 16 equidistant
// numbers with the same number of bits, and with what it was found to be.
func TestQuantizeQ4Error(t *testing.T) {
	w := normal(32 * 2000)
	got := quantize4(w)
	var sum, even, size float64
	for lo := 0; lo < len(w); lo += 32 {
		var top float64
		for _, v := range w[lo : lo+32] {
			if math.Abs(float64(v)) > math.Abs(top) {
				top = float64(v)
			}
		}
		for i, v := range w[lo : lo+32] {
			x, s := float64(v), top/-8
			sum += (float64(got[lo+i]) - x) * (float64(got[lo+i]) - x)
			e := math.Min(7, math.RoundToEven(x/s))*s - x
			even += e * e
			size += x * x
		}
	}
	if r := math.Sqrt(sum / size); r > 0.076 {
		t.Errorf("relative error of normally distributed weights %.4f, want 0.075", r)
	}
	if sum > 0.8*even {
		t.Errorf("square error %.4g, of equidistant numbers %.4g", sum, even)
	}
}

func TestQuantizeQ4Bad(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, bad := range []float32{inf, -inf, nan} {
		w := random(70, 1)
		w[5] = bad
		for i, v := range quantize4(w) {
			if isNaN := v != v; isNaN != (i < 32) {
				t.Errorf("with %v at 5, element %d is %v", bad, i, v)
			}
		}
	}
	for _, v := range []float32{math.MaxFloat32, -math.MaxFloat32, 1e-35, 1e-38, 1e-45} {
		if got := quantize4([]float32{v, 0, v / 2})[0]; math.Abs(float64(got)-float64(v)) > 0.005*math.Abs(float64(v))+2e-36 {
			t.Errorf("%v became %v", v, got)
		}
	}
}

func TestHalves(t *testing.T) {
	all := make([]uint16, 1<<16)
	for i := range all {
		all[i] = uint16(i)
	}
	wide, back := make([]float32, len(all)), make([]uint16, len(all))
	F16ToFloat32(wide, all)
	for i, v := range wide {
		if want := halfValue(uint16(i)); float64(v) != want && !(math.IsNaN(want) && v != v) {
			t.Fatalf("binary16 %04x widens to %v, want %v", i, v, want)
		}
	}
	Float32ToF16(back, wide)
	for i := range all {
		if back[i] != all[i] && wide[i] == wide[i] {
			t.Fatalf("binary16 %04x comes back as %04x", i, back[i])
		}
	}
	BF16ToFloat32(wide, all)
	Float32ToBF16(back, wide)
	for i := range all {
		if back[i] != all[i] && wide[i] == wide[i] {
			t.Fatalf("bfloat16 %04x comes back as %04x", i, back[i])
		}
	}
	for _, c := range []struct {
		in        float32
		f16, bf16 uint16
	}{
		{1 + 1.0/2048, 0x3c00, 0x3f80}, {1 + 3.0/2048, 0x3c02, 0x3f80}, {65519, 0x7bff, 0x4780}, {65520, 0x7c00, 0x4780},
		{1e-8, 0, 0x322c}, {math.MaxFloat32, 0x7c00, 0x7f80}, {1.00390625, 0x3c04, 0x3f80}, {1.01171875, 0x3c0c, 0x3f82},
	} {
		Float32ToF16(back, []float32{c.in})
		if back[0] != c.f16 {
			t.Errorf("%v rounds to binary16 %04x, want %04x", c.in, back[0], c.f16)
		}
		Float32ToBF16(back, []float32{c.in})
		if back[0] != c.bf16 {
			t.Errorf("%v rounds to bfloat16 %04x, want %04x", c.in, back[0], c.bf16)
		}
	}
	// A NaN whose payload is in the low bits must not become an infinity.
	nan := []float32{math.Float32frombits(0x7f800001)}
	Float32ToF16(back, nan)
	Float32ToBF16(back[1:], nan)
	F16ToFloat32(wide, back[:1])
	BF16ToFloat32(wide[1:], back[1:2])
	if wide[0] == wide[0] || wide[1] == wide[1] {
		t.Errorf("NaN became %v and %v", wide[0], wide[1])
	}
}

// halfValue is the value of a binary16 number by its definition.
func halfValue(h uint16) float64 {
	sign := 1 - 2*float64(h>>15)
	e, f := int(h>>10&31), float64(h&1023)
	switch {
	case e == 31 && f != 0:
		return math.NaN()
	case e == 31:
		return math.Inf(int(sign))
	case e == 0:
		return sign * f * 0x1p-24
	}
	return sign * (1 + f/1024) * math.Ldexp(1, e-15)
}

// BenchmarkGemv multiplies one row by weights that come from memory, in turn with
// reading as many bytes, on one core and on all. Both walk through more memory than
// caches hold, a window of a megabyte or two at a time; of the many windows the fastest
// tenth says what the machine does when nobody disturbs it.
func BenchmarkGemv(b *testing.B) {
	const k, total, window = 768, 160 << 20, 1 << 20
	a, c := random(k, 1), make([]float32, window)
	memory := slices.Repeat(random(1<<20, 3), total>>22) // written to, or it would be one page of zeros
	read := func(lo, hi int) { probeRead(memory[lo/4 : hi/4]) }
	wide := slices.Repeat(packed(random(PanelWidth*k, 2), PanelWidth, k), total/(4*PanelWidth*k))
	bf16 := slices.Repeat(bf16Matrix(PanelWidth, k).panels.u16, total/(2*BF16PanelLen(1, k)))
	q8 := slices.Repeat(q8Matrix(PanelWidth, k).panels.u8, total/Q8PanelLen(1, k))
	q4 := slices.Repeat(q4Matrix(PanelWidth, k).panels.u4, total/Q4PanelLen(1, k))
	compact32, compact16 := compactPanels(true, k, total), compactPanels(false, k, total)
	for _, bm := range []struct {
		name  string
		panel int // bytes
		gemm  func(c []float32, panel, panels int)
	}{
		{"float32-compact", len(compact32.panels[0]), func(c []float32, i, n int) {
			compact32.Gemm(c, 0, a, k, i*PanelWidth, 1, n*PanelWidth, nil, false)
		}},
		{"bfloat16-compact", len(compact16.panels[0]), func(c []float32, i, n int) {
			compact16.Gemm(c, 0, a, k, i*PanelWidth, 1, n*PanelWidth, nil, false)
		}},
		{"float32", 4 * PanelLen(1, k), func(c []float32, i, n int) {
			Gemm(c, 0, a, k, wide[i*PanelLen(1, k):], 1, n*PanelWidth, k, false)
		}},
		{"bfloat16", 2 * BF16PanelLen(1, k), func(c []float32, i, n int) {
			GemmBF16(c, 0, a, k, bf16[i*BF16PanelLen(1, k):], 1, n*PanelWidth, k, nil, false)
		}},
		{"int8", Q8PanelLen(1, k), func(c []float32, i, n int) {
			var x [k / QuantBlock * splitBytes]byte
			SplitRows(x[:], a, k, 1, k)
			GemmQ8(c, 0, x[:], q8[i*Q8PanelLen(1, k):], 1, n*PanelWidth, k, false)
		}},
		{"int4", Q4PanelLen(1, k), func(c []float32, i, n int) {
			var x [k / QuantBlock * splitBytes]byte
			SplitRows(x[:], a, k, 1, k)
			GemmQ4(c, 0, x[:], q4[i*Q4PanelLen(1, k):], 1, n*PanelWidth, k, nil, false)
		}},
	} {
		for _, cores := range []int{1, runtime.GOMAXPROCS(0)} {
			b.Run(fmt.Sprintf("%s/cores=%d", bm.name, cores), func(b *testing.B) {
				cputest.BenchEachTier(b, func(b *testing.B) {
					if cpu.Active() == cpu.TierGeneric {
						b.Skip("no limit to compare with")
					}
					// Pieces begin at panels; each core takes one and then the next.
					panels := window * cores / bm.panel
					grain := panels
					if cores > 1 {
						grain = max(panels/(4*cores), 1)
					}
					gemv := func(at int) {
						par.Do(panels, grain, par.Func(func(lo, hi int) {
							bm.gemm(c[lo*PanelWidth:hi*PanelWidth], at/bm.panel+lo, hi-lo)
						}))
					}
					probe := func(at int) {
						par.Do(panels, grain, par.Func(func(lo, hi int) { read(at+lo*bm.panel, at+hi*bm.panel) }))
					}
					benchWindows(b, panels*bm.panel, total, probe, gemv)
				})
			})
		}
	}
}

// compactPanels returns copies of a panel of k columns that together take so many bytes.
func compactPanels(full bool, k, total int) *Compact {
	_, _, c := compactMatrix(full, PanelWidth, k, compactKinds["normal"])
	panel := c.panels[0]
	memory := pages.Make[byte](total)
	c.panels = c.panels[:0]
	for ; len(memory) >= len(panel); memory = memory[len(panel):] {
		copy(memory, panel)
		c.panels = append(c.panels, memory[:len(panel)])
	}
	return c
}

// benchWindows calls probe and f, which each read size bytes from the given place on, in
// turn, and reports their speeds.
func benchWindows(b *testing.B, size, total int, probe, f func(at int)) {
	b.Helper()
	var limits, rates []float64
	rate := func(f func(int), at int) float64 {
		begin := time.Now()
		f(at)
		return float64(size) / float64(time.Since(begin).Nanoseconds())
	}
	at := 0
	for b.Loop() {
		if at += size; at+size > total {
			at = 0
		}
		limits, rates = append(limits, rate(probe, at)), append(rates, rate(f, at))
	}
	slices.Sort(limits)
	slices.Sort(rates)
	got, limit := rates[len(rates)*9/10], limits[len(limits)*9/10]
	b.ReportMetric(got, "GB/s")
	b.ReportMetric(100*got/limit, "%read")
}
