package tensor

import (
	"sync"
	"unsafe"
)

// A Scratch hands out temporary buffers from memory that it keeps, so that code
// which runs again and again allocates only the first time. The zero value is
// ready. A Scratch serves one goroutine at a time.
//
//	s.Reset()
//	a, b := s.Take(n), s.Take(m)
type Scratch struct {
	block []float32
	used  int
	spill int // elements handed out beyond block since Reset
}

// Take returns n float32s of undefined content, aligned to 64 bytes. They remain
// the caller's until the next Reset.
func (s *Scratch) Take(n int) []float32 {
	need := (n + 15) &^ 15
	if s.used+need > len(s.block) {
		s.spill += need
		return aligned(need)[:n:n]
	}
	b := s.block[s.used : s.used+n : s.used+n]
	s.used += need
	return b
}

// Reset takes all buffers back. Memory that did not fit since the last Reset is
// made part of what the Scratch keeps.
func (s *Scratch) Reset() {
	if s.spill > 0 {
		s.block = aligned(s.used + s.spill)
		s.spill = 0
	}
	s.used = 0
}

var scratches = sync.Pool{New: func() any { return new(Scratch) }}

// GetScratch lends a Scratch, reset, for the length of one call. A mixer's Mix uses
// it, since a Mixer itself holds no temporary memory; a Stream has its own Scratch.
func GetScratch() *Scratch {
	s := scratches.Get().(*Scratch)
	s.Reset()
	return s
}

// PutScratch gives back what GetScratch lent. The caller no longer uses it nor any
// buffer from it.
func PutScratch(s *Scratch) { scratches.Put(s) }

// aligned returns n zeroed float32s whose first lies on a cache line.
func aligned(n int) []float32 {
	if n == 0 {
		return nil
	}
	b := make([]float32, n+15)
	skip := int(-uintptr(unsafe.Pointer(&b[0]))/4) & 15
	return b[skip : skip+n : skip+n]
}

// TakeSeq is Take for a Seq.
func (s *Scratch) TakeSeq(batch, length, dim int) Seq {
	return SeqOf(s.Take(batch*length*dim), batch, length, dim)
}
