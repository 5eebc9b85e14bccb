package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// integerMatrix is an n×k matrix of int8 or int4, in panels and as what they stand for.
type integerMatrix struct {
	panels narrow
	ints   []int64   // n×k
	scales []float32 // n×⌈k/32⌉
	n, k   int
}

func q8Matrix(n, k int) integerMatrix {
	q, scales := make([]int8, n*k), make([]uint16, n*Q4RowBlocks(k))
	QuantizeQ8(q, scales, random(n*k, 5), n, k)
	p := make([]byte, Q8PanelLen(n, k))
	PackQ8Panels(p, q, scales, n, k)
	return q8MatrixOf(p, n, k)
}

// q8MatrixOf reads a matrix from panels, element by element.
func q8MatrixOf(panels []byte, n, k int) integerMatrix {
	w := integerMatrix{panels: narrow{u8: panels}, n: n, k: k}
	for j := range n {
		for p := range k {
			block := q8Block(panels, j, p, k)
			if p%QuantBlock == 0 {
				w.scales = append(w.scales, scaleValue(q8Scale(block, j%PanelWidth)))
			}
			w.ints = append(w.ints, int64(int8(block[q8Place(p%QuantBlock, j%PanelWidth)])))
		}
	}
	return w
}

// scaleValue is the value of a scale of int8 by its definition.
func scaleValue(code uint16) float32 {
	exponent, fraction := int(code>>10), float64(code&1023)
	switch {
	case exponent < 63:
		return float32(math.Ldexp(1+fraction/1024, exponent-40))
	case fraction == 0:
		return float32(math.Inf(1))
	}
	return float32(math.NaN())
}

func q4Matrix(n, k int) integerMatrix {
	codes, scales := make([]byte, n*Q4RowLen(k)), make([]uint16, n*Q4RowBlocks(k))
	QuantizeQ4(codes, scales, random(n*k, 5), n, k)
	p := make([]byte, Q4PanelLen(n, k))
	PackQ4Panels(p, codes, scales, n, k)
	return q4MatrixOf(p, n, k)
}

// q4MatrixOf reads a matrix from panels, element by element.
func q4MatrixOf(panels []byte, n, k int) integerMatrix {
	w := integerMatrix{panels: narrow{u4: panels}, n: n, k: k}
	for j := range n {
		for p := range k {
			block := q4Block(panels, j, p/QuantBlock, k)
			if p%QuantBlock == 0 {
				w.scales = append(w.scales, widenScale(q4Scale(block, j%PanelWidth)))
			}
			w.ints = append(w.ints, int64(Q4Codes[q4Code(block, p%QuantBlock, j%PanelWidth)]))
		}
	}
	return w
}

// gemm multiplies m rows with any stride.
func (w integerMatrix) gemm(c []float32, ldc int, a []float32, lda, m int, add bool) {
	x := make([]byte, SplitLen(m, w.k))
	SplitRows(x, a, lda, m, w.k)
	if w.panels.u8 != nil {
		GemmQ8(c, ldc, x, w.panels.u8, m, w.n, w.k, add)
	} else {
		GemmQ4(c, ldc, x, w.panels.u4, m, w.n, w.k, make([]byte, GemmQ4ScratchLen(w.k)), add)
	}
}

// block returns the integers and the scale of row j in block b.
func (w integerMatrix) block(j, b int) (ints []int64, scale float32) {
	row := w.ints[j*w.k : (j+1)*w.k]
	return row[b*QuantBlock : min((b+1)*QuantBlock, w.k)], w.scales[j*Q4RowBlocks(w.k)+b]
}

// integersOf returns the multiples of the unit that the elements of a block round to, by
// the definition: the unit is the smallest power of two, but not subnormal, of which no
// element rounds to more than digits hold.
func integersOf(a []float32) (x []int64, unit float64) {
	const most = 127<<15 + 1<<14 - 1
	var largest float64
	for _, v := range a {
		largest = max(largest, math.Abs(float64(v)))
	}
	unit = 0x1p-126
	for math.RoundToEven(largest/unit) > most {
		unit *= 2
	}
	for _, v := range a {
		x = append(x, int64(math.RoundToEven(float64(v)/unit)))
	}
	return x, unit
}

