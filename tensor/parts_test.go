package tensor

import "testing"

func TestParts(t *testing.T) {
	r := newRand()
	for _, d := range formats {
		for _, rows := range []int{1, 5, 60} {
			w, x := randomWeight(r, 150, 70, d), randomMat(r, rows, 70)
			for range 2 { // not packed, and packed
				all := MatOf(make([]float32, rows*150), rows, 150)
				MatMulT(all, x, w)
				testParts(t, all, x, w)
				w.Pack()
			}
		}
	}
}

// testParts compares parts of the product of x and w with all of it.
func testParts(t *testing.T, all, x Mat, w *Tensor) {
	t.Helper()
	p := PartsOf(x, w)
	defer p.Release()
	for _, part := range []struct{ lo, hi, first, n int }{
		{0, x.Rows, 0, 150}, {0, x.Rows, 0, 31}, {0, 1, 32, 32}, {x.Rows / 3, x.Rows, 64, 86}, {x.Rows - 1, x.Rows, 128, 22}, {0, x.Rows, 96, 0}, {1, 1, 32, 32},
	} {
		y, whole := framed(part.hi-part.lo, part.n)
		p.MatMulT(y, part.lo, part.first)
		checkFrame(t, whole)
		want := all.SliceRows(part.lo, part.hi).Slice(part.first, part.first+part.n)
		if i := firstDifference(compact(y), compact(want)); i >= 0 {
			t.Errorf("%+v of %v: element %d differs from that of the whole", part, w, i)
		}
	}
}

func TestPartsShapes(t *testing.T) {
	mat := func(rows, cols int) Mat { return MatOf(make([]float32, rows*cols), rows, cols) }
	mustPanic(t, "columns of src", true, func() { PartsOf(mat(3, 5), NewWeight(40, 4)) })
	p := PartsOf(mat(3, 4), NewWeight(40, 4))
	mustPanic(t, "too many outputs", true, func() { p.MatMulT(mat(3, 41), 0, 0) })
	mustPanic(t, "too many outputs after the first", true, func() { p.MatMulT(mat(3, 9), 0, 32) })
	mustPanic(t, "a first output within a unit", true, func() { p.MatMulT(mat(3, 2), 0, 2) })
	mustPanic(t, "a first output below zero", true, func() { p.MatMulT(mat(3, 2), 0, -PartUnit) })
	mustPanic(t, "too many rows", true, func() { p.MatMulT(mat(3, 8), 1, 0) })
	mustPanic(t, "a row below zero", true, func() { p.MatMulT(mat(3, 8), -1, 0) })
}

func TestPartsAllocateNothing(t *testing.T) {
	r := newRand()
	for _, d := range formats {
		w, x, y := randomWeight(r, 300, 200, d), randomMat(r, 40, 200), MatOf(make([]float32, 40*128), 40, 128)
		w.Pack()
		n := testing.AllocsPerRun(50, func() {
			p := PartsOf(x, w)
			p.MatMulT(y, 0, 128)
			p.Release()
		})
		if n != 0 && !raceEnabled {
			t.Errorf("a part of %v allocates %v times", w, n)
		}
	}
}
