package main

import (
	"runtime"
	"sync"
	"time"

	"github.com/seqmix/seqmix/internal/kernel"
)

// limits are what the machine can do at some moment, on all threads in use.
type limits struct {
	FMA  float64 // billion floating-point operations a second; 0 if it is not known
	Read float64 // GB/s from memory; likewise
}

func (l limits) max(o limits) limits { return limits{max(l.FMA, o.FMA), max(l.Read, o.Read)} }

// A prober measures limits.
type prober struct {
	threads int
	memory  []float32
}

// probeBytes is much more than caches hold.
const probeBytes = 512 << 20

func newProber(threads, bytes int) *prober {
	p := &prober{threads, make([]float32, bytes/4)}
	for i := range p.memory {
		p.memory[i] = 1 // pages that are only read are one page of zeros
	}
	return p
}

// measure takes some 30 ms. Both figures are the better of two.
func (p *prober) measure() limits {
	var best limits
	for range 2 {
		best = best.max(limits{p.fma(), p.read()})
	}
	return best
}

// fma lets all threads multiply and add together, and takes for each the fastest of its
// windows.
func (p *prober) fma() float64 {
	rates := make([]float64, p.threads)
	p.each(func(i int) {
		for range 20 {
			rates[i] = max(rates[i], kernel.PeakFMA())
		}
	})
	sum := 0.0
	for _, r := range rates {
		sum += r
	}
	return sum
}

// read lets all threads read their shares of memory.
func (p *prober) read() float64 {
	share := len(p.memory) / p.threads
	known := make([]bool, p.threads)
	begin := time.Now()
	p.each(func(i int) { known[i] = kernel.PeakRead(p.memory[i*share:(i+1)*share]) > 0 })
	if !known[0] {
		return 0
	}
	return float64(4*share*p.threads) / float64(time.Since(begin).Nanoseconds())
}

func (p *prober) each(f func(i int)) {
	var all sync.WaitGroup
	for i := range p.threads {
		all.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			f(i)
		})
	}
	all.Wait()
}