// product computes the product of a row with row j of w in the order and with the
// roundings that are promised.
func (w integerMatrix) product(a []float32, j int) float32 {
	var sum float32
	for b := range Q4RowBlocks(w.k) {
		ints, scale := w.block(j, b)
		x, unit := integersOf(a[b*QuantBlock : min((b+1)*QuantBlock, w.k)])
		var lower, upper int64
		for p, q := range ints {
			u := (x[p] + 1<<14) >> 15
			lower, upper = lower+q*(x[p]-u<<15), upper+q*u
		}
		// All of this but the rounding to float32 is exact in float64.
		s := float32(float64(upper)*(1<<15) + float64(float32(lower)))
		sum = fma32(s*float32(unit), scale, sum)
	}
	return sum
}

var integerFormats = []struct {
	name string
	make func(n, k int) integerMatrix
}{{"int8", q8Matrix}, {"int4", q4Matrix}}

// TestGemmIntegers compares with the promised arithmetic, to the bit but for the portable
// tier, for one row and for several.
func TestGemmIntegers(t *testing.T) {
	for _, f := range integerFormats {
		t.Run(f.name, func(t *testing.T) {
			for _, s := range productSizes {
				w := f.make(s[0], s[1])
				const most = 14
				a := random(most*(w.k+3), 1)
				want := make([]float32, most*w.n)
				for i := range want {
					want[i] = w.product(a[i/w.n*(w.k+3):], i%w.n)
				}
				forEachIntegerTier(t, func(t *testing.T) {
					for _, m := range []int{0, 1, 2, 3, 4, 5, most} {
						for _, add := range []bool{false, true} {
							testGemmIntegers(t, w, a, want, m, add)
						}
					}
				})
			}
		})
	}
}

// forEachIntegerTier is cputest.ForEachTier with one more, that of processors with
// AVX-512 but without its products of bytes.
func forEachIntegerTier(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	cputest.ForEachTier(t, func(t *testing.T) {
		f(t)
		if cpu.VNNI {
			cpu.VNNI = false
			defer func() { cpu.VNNI = true }()
			f(t)
		}
	})
}

func testGemmIntegers(t *testing.T, w integerMatrix, a, products []float32, m int, add bool) {
	t.Helper()
	ldc := w.n + 2
	want, got := random(m*ldc+1, 2), random(m*ldc+1, 2)
	w.gemm(got, ldc, a, w.k+3, m, add)
	for i := range m {
		for j := range w.n {
			p := products[i*w.n+j]
			if add {
				p += want[i*ldc+j]
			}
			want[i*ldc+j] = p
		}
	}
	for i := range want {
		if want[i] == got[i] {
			continue
		}
		if d := math.Abs(float64(want[i]) - float64(got[i])); cpu.Active() != cpu.TierGeneric || !(d < 1e-5*math.Sqrt(float64(w.k))) || i%ldc >= w.n {
			t.Fatalf("%d×%d×%d add=%v: element %d is %v, want %v", m, w.n, w.k, add, i, got[i], want[i])
		}
	}
}

// TestGemmIntegersError compares with the product in float64 of the elements as they are:
// each element may be off by 2^-22 of the largest of its block, and the sum of each block
// and the sum of blocks round a few times.
func TestGemmIntegersError(t *testing.T) {
	for _, f := range integerFormats {
		for _, s := range [][2]int{{33, 1}, {40, 32}, {64, 700}} {
			w := f.make(s[0], s[1])
			a := random(w.k, 9)
			a[w.k/2] *= 1000
			forEachIntegerTier(t, func(t *testing.T) {
				got := make([]float32, w.n)
				w.gemm(got, w.n, a, w.k, 1, false)
				for j := range got {
					var want, bound, size float64
					for b := range Q4RowBlocks(w.k) {
						ints, scale := w.block(j, b)
						var largest, weights float64
						for p, q := range ints {
							v, x := float64(q)*float64(scale), float64(a[b*QuantBlock+p])
							want, size = want+v*x, size+math.Abs(v*x)
							largest, weights = max(largest, math.Abs(x)), weights+math.Abs(v)
						}
						bound += largest * weights * 0x1p-22
					}
					bound += size * 0x1p-24 * float64(3+Q4RowBlocks(w.k))
					if d := math.Abs(float64(got[j]) - want); !(d <= bound) {
						t.Errorf("%s %d×%d: element %d is %v, want %v: off by %.3g, bound %.3g", f.name, w.n, w.k, j, got[j], want, d, bound)
					}
				}
			})
		}
	}
}

