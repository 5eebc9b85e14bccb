package par

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// count records how often each index was visited.
type count struct {
	visits []atomic.Int32
	grain  int
	bad    atomic.Int32
}

func (c *count) Run(lo, hi int) {
	if lo%c.grain != 0 || (hi%c.grain != 0 && hi != len(c.visits)) {
		c.bad.Add(1)
	}
	for i := lo; i < hi; i++ {
		c.visits[i].Add(1)
	}
}

func check(t *testing.T, n, grain int) {
	t.Helper()
	c := &count{visits: make([]atomic.Int32, n), grain: max(grain, 1)}
	Do(n, grain, c)
	for i := range c.visits {
		if v := c.visits[i].Load(); v != 1 {
			t.Fatalf("n=%d grain=%d: index %d visited %d times", n, grain, i, v)
		}
	}
	if c.bad.Load() != 0 {
		t.Fatalf("n=%d grain=%d: a chunk is off the grain", n, grain)
	}
}

func TestDoVisitsEachIndexOnce(t *testing.T) {
	for _, procs := range []int{1, 2, 4, 7} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		for _, grain := range []int{-1, 0, 1, 2, 7, 32, 1000} {
			for _, n := range []int{0, 1, 2, 3, 31, 32, 33, 100, 1023} {
				check(t, n, grain)
			}
		}
		for range 2000 {
			check(t, 64, 1)
		}
	}
}

func TestDoAfterSleep(t *testing.T) {
	for range 20 {
		check(t, 1000, 1)
		time.Sleep(2 * time.Millisecond)
	}
}

func TestDoNestedAndConcurrent(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				var sum atomic.Int64
				Do(10, 1, Func(func(lo, hi int) {
					Do(hi-lo, 1, Func(func(a, b int) { sum.Add(int64(b - a)) }))
				}))
				if sum.Load() != 10 {
					t.Errorf("nested loops did %d of 10 indices", sum.Load())
				}
			}
		})
	}
	wg.Wait()
}

func TestDoAllocatesNothing(t *testing.T) {
	c := &count{visits: make([]atomic.Int32, 100), grain: 1}
	Do(100, 1, c)
	if a := testing.AllocsPerRun(100, func() { Do(100, 1, c) }); a != 0 {
		t.Errorf("Do allocates %v times", a)
	}
}

// spin is a loop body of a fixed amount of arithmetic per index.
type spin struct {
	rounds int
	sink   [64]struct {
		v uint64
		_ [56]byte
	}
}

func (s *spin) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		x := uint64(i) | 1
		for range s.rounds {
			x = x*6364136223846793005 + 1442695040888963407
		}
		s.sink[i%64].v = x
	}
}

// BenchmarkDo compares a loop of two equal parts on the pool with the same loop
// on one core. With both cores free the ideal ratio is 0.5; the difference from
// half the serial time is the cost of fork and join.
func BenchmarkDo(b *testing.B) {
	for _, bm := range []struct {
		name   string
		rounds int
	}{{"2x1µs", 1000}, {"2x4µs", 4000}, {"2x40µs", 40000}} {
		s := &spin{rounds: bm.rounds}
		b.Run(bm.name+"/serial", func(b *testing.B) {
			for b.Loop() {
				s.Run(0, 2)
			}
		})
		b.Run(bm.name+"/forked", func(b *testing.B) {
			for b.Loop() {
				Do(2, 1, s)
			}
		})
	}
}

// BenchmarkDoBusy is BenchmarkDo while every core also runs something else.
func BenchmarkDoBusy(b *testing.B) {
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			s := &spin{rounds: 1000}
			for !stop.Load() {
				s.Run(0, 1)
			}
		})
	}
	BenchmarkDo(b)
	stop.Store(true)
	wg.Wait()
}
