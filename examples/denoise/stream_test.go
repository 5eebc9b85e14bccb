package main

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// whole runs a clip through a network in one piece.
func whole(t testing.TB, n *network, x []float32, level float32) []float32 {
	t.Helper()
	return inPieces(t, n, x, level, func() int { return len(x) })
}

// inPieces runs it in pieces of lengths that next returns.
func inPieces(t testing.TB, n *network, x []float32, level float32, next func() int) []float32 {
	t.Helper()
	d, err := newDenoiser(n, level)
	if err != nil {
		t.Fatal(err)
	}
	var out []float32
	for len(x) > 0 {
		k := min(next(), len(x))
		out = append(out, d.feed(x[:k])...)
		x = x[k:]
	}
	return append(out, d.finish()...)
}

// TestCuts checks that a clip gives the same bits however it is cut.
func TestCuts(t *testing.T) {
	for kind, bottleneck := range tinyBottlenecks {
		n := tinyNetwork(5, bottleneck).build(t)
		x := noise(6, 2500)
		want := whole(t, n, x, 0.1)
		rng := rand.New(rand.NewPCG(7, 8))
		for name, next := range map[string]func() int{
			"single samples": func() int { return 1 },
			"hops":           n.hop,
			"1 to 99":        func() int { return 1 + rng.IntN(99) },
			"0 to 3":         func() int { return rng.IntN(4) },
		} {
			if got := inPieces(t, n, x, 0.1, next); !slices.Equal(got, want) {
				t.Errorf("%s: cut into %s: result differs from that of the whole", kind, name)
			}
		}
	}
}

// TestDelay checks when samples come out: as soon as the look-ahead allows it, and
// none is lost.
func TestDelay(t *testing.T) {
	n := tinyNetwork(5, tinyMamba).build(t)
	const length = 300
	d, err := newDenoiser(n, 0.1)
	if err != nil {
		t.Fatal(err)
	}
	out := 0
	for i, v := range noise(6, length) {
		out += len(d.feed([]float32{v}))
		want := 0
		if i+1 >= n.frame() {
			want = (i + 1 - n.frame() + n.hop()) / n.hop() * n.hop()
		}
		if out != want {
			t.Fatalf("%d samples after %d, want %d", out, i+1, want)
		}
		if late := i + 1 - out; late > n.lookAhead() {
			t.Fatalf("%d samples late, look-ahead is %d", late, n.lookAhead())
		}
	}
	if out += len(d.finish()); out != length {
		t.Errorf("%d samples in the end, want %d", out, length)
	}
}

// TestEmptyClip finishes a clip that has not begun.
func TestEmptyClip(t *testing.T) {
	n := tinyNetwork(5, tinyMamba).build(t)
	d, err := newDenoiser(n, 0.1)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.finish(); len(got) != 0 {
		t.Errorf("%d samples from an empty clip", len(got))
	}
}

func TestThreads(t *testing.T) {
	for kind, bottleneck := range tinyBottlenecks {
		n := tinyNetwork(5, bottleneck).build(t)
		x := noise(6, 4000)
		before := runtime.GOMAXPROCS(1)
		one := whole(t, n, x, 0.1)
		runtime.GOMAXPROCS(2)
		two := whole(t, n, x, 0.1)
		runtime.GOMAXPROCS(before)
		if !slices.Equal(one, two) {
			t.Errorf("%s: the result depends on the number of threads", kind)
		}
	}
}
