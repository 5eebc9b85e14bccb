package tensor

import (
	"fmt"
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
)

// A Seq is a batch of sequences of vectors: Batch sequences of Len positions of
// Dim float32s each. It describes memory that somebody else owns, and is passed by
// value, like a slice.
//
// Channels are last and contiguous, positions follow one another without a gap:
// position i of sequence b is
//
//	Data[b*Stride+i*Dim : b*Stride+(i+1)*Dim]
//
// Stride is the distance between two sequences of the batch. It is at least
// Len*Dim, and larger in a Seq made by [Seq.Slice], whose positions are a part of
// longer sequences.
type Seq struct {
	Data   []float32
	Batch  int // number of sequences
	Len    int // positions in each
	Dim    int // width of the vector at a position
	Stride int // elements between sequences
}

// NewSeq allocates a zeroed Seq.
func NewSeq(batch, length, dim int) Seq {
	return SeqOf(make([]float32, batch*length*dim), batch, length, dim)
}

// SeqOf describes data as a batch of sequences, one right after the other. It
// panics with a *[ShapeError] if data does not have batch*length*dim elements.
func SeqOf(data []float32, batch, length, dim int) Seq {
	if batch < 0 || length < 0 || dim < 0 || len(data) != batch*length*dim {
		panic(&ShapeError{"tensor.SeqOf", []int{len(data)}, []int{batch, length, dim}})
	}
	return Seq{data, batch, length, dim, length * dim}
}

// At returns the vector at position i of sequence b, sharing memory with s.
func (s Seq) At(b, i int) []float32 {
	if uint(b) >= uint(s.Batch) || uint(i) >= uint(s.Len) {
		panic(fmt.Sprintf("tensor: position (%d, %d) of a Seq with %d sequences of length %d", b, i, s.Batch, s.Len))
	}
	o := b*s.Stride + i*s.Dim
	return s.Data[o : o+s.Dim : o+s.Dim]
}

// Slice returns positions i to j-1 of every sequence, sharing memory with s.
func (s Seq) Slice(i, j int) Seq {
	if i < 0 || j < i || j > s.Len {
		panic(fmt.Sprintf("tensor: Slice(%d, %d) of a Seq of length %d", i, j, s.Len))
	}
	if s.Batch > 0 {
		s.Data = s.Data[i*s.Dim : (s.Batch-1)*s.Stride+j*s.Dim]
	}
	s.Len = j - i
	return s
}

// Sequence returns sequence b as a batch of one, sharing memory with s.
func (s Seq) Sequence(b int) Seq {
	if uint(b) >= uint(s.Batch) {
		panic(fmt.Sprintf("tensor: Sequence(%d) of a batch of %d", b, s.Batch))
	}
	o, n := b*s.Stride, s.Len*s.Dim
	return Seq{s.Data[o : o+n], 1, s.Len, s.Dim, n}
}

// Contiguous reports whether the sequences follow one another without a gap, so
// that all positions of the batch are the rows of one matrix, see [Seq.Mat].
func (s Seq) Contiguous() bool { return s.Batch <= 1 || s.Stride == s.Len*s.Dim }

// Mat returns the positions as the rows of one matrix: those of sequence 0 first.
// It panics if s is not contiguous.
func (s Seq) Mat() Mat {
	if !s.Contiguous() {
		panic("tensor: Mat of a Seq whose sequences are not contiguous")
	}
	return Mat{s.Data, s.Batch * s.Len, s.Dim, s.Dim}
}

// rows returns all positions of the batch as the rows of one matrix, if they are that.
func (s Seq) rows() (m Mat, ok bool) {
	switch {
	case s.Contiguous():
		return s.Mat(), true
	case s.Len == 1:
		return Mat{s.Data, s.Batch, s.Dim, s.Stride}, true
	}
	return Mat{}, false
}

// Copy copies src to dst, which must have its shape.
func Copy(dst, src Seq) {
	CheckMix("tensor.Copy", dst, src, src.Dim)
	for b := range src.Batch {
		copy(dst.Sequence(b).Data, src.Sequence(b).Data)
	}
}

// valid reports whether the fields of s fit together.
func (s Seq) valid() bool {
	if s.Batch < 0 || s.Len < 0 || s.Dim < 0 {
		return false
	}
	n := s.Len * s.Dim
	return s.Batch == 0 || n == 0 ||
		(s.Batch == 1 || s.Stride >= n) && len(s.Data) >= (s.Batch-1)*s.Stride+n
}

func (s Seq) dims() []int { return []int{s.Batch, s.Len, s.Dim} }

// CheckMix panics with a *[ShapeError] unless src and dst are well formed, of the
// same shape and dim wide, and panics if their memory overlaps without being the
// same. It is the check at the head of every mixer's Mix; op names the caller, as
// in "ssm.Mamba.Mix".
func CheckMix(op string, dst, src Seq, dim int) {
	if !src.valid() || src.Dim != dim {
		panic(&ShapeError{op, src.dims(), []int{src.Batch, src.Len, dim}})
	}
	if !dst.valid() || dst.Batch != src.Batch || dst.Len != src.Len || dst.Dim != dim {
		panic(&ShapeError{op, dst.dims(), []int{src.Batch, src.Len, dim}})
	}
	if overlapInexactly(dst, src) {
		panic(op + ": dst and src overlap, but are not the same")
	}
}

// CheckSeq panics with a *[ShapeError] unless s is well formed and has the given
// shape. Negative numbers stand for any.
func CheckSeq(op string, s Seq, batch, length, dim int) {
	if s.valid() && fits(s.Batch, batch) && fits(s.Len, length) && fits(s.Dim, dim) {
		return
	}
	want := []int{batch, length, dim}
	for i, d := range s.dims() {
		if want[i] < 0 {
			want[i] = d
		}
	}
	panic(&ShapeError{op, s.dims(), want})
}

func fits(got, want int) bool { return want < 0 || got == want }

// SameMemory reports whether s and t describe the same elements in the same places.
func (s Seq) SameMemory(t Seq) bool {
	return s.Batch == t.Batch && s.Len == t.Len && s.Dim == t.Dim &&
		(s.Batch == 1 || s.Stride == t.Stride) &&
		len(s.Data) > 0 && len(t.Data) > 0 && &s.Data[0] == &t.Data[0]
}

// AddSeq computes dst = a + b at every position. dst may be a or b.
func AddSeq(dst, a, b Seq) {
	CheckMix("tensor.AddSeq", dst, a, a.Dim)
	CheckMix("tensor.AddSeq", dst, b, a.Dim)
	l := seqSums.Get().(*seqSum)
	*l = seqSum{dst, a, b}
	par.Do(a.Batch*a.Len, sumGrain/max(a.Dim, 1)+1, l)
	*l = seqSum{}
	seqSums.Put(l)
}

// sumGrain is the number of elements from which it is worth splitting a sum.
const sumGrain = 1 << 14

// seqSum is the sum of two sequences.
type seqSum struct{ dst, a, b Seq }

var seqSums = sync.Pool{New: func() any { return new(seqSum) }}

// Run computes positions lo to hi-1, counted through the batch.
func (l *seqSum) Run(lo, hi int) {
	for lo < hi {
		i, t := lo/l.a.Len, lo%l.a.Len
		n := min(hi-lo, l.a.Len-t)
		x, y, z := i*l.dst.Stride+t*l.a.Dim, i*l.a.Stride+t*l.a.Dim, i*l.b.Stride+t*l.a.Dim
		m := n * l.a.Dim
		kernel.Add(l.dst.Data[x:x+m], l.a.Data[y:y+m], l.b.Data[z:z+m])
		lo += n
	}
}
