package tensor

import (
	"runtime"
	"slices"
	"testing"
	"unsafe"
)

// numbered returns a Seq whose elements are 0, 1, 2 and so on.
func numbered(batch, length, dim int) Seq {
	s := NewSeq(batch, length, dim)
	for i := range s.Data {
		s.Data[i] = float32(i)
	}
	return s
}

func TestSeqSlicing(t *testing.T) {
	s := numbered(2, 5, 3)
	if got := s.At(1, 2); !slices.Equal(got, []float32{21, 22, 23}) || cap(got) != 3 {
		t.Errorf("At(1, 2) is %v with capacity %d", got, cap(got))
	}
	mid := s.Slice(1, 4)
	if mid.Len != 3 || mid.Batch != 2 || mid.Stride != 15 || mid.Contiguous() || mid.At(1, 2)[0] != 24 || mid.At(0, 0)[0] != 3 {
		t.Errorf("Slice(1, 4) is %+v", mid)
	}
	again := mid.Slice(1, 2)
	if again.At(0, 0)[0] != 6 || again.At(1, 0)[0] != 21 || len(again.Data) != 15+3 {
		t.Errorf("Slice of a slice: %+v", again)
	}
	one := mid.Sequence(1)
	if one.Batch != 1 || !one.Contiguous() || one.At(0, 0)[0] != 18 || len(one.Data) != 9 {
		t.Errorf("Sequence(1) is %+v", one)
	}
	if m := one.Mat(); m.Rows != 3 || m.Cols != 3 || m.Row(2)[1] != 25 {
		t.Errorf("Mat is %+v", m)
	}
	if m := s.Mat(); m.Rows != 10 || m.Row(9)[2] != 29 {
		t.Errorf("Mat of the batch is %+v", m)
	}
	for _, i := range []int{0, 3, 5} {
		if e := s.Slice(i, i); e.Len != 0 || e.Batch != 2 {
			t.Errorf("Slice(%d, %d) is %+v", i, i, e)
		} else {
			CheckMix("test", e, e, 3)
		}
	}
	if whole := s.Slice(0, 5); !whole.SameMemory(s) || !whole.Contiguous() {
		t.Errorf("Slice of everything: %+v", whole)
	}
	none := NewSeq(0, 4, 3)
	if none.Slice(1, 2).Len != 1 || !none.Contiguous() || none.Mat().Rows != 0 {
		t.Error("slicing an empty batch")
	}
	mustPanic(t, "At after the end", false, func() { s.At(0, 5) })
	mustPanic(t, "At before the beginning", false, func() { s.At(0, -1) })
	mustPanic(t, "At of a part sees the whole", false, func() { mid.At(0, 3) })
	mustPanic(t, "At beyond the batch", false, func() { s.At(2, 0) })
	mustPanic(t, "Slice backwards", false, func() { s.Slice(3, 2) })
	mustPanic(t, "Slice too far", false, func() { mid.Slice(0, 4) })
	mustPanic(t, "Sequence beyond the batch", false, func() { s.Sequence(2) })
	mustPanic(t, "Mat with gaps", false, func() { mid.Mat() })
	mustPanic(t, "SeqOf", true, func() { SeqOf(make([]float32, 7), 2, 2, 2) })
	mustPanic(t, "SeqOf with negative sizes", true, func() { SeqOf(make([]float32, 4), -2, -2, 1) })
}

func TestCopyAndAdd(t *testing.T) {
	a, b := numbered(2, 4, 3).Slice(1, 3), NewSeq(2, 2, 3)
	Copy(b, a)
	if !slices.Equal(b.Data, []float32{3, 4, 5, 6, 7, 8, 15, 16, 17, 18, 19, 20}) {
		t.Errorf("Copy: %v", b.Data)
	}
	AddSeq(b, a, b)
	AddSeq(b, b, b)
	if b.At(1, 1)[2] != 80 || b.At(0, 0)[0] != 12 {
		t.Errorf("AddSeq: %v", b.Data)
	}
	mustPanic(t, "Copy", true, func() { Copy(b, numbered(2, 3, 3)) })
	mustPanic(t, "AddSeq of other lengths", true, func() { AddSeq(b, a, numbered(2, 3, 3)) })
	mustPanic(t, "AddSeq to another batch", true, func() { AddSeq(NewSeq(1, 2, 3), a, a) })
}

func TestCheckMixShapes(t *testing.T) {
	s := NewSeq(2, 3, 4)
	CheckMix("test", s, s, 4)
	CheckMix("test", s, NewSeq(2, 3, 4), 4)
	CheckMix("test", NewSeq(0, 3, 4), NewSeq(0, 3, 4), 4)
	short := s
	short.Data = s.Data[:23]
	strange := s
	strange.Stride = 11 // sequences overlap
	negative := s
	negative.Len = -3
	for name, pair := range map[string][2]Seq{
		"width of src":      {s, NewSeq(2, 3, 5)},
		"width of dst":      {NewSeq(2, 3, 5), s},
		"length":            {NewSeq(2, 4, 4), s},
		"batch":             {NewSeq(1, 3, 4), s},
		"too little of dst": {short, NewSeq(2, 3, 4)},
		"too little of src": {NewSeq(2, 3, 4), short},
		"stride":            {NewSeq(2, 3, 4), strange},
		"stride of dst":     {strange, NewSeq(2, 3, 4)},
		"negative length":   {s, negative},
	} {
		mustPanic(t, name, true, func() { CheckMix("test", pair[0], pair[1], 4) })
	}
	mustPanic(t, "another width", true, func() { CheckMix("test", s, s, 5) })
}

