// Package par runs loops on all cores with a fork and join of about a microsecond.
//
// The Go scheduler takes tens of microseconds to bring a second thread to life,
// longer than most kernels run. So a small pool of workers polls for the next
// loop for a short while after each one, and only then goes to sleep.
//
// The caller of [Do] takes part in the work and never waits for a worker to show
// up: each has a share of the chunks and claims them in order, fewer each time, so that
// it reads memory as one stream; whoever is done helps others from the ends of their
// shares. A worker that the operating system has taken off its core therefore costs
// nothing, unless it holds a chunk at that moment; after such a stall the pool is left
// alone for a while, so that a busy machine degrades to the speed of one core.
package par

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A Task is the body of a loop. Run works on the indices lo <= i < hi. Calls for
// disjoint ranges run at the same time on several goroutines.
type Task interface {
	Run(lo, hi int)
}

// Func makes a Task of a function. The conversion of a closure allocates; code
// that must not allocate keeps a struct with a Run method instead.
type Func func(lo, hi int)

// Run calls f.
func (f Func) Run(lo, hi int) { f(lo, hi) }

// Do runs t over [0, n), in chunks of at least grain indices, on up to GOMAXPROCS
// goroutines, and returns when all is done. It runs t inline if the loop is one
// chunk, if there is one processor, or if the pool is already at work: nested and
// concurrent calls thus use one core each.
//
// Chunks are multiples of grain, but for the last: a grain that keeps chunks on
// the boundaries of cache lines or panels is respected.
func Do(n, grain int, t Task) {
	if n <= 0 {
		return
	}
	grain = max(grain, 1)
	if n > grain { // runtime.GOMAXPROCS takes a lock
		if procs := runtime.GOMAXPROCS(0); procs > 1 && shared.tryDo(n, grain, procs, t) {
			return
		}
	}
	t.Run(0, n)
}

const (
	chunksPerWorker = 12                     // the less is left at the end, the less one waits for the other
	idlePolls       = 1200                   // how long a worker polls before it sleeps: 50 to 100 µs
	waitPolls       = 200                    // polls of the caller between two looks at the clock
	patience        = 100 * time.Microsecond // a longer wait for claimed chunks may be a stall
	stallClaims     = 3                      // if it is longer than what is claimed takes so many times
	maxPenalty      = 64                     // how many times the stall the pool is left alone at most
	maxShares       = 64                     // more workers only help others
)

// pool is a set of workers and the loop they work on.
type pool struct {
	loops  atomic.Uint64 // loops so far
	width  atomic.Int32  // shares of the loop
	_      [48]byte
	undone atomic.Int64 // chunks not finished
	_      [56]byte

	// The loop. Written by the caller before the shares, read after a claim.
	task  Task
	n     int
	chunk int
	_     [64]byte

	shares [maxShares]share

	mu       sync.Mutex // held by the caller for the whole loop
	workers  []*worker  // guarded by mu
	sleepers atomic.Int32
	stalls   stalls // guarded by mu
}

// share is a range of chunks that nobody has claimed yet: the first in the lower half of
// the word, the one behind the last in the upper. Whoever reads an outdated word of an
// earlier loop and finds the same one there claims a chunk of this loop.
type share struct {
	chunks atomic.Uint64
	_      [56]byte
}

func (s *share) set(first, end int) { s.chunks.Store(uint64(end)<<32 | uint64(first)) }

// claim takes chunks from lo to hi-1: half of what is left of the share from its front, so
// that the last ones are small, or the one at its end. It returns none if none is left.
func (s *share) claim(front bool) (lo, hi int) {
	for {
		v := s.chunks.Load()
		first, end := uint32(v), uint32(v>>32)
		if first >= end {
			return 0, 0
		}
		if front {
			lo, hi = int(first), int(first+(end-first+1)/2)
			first = uint32(hi)
		} else {
			lo, hi = int(end-1), int(end)
			end = uint32(lo)
		}
		if s.chunks.CompareAndSwap(v, uint64(end)<<32|uint64(first)) {
			return lo, hi
		}
	}
}