// TestGemmIntegersExtremes multiplies the largest integers of both kinds, tiny and huge
// elements, and what is not a number, in blocks of their own.
func TestGemmIntegersExtremes(t *testing.T) {
	const n, k = 40, 64
	q, scales := make([]int8, n*k), make([]uint16, 2*n)
	for i := range q {
		q[i] = int8(127 - 255*(i/k%2)) // or -128, which files may have
	}
	for i := range scales {
		scales[i] = roundQ8Scale(0.5)
	}
	panels := make([]byte, Q8PanelLen(n, k))
	PackQ8Panels(panels, q, scales, n, k)
	w := q8MatrixOf(panels, n, k)
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, v := range []float32{1, -1, 1.992187, -1.992187, 1.9921874, 1.9921875, 1.9999999, math.MaxFloat32 / 1e5, 1e-30, 1e-37, 1e-44, math.SmallestNonzeroFloat32, 0, inf, -inf, nan} {
		a := make([]float32, k)
		for i := range a[:QuantBlock] {
			a[i] = v
		}
		a[QuantBlock+5] = 3
		forEachIntegerTier(t, func(t *testing.T) {
			got := make([]float32, 2*n)
			w.gemm(got, n, slices.Repeat(a, 2), k, 2, false)
			one := make([]float32, n)
			w.gemm(one, n, a, k, 1, false)
			for j := range n {
				if v-v != 0 {
					if got[j] == got[j] || one[j] == one[j] {
						t.Errorf("times %v: %v and %v, want NaN", v, got[j], one[j])
					}
				} else if want := w.product(a, j); got[j] != want || got[n+j] != want || one[j] != want {
					t.Errorf("times %v: %v, %v and %v, want %v", v, got[j], got[n+j], one[j], want)
				}
			}
		})
	}
}

// TestSplitRows puts the digits together.
func TestSplitRows(t *testing.T) {
	const m, k, lda = 3, 70, 75
	a := random(m*lda, 4)
	a[3] = 2000
	clear(a[32:64])
	forEachIntegerTier(t, func(t *testing.T) {
		x := make([]byte, SplitLen(m, k))
		SplitRows(x, a, lda, m, k)
		for i := range m {
			for p := range k {
				block := a[i*lda+p/32*32 : i*lda+min(p/32*32+32, k)]
				want, unit := integersOf(block)
				got, u := splitElement(x[SplitLen(i, k)+p/32*splitBytes:], p%32)
				if got != want[p%32] || u != unit {
					t.Fatalf("row %d: element %d is %d·%v, want %d·%v", i, p, got, u, want[p%32], unit)
				}
			}
		}
	})
}

// splitElement returns an element of a split block.
func splitElement(block []byte, p int) (x int64, unit float64) {
	le := binary.LittleEndian
	unit = float64(math.Float32frombits(le.Uint32(block[splitUnit:])))
	if cpu.VNNI {
		return int64(int8(block[p]))<<15 + int64(int8(block[32+p]))<<8 + int64(int8(block[64+p])), unit
	}
	place := p % 4
	if cpu.AVX2 || cpu.AVX512 {
		place = []int{0, 2, 1, 3}[p%4]
	}
	quad := block[p/4*splitQuad+2*place:]
	return int64(int16(le.Uint16(quad))) + int64(int16(le.Uint16(quad[8:])))<<15, unit
}