func TestCheckSeq(t *testing.T) {
	s := NewSeq(2, 3, 4)
	CheckSeq("test", s, 2, 3, 4)
	CheckSeq("test", s, -1, -1, -1)
	CheckSeq("test", s, 2, -1, 4)
	mustPanic(t, "batch", true, func() { CheckSeq("test", s, 1, -1, -1) })
	mustPanic(t, "length", true, func() { CheckSeq("test", s, -1, 2, -1) })
	mustPanic(t, "width", true, func() { CheckSeq("test", s, -1, -1, 0) })
	s.Data = s.Data[:1]
	mustPanic(t, "too little data", true, func() { CheckSeq("test", s, -1, -1, -1) })
	if n := testing.AllocsPerRun(100, func() {
		x := Seq{Batch: 2, Len: 0, Dim: 4}
		CheckSeq("test", x, 2, -1, 4)
		CheckMix("test", x, x, 4)
	}); n != 0 {
		t.Errorf("checks allocate %v times", n)
	}
}

func TestShapeErrorMessage(t *testing.T) {
	defer func() {
		err, _ := recover().(error)
		if err == nil || err.Error() != "ssm.Mamba.Mix: shape [2 3 5], want [2 3 4]" {
			t.Errorf("panic with %v", err)
		}
	}()
	CheckMix("ssm.Mamba.Mix", NewSeq(2, 3, 4), NewSeq(2, 3, 5), 4)
}

func TestOverlap(t *testing.T) {
	data := make([]float32, 100)
	seq := func(from, batch, length, dim, stride int) Seq {
		return Seq{data[from : from+(batch-1)*stride+length*dim], batch, length, dim, stride}
	}
	for _, c := range []struct {
		name    string
		a, b    Seq
		overlap bool
	}{
		{"the same", seq(0, 2, 3, 4, 20), seq(0, 2, 3, 4, 20), false},
		{"one sequence, another stride", seq(0, 1, 3, 4, 12), seq(0, 1, 3, 4, 50), false},
		{"the same beginning, another stride", seq(0, 2, 3, 4, 12), seq(0, 2, 3, 4, 16), true},
		{"side by side", seq(0, 1, 3, 4, 12), seq(12, 1, 3, 4, 12), false},
		{"one element in common", seq(0, 1, 3, 4, 12), seq(11, 1, 3, 4, 12), true},
		{"one inside the other", seq(0, 1, 12, 4, 48), seq(8, 1, 3, 4, 12), true},
		{"interleaved", seq(0, 3, 2, 4, 20), seq(8, 3, 2, 4, 20), false},
		{"interleaved, shifted", seq(0, 3, 2, 4, 20), seq(7, 3, 2, 4, 20), true},
		{"the last position and the next first one", seq(0, 3, 2, 4, 20), seq(16, 3, 2, 4, 20), true},
		{"the second sequence", seq(0, 2, 2, 4, 20), seq(20, 2, 2, 4, 20), true},
		{"nothing", seq(0, 1, 0, 4, 0), seq(0, 1, 3, 4, 12), false},
	} {
		if got := overlapInexactly(c.a, c.b); got != c.overlap {
			t.Errorf("%s: overlap is %v", c.name, got)
		}
		if got := overlapInexactly(c.b, c.a); got != c.overlap {
			t.Errorf("%s, exchanged: overlap is %v", c.name, got)
		}
	}
	long := NewSeq(2, 6, 3)
	CheckMix("test", long.Slice(0, 3), long.Slice(3, 6), 3)
	mustPanic(t, "overlap", false, func() { CheckMix("test", long.Slice(0, 3), long.Slice(2, 5), 3) })
}

func TestSameMemory(t *testing.T) {
	s := NewSeq(2, 6, 3)
	for _, c := range []struct {
		name string
		t    Seq
		want bool
	}{
		{"itself", s, true},
		{"a slice of all", s.Slice(0, 6), true},
		{"a part", s.Slice(0, 5), false},
		{"another part", s.Slice(1, 6), false},
		{"a copy", NewSeq(2, 6, 3), false},
		{"another shape", SeqOf(s.Data, 2, 3, 6), false},
	} {
		if s.SameMemory(c.t) != c.want {
			t.Errorf("%s: SameMemory is %v", c.name, !c.want)
		}
	}
}

