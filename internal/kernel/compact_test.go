package kernel

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// compactKinds are matrices for which few, some or all units can have codes.
var compactKinds = map[string]func(r *rand.Rand) float32{
	"normal":  func(r *rand.Rand) float32 { return float32(r.NormFloat64() / 50) },
	"cauchy":  func(r *rand.Rand) float32 { return float32(r.NormFloat64() / r.NormFloat64()) },
	"zeros":   func(r *rand.Rand) float32 { return float32(r.IntN(2)) * float32(r.NormFloat64()) },
	"wide":    func(r *rand.Rand) float32 { return float32(math.Ldexp(r.Float64()-0.5, r.IntN(120)-90)) },
	"nothing": func(r *rand.Rand) float32 { return float32(math.Copysign(0, r.NormFloat64())) },
	"tiny":    func(r *rand.Rand) float32 { return float32(r.NormFloat64() * 1e-41) },
}

// compactMatrix returns an n×k matrix row-major, and the same as float32 panels and compact.
func compactMatrix(full bool, n, k int, number func(r *rand.Rand) float32) (rows, panels []float32, c *Compact) {
	r := rand.New(rand.NewPCG(uint64(n), uint64(k)))
	rows = make([]float32, n*k)
	for i := range rows {
		rows[i] = number(r)
	}
	c = NewCompact(full, n, k, nil)
	if full {
		c.SetFloat32s(0, rows, n)
	} else {
		halves := make([]uint16, n*k)
		Float32ToBF16(halves, rows)
		BF16ToFloat32(rows, halves)
		c.SetBF16s(0, halves, n)
	}
	return rows, packed(rows, n, k), c
}

// compactSizes are outputs and inner elements around panels and blocks.
var compactSizes = [][2]int{{1, 4}, {31, 8}, {33, 32}, {70, 200}, {100, 1024}, {33, 1028}, {65, 1600}, {128, 36}, {5, 0}, {0, 8}}

// eachCompact calls f for matrices of all kinds and sizes.
func eachCompact(t *testing.T, f func(t *testing.T, full bool, n, k int, rows, panels []float32, c *Compact)) {
	for kind, number := range compactKinds {
		for _, full := range []bool{false, true} {
			for _, s := range compactSizes {
				rows, panels, c := compactMatrix(full, s[0], s[1], number)
				t.Run(fmt.Sprintf("%s/full=%v/%dx%d", kind, full, s[0], s[1]), func(t *testing.T) {
					f(t, full, s[0], s[1], rows, panels, c)
				})
			}
		}
	}
}

// TestCompactGemm compares with the product of the same numbers in float32, to the bit.
func TestCompactGemm(t *testing.T) {
	eachCompact(t, func(t *testing.T, full bool, n, k int, _, panels []float32, c *Compact) {
		cputest.ForEachTier(t, func(t *testing.T) {
			for _, m := range []int{0, 1, 2, 14} {
				for _, add := range []bool{false, true} {
					a := random(m*k, 1)
					want, got := random(m*n+1, 2), random(m*n+1, 2)
					Gemm(want, n, a, k, panels, m, n, k, add)
					c.Gemm(got, n, a, k, 0, m, n, make([]float32, GemmScratchLen(k)), add)
					if !slices.Equal(want, got) {
						t.Fatalf("%d rows, add=%v: differs from the product of the same numbers", m, add)
					}
				}
			}
			if n <= PanelWidth {
				return
			}
			a, want, got := random(k, 1), make([]float32, n), make([]float32, n-PanelWidth)
			Gemm(want, n, a, k, panels, 1, n, k, false)
			c.Gemm(got, n, a, k, PanelWidth, 1, len(got), nil, false)
			if !slices.Equal(want[PanelWidth:], got) {
				t.Fatal("a product with a part of the rows differs")
			}
		})
	})
}

// TestCompactRow looks rows up, which must be what was put in, to the bit.
func TestCompactRow(t *testing.T) {
	eachCompact(t, func(t *testing.T, _ bool, n, k int, rows, _ []float32, c *Compact) {
		row := make([]float32, k)
		for i := range n {
			c.Row(row, i)
			for p, v := range row {
				if want := rows[i*k+p]; math.Float32bits(v) != math.Float32bits(want) {
					t.Fatalf("element %d of row %d is %x, want %x", p, i, math.Float32bits(v), math.Float32bits(want))
				}
			}
		}
	})
}

// TestCompactTiers compares what the kernels pack with what portable code does.
func TestCompactTiers(t *testing.T) {
	eachCompact(t, func(t *testing.T, full bool, n, k int, rows, _ []float32, c *Compact) {
		cputest.ForEachTier(t, func(t *testing.T) {
			got := NewCompact(full, n, k, nil)
			if full {
				got.SetFloat32s(0, rows, n)
			} else {
				halves := make([]uint16, n*k)
				Float32ToBF16(halves, rows)
				got.SetBF16s(0, halves, n)
			}
			if !slices.EqualFunc(got.panels, c.panels, bytes.Equal) {
				t.Fatal("panels depend on the kernels that made them")
			}
		})
	})
}