func TestGemmIntegersGuard(t *testing.T) {
	for _, f := range integerFormats {
		for _, s := range guardedSizes {
			w := f.make(s[0], s[1])
			a, c := guardedFloats(t, 2*w.k), guardedFloats(t, 2*w.n)
			w.panels = w.panels.moveTo(guardedFloats(t, (len(w.panels.u8)+len(w.panels.u4)+3)/4))
			forEachIntegerTier(t, func(t *testing.T) {
				w.gemm(c[w.n:], w.n, a[w.k:], w.k, 1, true)
				w.gemm(c, w.n, a, w.k, 2, true)
			})
		}
	}
}

// FuzzGemmQ4 multiplies by any codes and scales, and compares with the promised
// arithmetic; FuzzGemmQ8 does so with any integers.
func FuzzGemmQ4(f *testing.F) { fuzzGemm(f, Q4PanelLen, q4MatrixOf) }
func FuzzGemmQ8(f *testing.F) { fuzzGemm(f, Q8PanelLen, q8MatrixOf) }

func fuzzGemm(f *testing.F, size func(n, k int) int, matrixOf func(panels []byte, n, k int) integerMatrix) {
	f.Add(uint8(64), uint8(33), []byte("block of codes and scales"))
	f.Add(uint8(5), uint8(200), []byte{0xff, 0x7f, 0x80, 0})
	f.Fuzz(func(t *testing.T, n, k uint8, data []byte) {
		if n == 0 || k == 0 || len(data) == 0 {
			return
		}
		panels := make([]byte, size(int(n), int(k)))
		for i := range panels {
			panels[i] = data[i%len(data)]
		}
		w := matrixOf(panels, int(n), int(k))
		a := random(2*w.k, 1)
		forEachIntegerTier(t, func(t *testing.T) {
			for m := 1; m <= 2; m++ {
				got := make([]float32, m*w.n)
				w.gemm(got, w.n, a, w.k, m, false)
				for i := range got {
					want := w.product(a[i/w.n*w.k:], i%w.n)
					if cpu.Active() == cpu.TierGeneric {
						if d := math.Abs(float64(want) - float64(got[i])); d <= 1e-5*math.Abs(float64(want)) {
							continue
						}
						var size float32
						for _, s := range w.scales {
							size = max(size, s, -s)
						}
						if d := math.Abs(float64(want) - float64(got[i])); d <= 1e-5*float64(size)*float64(w.k) {
							continue
						}
					}
					if want != got[i] && (want == want || got[i] == got[i]) {
						t.Fatalf("%d×%d×%d: element %d is %v, want %v", m, w.n, w.k, i, got[i], want)
					}
				}
			}
		})
	})
}

// BenchmarkGemmIntegers multiplies as many rows as a short prompt has, in turn with the
// product in float32.
func BenchmarkGemmIntegers(b *testing.B) {
	for _, f := range integerFormats {
		for _, s := range [][3]int{{512, 3072, 768}, {64, 768, 1536}, {8, 3072, 768}, {2, 3072, 768}} {
			m, n, k := s[0], s[1], s[2]
			w := f.make(32, k)
			w.n = n
			if w.panels.u8 != nil {
				w.panels.u8 = slices.Repeat(w.panels.u8, n/32)
			} else {
				w.panels.u4 = slices.Repeat(w.panels.u4, n/32)
			}
			a, c := random(m*k, 1), make([]float32, m*n)
			wide := slices.Repeat(packed(random(32*k, 2), 32, k), n/32)
			x, scratch := make([]byte, SplitLen(m, k)), make([]byte, GemmQ4ScratchLen(k))
			b.Run(fmt.Sprintf("%s/%dx%dx%d", f.name, m, n, k), func(b *testing.B) {
				cputest.BenchEachTier(b, func(b *testing.B) {
					work := 2 * float64(m) * float64(n) * float64(k)
					var limit float64
					probe := func() float64 {
						limit = work / nanoseconds(func() { Gemm(c, n, a, k, wide, m, n, k, false) })
						return limit
					}
					benchShare(b, work, probe, "GFLOP/s", func() {
						SplitRows(x, a, k, m, k)
						if w.panels.u8 != nil {
							GemmQ8(c, n, x, w.panels.u8, m, n, k, false)
						} else {
							GemmQ4(c, n, x, w.panels.u4, m, n, k, scratch, false)
						}
					})
				})
			})
		}
	}
}