func TestMat(t *testing.T) {
	m := MatOf(numbered(1, 4, 5).Data, 4, 5)
	if got := m.Row(2); !slices.Equal(got, []float32{10, 11, 12, 13, 14}) || cap(got) != 5 {
		t.Errorf("Row(2) is %v with capacity %d", got, cap(got))
	}
	c := m.Slice(1, 3)
	if c.Cols != 2 || c.Stride != 5 || !slices.Equal(c.Row(3), []float32{16, 17}) || len(c.Data) != 17 {
		t.Errorf("Slice(1, 3) is %+v", c)
	}
	r := c.SliceRows(1, 3)
	if r.Rows != 2 || !slices.Equal(r.Row(1), []float32{11, 12}) || len(r.Data) != 7 {
		t.Errorf("SliceRows(1, 3) is %+v", r)
	}
	if e := c.SliceRows(4, 4); e.Rows != 0 || e.Cols != 2 {
		t.Errorf("no rows: %+v", e)
	}
	if e := (Mat{Cols: 5, Stride: 5}).Slice(2, 4); e.Rows != 0 || e.Cols != 2 {
		t.Errorf("columns of no rows: %+v", e)
	}
	mustPanic(t, "MatOf", true, func() { MatOf(make([]float32, 5), 2, 3) })
	mustPanic(t, "MatOf with negative sizes", true, func() { MatOf(make([]float32, 6), -2, -3) })
}

func TestScratch(t *testing.T) {
	var s Scratch
	for round := range 4 {
		s.Reset()
		var buffers [][]float32
		for i, n := range []int{3, 100, 0, 16, 1, 500 + 100*round} {
			b := s.Take(n)
			if len(b) != n || cap(b) != n {
				t.Fatalf("Take(%d) has length %d and capacity %d", n, len(b), cap(b))
			}
			if n > 0 && uintptr(unsafe.Pointer(&b[0]))%64 != 0 {
				t.Errorf("Take(%d) is not aligned", n)
			}
			for j := range b {
				b[j] = float32(i)
			}
			buffers = append(buffers, b)
		}
		for i, b := range buffers {
			for _, v := range b {
				if v != float32(i) {
					t.Fatalf("buffer %d overlaps another one", i)
				}
			}
		}
	}
	take := func() {
		s.Reset()
		s.Take(800)
		if x := s.TakeSeq(2, 3, 4); x.Batch != 2 || x.Len != 3 || x.Dim != 4 || !x.Contiguous() {
			t.Errorf("TakeSeq: %+v", x)
		}
	}
	take()
	if n := testing.AllocsPerRun(100, take); n != 0 {
		t.Errorf("a Scratch that has grown allocates %v times", n)
	}
}

// TestScratchRelease checks that memory passes from one Scratch to another, whichever of
// two is the larger, and that no memory is lent twice.
func TestScratchRelease(t *testing.T) {
	var a, b Scratch
	x := a.Take(100)
	a.Release()
	y, z := a.Take(100), b.Take(100)
	for i := range y {
		y[i], z[i] = 1, 2
	}
	if y[0] != 1 || z[0] != 2 {
		t.Error("two Scratches share memory")
	}
	a.Release()
	b.Release()
	b.Release()
	var none Scratch
	none.Release()
	turn := func(s *Scratch, n int) {
		s.Take(n)
		s.Take(50)
		s.Release()
	}
	turns := func() { turn(&a, 300); turn(&b, 2000); turn(&a, len(x)) }
	for range 3 {
		turns()
	}
	if n := testing.AllocsPerRun(100, turns); n != 0 && !raceEnabled {
		t.Errorf("Scratches that take turns allocate %v times", n)
	}
}

func TestBorrowedScratch(t *testing.T) {
	a, b := GetScratch(), GetScratch()
	if a == b {
		t.Fatal("the same Scratch lent twice")
	}
	x, y := a.Take(10), b.Take(10)
	x[0], y[0] = 1, 2
	if x[0] != 1 {
		t.Error("two Scratches share memory")
	}
	PutScratch(a)
	PutScratch(b)
}

// TestAddSeqOnCores adds sequences that are split in the middle, with gaps that stay as
// they are.
func TestAddSeqOnCores(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	const batch, length, dim, stride = 3, 1000, 40, 1001 * 40
	strided := func(v float32) Seq {
		s := Seq{Data: make([]float32, batch*stride), Batch: batch, Len: length, Dim: dim, Stride: stride}
		for i := range s.Data {
			s.Data[i] = v * float32(i)
		}
		return s
	}
	a, b := strided(1), strided(2)
	AddSeq(b, a, b)
	for i, got := range b.Data {
		want := 3 * float32(i)
		if i%stride >= length*dim {
			want = 2 * float32(i)
		}
		if got != want {
			t.Fatalf("element %d is %v, want %v", i, got, want)
		}
	}
	if n := testing.AllocsPerRun(50, func() { AddSeq(b, a, b) }); n != 0 && !raceEnabled {
		t.Errorf("AddSeq allocates %v times", n)
	}
}
