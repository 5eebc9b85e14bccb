package tensor

import (
	"sync"

	"github.com/seqmix/seqmix/internal/pages"
)

// A Scratch hands out temporary buffers from memory that it keeps, so that code
// which runs again and again allocates only the first time. The zero value is
// ready. A Scratch serves one goroutine at a time.
//
//	s.Reset()
//	a, b := s.Take(n), s.Take(m)
//	…
//	s.Release()
type Scratch struct {
	memory *memory // nil until it is needed
	used   int
	spill  int // elements handed out beyond memory since Reset
}

// A memory is what a Scratch hands out. It passes from one Scratch to another.
type memory struct{ block []float32 }

// memories holds what no Scratch is using.
var memories = sync.Pool{New: func() any { return new(memory) }}

// Take returns n float32s of undefined content, aligned to 64 bytes. They remain
// the caller's until the next Reset or Release.
func (s *Scratch) Take(n int) []float32 {
	need := (n + 15) &^ 15
	if s.memory == nil {
		s.memory = memories.Get().(*memory)
	}
	if len(s.memory.block) < need && s.used == 0 {
		s.memory.block = pages.Make[float32](need)
	}
	block := s.memory.block
	if s.used+need > len(block) {
		s.spill += need
		return pages.Make[float32](need)[:n:n]
	}
	b := block[s.used : s.used+n : s.used+n]
	s.used += need
	return b
}

// Reset takes all buffers back. Memory that did not fit since the last Reset is
// made part of what the Scratch keeps.
func (s *Scratch) Reset() {
	if s.spill > 0 {
		s.memory.block = pages.Make[float32](s.used + s.spill)
		s.spill = 0
	}
	s.used = 0
}

// Release is Reset that also lends the memory to others until this Scratch is used
// again. A Stream does so at the end of Mix, so that all layers of a model, and all
// sessions that wait for their turn, have the temporary memory of one.
func (s *Scratch) Release() {
	s.Reset()
	if s.memory != nil {
		memories.Put(s.memory)
		s.memory = nil
	}
}

var scratches = sync.Pool{New: func() any { return new(Scratch) }}

// GetScratch lends a Scratch, reset, for the length of one call. A mixer's Mix uses
// it, since a Mixer itself holds no temporary memory; a Stream has a Scratch of its own.
func GetScratch() *Scratch { return scratches.Get().(*Scratch) }

// PutScratch gives back what GetScratch lent. The caller no longer uses it nor any
// buffer from it.
func PutScratch(s *Scratch) {
	s.Release()
	scratches.Put(s)
}

// TakeSeq is Take for a Seq.
func (s *Scratch) TakeSeq(batch, length, dim int) Seq {
	return SeqOf(s.Take(batch*length*dim), batch, length, dim)
}
