package tensor

import (
	"sync"
	"weak"

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
}

// A memory is what a Scratch hands out. It passes from one Scratch to another.
//
// It consists of blocks, which stay where they are when there are too few, so that memory
// grows without leaving garbage behind: beside weights of gigabytes, of which the
// collector waits for as many again, garbage would be there to stay.
type memory struct {
	blocks []block
	self   weak.Pointer[memory]
}

// A block is memory of which the first elements are in use.
type block struct {
	data []float32
	used int
}

const (
	leastBlock = 1 << 12 // elements
	mostBlocks = 16      // that Take has to look through
)

// memories holds what no Scratch is using, until the garbage collector takes it.
//
// What came last goes first. So where one Scratch is used within another, for a layer
// and what is in it, each gets back the memory that it had, and all together have what is
// in use at a time: with a sync.Pool, every one would grow to the size of the largest.
var memories struct {
	mu   sync.Mutex
	idle []weak.Pointer[memory]
}

func takeMemory() *memory {
	memories.mu.Lock()
	defer memories.mu.Unlock()
	for n := len(memories.idle); n > 0; n-- {
		m := memories.idle[n-1].Value()
		memories.idle = memories.idle[:n-1]
		if m != nil {
			return m
		}
	}
	m := new(memory)
	m.self = weak.Make(m)
	return m
}

func putMemory(m *memory) {
	memories.mu.Lock()
	memories.idle = append(memories.idle, m.self)
	memories.mu.Unlock()
}

// Take returns n float32s of undefined content, aligned to 64 bytes. They remain
// the caller's until the next Reset or Release.
func (s *Scratch) Take(n int) []float32 {
	if s.memory == nil {
		s.memory = takeMemory()
	}
	need := (n + 15) &^ 15
	b := s.memory.find(need)
	first := b.used
	b.used += need
	return b.data[first : first+n : first+n]
}

// find returns a block of which so many elements are not in use.
func (m *memory) find(need int) *block {
	largest := -1 // of those that are not in use
	for i := range m.blocks {
		b := &m.blocks[i]
		if len(b.data)-b.used >= need {
			return b
		}
		if b.used == 0 && (largest < 0 || len(b.data) > len(m.blocks[largest].data)) {
			largest = i
		}
	}
	if largest < 0 {
		largest = len(m.blocks)
		m.blocks = append(m.blocks, block{})
	}
	m.blocks[largest].data = pages.Temporary[float32](max(need, leastBlock))
	return &m.blocks[largest]
}

// Reset takes all buffers back.
func (s *Scratch) Reset() {
	if s.memory != nil {
		s.memory.reset()
	}
}

// reset takes all buffers back, and makes many blocks one.
func (m *memory) reset() {
	all := 0
	for i := range m.blocks {
		m.blocks[i].used = 0
		all += len(m.blocks[i].data)
	}
	if len(m.blocks) > mostBlocks {
		clear(m.blocks)
		m.blocks = append(m.blocks[:0], block{data: pages.Temporary[float32](all)})
	}
}

// Release is Reset that also lends the memory to others until this Scratch is used
// again. A Stream does so at the end of Mix, so that all layers of a model, and all
// sessions that wait for their turn, have the temporary memory of one.
func (s *Scratch) Release() {
	s.Reset()
	if s.memory != nil {
		putMemory(s.memory)
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