// TestCompactParts sets rows piece by piece.
func TestCompactParts(t *testing.T) {
	const n, k = 100, 64
	rows, _, want := compactMatrix(true, n, k, compactKinds["cauchy"])
	got := NewCompact(true, n, k, nil)
	got.SetFloat32s(64, rows[64*k:], n-64)
	zero := make([]float32, k)
	if got.Row(zero, 0); slices.Max(zero) != 0 || slices.Min(zero) != 0 {
		t.Error("rows that were not set are not zero")
	}
	if got.memory.Load() == nil {
		t.Error("the memory for other rows is gone")
	}
	got.SetFloat32s(0, rows, 64)
	if got.memory.Load() != nil {
		t.Error("the memory that rows came from is kept when all were set")
	}
	if !slices.EqualFunc(got.panels, want.panels, bytes.Equal) {
		t.Error("panels depend on how many were made at a time")
	}
}

// TestCompactSpecial keeps the bits of numbers that are not finite.
func TestCompactSpecial(t *testing.T) {
	rows := random(8, 1)
	for _, bits := range []uint32{0x7f800000, 0xff800000, 0x7fc00000, 0xffc12345, 0x7f800001, 1, 0x80000001} {
		rows[5] = math.Float32frombits(bits)
		c, row := NewCompact(true, 1, 8, nil), make([]float32, 8)
		c.SetFloat32s(0, rows, 1)
		c.Row(row, 0)
		for i, v := range row {
			if math.Float32bits(v) != math.Float32bits(rows[i]) {
				t.Errorf("%x: element %d became %x", bits, i, math.Float32bits(v))
			}
		}
	}
}

// TestCompactBytes asks for what the format is for.
func TestCompactBytes(t *testing.T) {
	const n, k = 256, 768
	for _, full := range []bool{false, true} {
		_, _, c := compactMatrix(full, n, k, compactKinds["normal"])
		bits, most := float64(8*c.Bytes())/(n*k), 12.5
		if full {
			most = 28.5
		}
		if t.Logf("full=%v: %.2f bits", full, bits); bits > most {
			t.Errorf("full=%v: normally distributed numbers take %.2f bits, want at most %v", full, bits, most)
		}
	}
}

func TestCompactGuard(t *testing.T) {
	for _, full := range []bool{false, true} {
		for _, s := range [][2]int{{32, 36}, {7, 8}, {64, 64}} {
			rows, _, c := compactMatrix(full, s[0], s[1], compactKinds["cauchy"])
			a, out := guardedFloats(t, s[1]), guardedFloats(t, s[0])
			last := c.panels[len(c.panels)-1]
			end := narrow{u8: last}.moveTo(guardedFloats(t, len(last)/4)).u8
			c.panels[len(c.panels)-1] = end
			panels := guardedFloats(t, PanelLen(1, s[1]))
			cputest.ForEachTier(t, func(t *testing.T) {
				c.Gemm(out, s[0], a, s[1], 0, 1, s[0], nil, true)
				c.widenBlock(panels, end)
				if full {
					NewCompact(true, s[0], s[1], nil).SetFloat32s(0, rows, s[0])
				}
			})
		}
	}
}

func FuzzCompact(f *testing.F) {
	f.Add(uint8(3), uint8(2), false, []byte("some bytes that are taken for numbers"))
	f.Add(uint8(40), uint8(7), true, []byte{0, 0, 0x80, 0x3f, 0xff, 0xff, 0x7f, 0xff})
	f.Fuzz(func(t *testing.T, n, quads uint8, full bool, raw []byte) {
		k := int(quads) % 80 * CompactK
		if len(raw) == 0 || n == 0 {
			return
		}
		i := 0
		next := func(*rand.Rand) float32 {
			var bits uint32
			for range 4 {
				bits = bits<<8 | uint32(raw[i%len(raw)])
				i++
			}
			i += i / len(raw) % 3
			if v := math.Float32frombits(bits); v-v == 0 {
				return v
			}
			return 1
		}
		rows, panels, c := compactMatrix(full, int(n), k, next)
		cputest.ForEachTier(t, func(t *testing.T) {
			a, row := random(k, 1), make([]float32, k)
			want, got := make([]float32, n), make([]float32, n)
			Gemm(want, int(n), a, k, panels, 1, int(n), k, false)
			c.Gemm(got, int(n), a, k, 0, 1, int(n), nil, false)
			for j := range n {
				if w, g := want[j], got[j]; w != g && (w == w || g == g) {
					t.Fatalf("output %d is %v, want %v", j, g, w)
				}
				c.Row(row, int(j))
				for p, v := range row {
					if math.Float32bits(v) != math.Float32bits(rows[int(j)*k+p]) {
						t.Fatalf("element %d of row %d is %v, want %v", p, j, v, rows[int(j)*k+p])
					}
				}
			}
		})
	})
}

// BenchmarkCompactSet makes panels of a piece of a matrix.
func BenchmarkCompactSet(b *testing.B) {
	const n, k = 160, 768
	rows, halves := random(n*k, 1), make([]uint16, n*k)
	Float32ToBF16(halves, rows)
	b.Run("float32", func(b *testing.B) {
		c := NewCompact(true, n, k, nil)
		b.SetBytes(4 * n * k)
		for b.Loop() {
			c.SetFloat32s(0, rows, n)
		}
	})
	b.Run("bfloat16", func(b *testing.B) {
		c := NewCompact(false, n, k, nil)
		b.SetBytes(2 * n * k)
		for b.Loop() {
			c.SetBF16s(0, halves, n)
		}
	})
}
