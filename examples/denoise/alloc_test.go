//go:build !race

// The race detector makes pools forget things.

package main

import "testing"

// TestSteadyState checks that a stream stops allocating. That of attention does not: it
// remembers everything.
func TestSteadyState(t *testing.T) {
	for kind, bottleneck := range tinyBottlenecks {
		if kind == "attention" {
			continue
		}
		n := tinyNetwork(5, bottleneck).build(t)
		d, err := newDenoiser(n, 0.1)
		if err != nil {
			t.Fatal(err)
		}
		x := noise(6, n.hop())
		for range 20 {
			d.feed(x)
		}
		if allocs := testing.AllocsPerRun(100, func() { d.feed(x) }); allocs != 0 {
			t.Errorf("%s: %v allocations for a hop", kind, allocs)
		}
	}
}