type worker struct {
	index  int // of its share; the caller's is 0
	asleep atomic.Bool
	wake   chan struct{}
}

var shared pool

// tryDo reports false, having done nothing, if the loop is better run inline.
func (p *pool) tryDo(n, grain, procs int, t Task) bool {
	if !p.mu.TryLock() {
		return false
	}
	defer p.mu.Unlock()
	if p.stalls.apart() {
		return false
	}
	for len(p.workers) < procs-1 {
		w := &worker{index: len(p.workers) + 1, wake: make(chan struct{}, 1)}
		p.workers = append(p.workers, w)
		go p.serve(w)
	}

	units := (n + grain - 1) / grain
	perChunk := (units + chunksPerWorker*procs - 1) / (chunksPerWorker * procs)
	p.task, p.n, p.chunk = t, n, perChunk*grain
	chunks := (n + p.chunk - 1) / p.chunk
	p.undone.Store(int64(chunks))
	p.divide(chunks, min(chunks, procs, maxShares))
	p.rouse(min(chunks, procs) - 1)
	begin := time.Now()
	own := p.work(0)
	// A worker may have begun its last chunk just before the caller ended its own.
	allowed := patience
	if own > 0 {
		allowed = max(patience, stallClaims*time.Since(begin)/time.Duration(own))
	}
	p.wait(allowed)
	p.task = nil
	return true
}

// wait polls until the chunks that workers hold are done. If that takes longer than
// allowed, a worker has been taken off its core.
func (p *pool) wait(allowed time.Duration) {
	var start time.Time
	for polls := 0; p.undone.Load() != 0; polls++ {
		pause()
		if polls%waitPolls != waitPolls-1 {
			continue
		}
		if start.IsZero() {
			start = time.Now()
			continue
		}
		// The worker may be waiting for this very processor.
		runtime.Gosched()
	}
	if start.IsZero() {
		return
	}
	if now := time.Now(); now.Sub(start) > allowed {
		p.stalls.add(now, now.Sub(start))
	}
}

// divide begins a loop.
func (p *pool) divide(chunks, width int) {
	p.width.Store(int32(width))
	for i := range width {
		p.shares[i].set(i*chunks/width, (i+1)*chunks/width)
	}
	p.loops.Add(1)
}

// work runs chunks until all are claimed, those of a share first, and returns how often it
// claimed some.
func (p *pool) work(index int) (ran int) {
	width := int(p.width.Load())
	for i := range width {
		s, own := &p.shares[(index+i)%width], i == 0 && index < width
		for {
			lo, hi := s.claim(own)
			if lo == hi {
				break
			}
			p.task.Run(lo*p.chunk, min(hi*p.chunk, p.n))
			p.undone.Add(int64(lo - hi))
			ran++
		}
	}
	return ran
}

// serve is the life of a worker.
func (p *pool) serve(w *worker) {
	var seen uint64
	for idle := 0; ; {
		if loops := p.loops.Load(); loops != seen {
			seen, idle = loops, 0
			p.work(w.index)
			continue
		}
		if idle++; idle < idlePolls {
			pause()
			continue
		}
		w.asleep.Store(true)
		p.sleepers.Add(1)
		if p.loops.Load() != seen && w.asleep.CompareAndSwap(true, false) {
			p.sleepers.Add(-1) // a loop began between the last poll and here
		} else {
			<-w.wake
		}
		idle = 0
	}
}

// rouse wakes up to count sleeping workers. The caller holds p.mu.
func (p *pool) rouse(count int) {
	if p.sleepers.Load() == 0 {
		return
	}
	for _, w := range p.workers {
		if count == 0 {
			return
		}
		if w.asleep.CompareAndSwap(true, false) {
			p.sleepers.Add(-1)
			w.wake <- struct{}{}
			count--
		}
	}
}
