package kernel

import (
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// checkTranspose transposes and looks at every element of dst, those between the rows
// included.
func checkTranspose(t *testing.T, rows, cols, ldd, lds int) {
	t.Helper()
	src := guardedFloats(t, max((rows-1)*lds+cols, 0))
	dst := guardedFloats(t, max((cols-1)*ldd+rows, 0))
	copy(src, random(len(src), 1))
	copy(dst, random(len(dst), 2))
	want := slices.Clone(dst)
	for i := range rows {
		for j := range cols {
			want[j*ldd+i] = src[i*lds+j]
		}
	}
	Transpose(dst, ldd, src, lds, rows, cols)
	if !slices.Equal(dst, want) {
		t.Fatalf("%d×%d with strides %d, %d: not the transpose", rows, cols, ldd, lds)
	}
}

func TestTranspose(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, rows := range []int{0, 1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 40} {
			for _, cols := range []int{0, 1, 3, 7, 8, 9, 16, 23, 32, 33, 64} {
				checkTranspose(t, rows, cols, rows, cols)
				checkTranspose(t, rows, cols, rows+5, cols+70)
				checkTranspose(t, rows, cols, rows+70, cols+5)
			}
		}
		// More than the assembly does in one call.
		checkTranspose(t, 1<<15+24, 8, 1<<15+30, 11)
		checkTranspose(t, 8, 1<<15+24, 11, 1<<15+30)
	})
}

func TestTransposeShort(t *testing.T) {
	x := make([]float32, 100)
	for _, f := range []func(){
		func() { Transpose(x[:99], 10, x, 10, 10, 10) },
		func() { Transpose(x, 10, x[:99], 10, 10, 10) },
		func() { Transpose(x, 9, x, 10, 10, 10) },
		func() { Transpose(x, 10, x, 9, 10, 10) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic on a short slice")
				}
			}()
			f()
		}()
	}
}

func FuzzTranspose(f *testing.F) {
	f.Add(uint8(9), uint8(17), uint8(3), uint8(0))
	f.Fuzz(func(t *testing.T, rows, cols, gapD, gapS uint8) {
		checkTranspose(t, int(rows), int(cols), int(rows)+int(gapD), int(cols)+int(gapS))
	})
}

// BenchmarkTranspose brings 32 vectors side by side, and back.
func BenchmarkTranspose(b *testing.B) {
	const n = 4096
	rows, panel := make([]float32, 32*n), make([]float32, 32*n)
	for _, bm := range []struct {
		name string
		f    func()
	}{
		{"in", func() { Transpose(panel, 32, rows, n, 32, n) }},
		{"out", func() { Transpose(rows, n, panel, 32, n, 32) }},
	} {
		b.Run(bm.name, func(b *testing.B) {
			cputest.BenchEachTier(b, func(b *testing.B) {
				b.SetBytes(4 * 32 * n)
				for b.Loop() {
					bm.f()
				}
			})
		})
	}
}
