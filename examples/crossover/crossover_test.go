package main

import (
	"bytes"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func points(times ...time.Duration) []point {
	var p []point
	for i, t := range times {
		p = append(p, point{length: 256 << i, prefill: t * time.Duration(256<<i), decode: t, state: int(t), flops: float64(t)})
	}
	return p
}

func TestCrossing(t *testing.T) {
	flat := curve{name: "flat", points: points(4, 4, 4, 4)}
	rising := curve{name: attentionName, points: points(1, 2, 8, 16)}
	for _, q := range quantities {
		// Between 512, where rising is at 2, and 1024, where it is at 8: half way.
		if got, want := crossing(q, flat, rising), 512*math.Sqrt2; math.Abs(got-want) > 1e-6 {
			t.Errorf("%s: crossing at %v, want %v", q.title, got, want)
		}
		if got := crossing(q, rising, flat); !math.IsInf(got, 1) {
			t.Errorf("%s: the one that ends above crosses at %v", q.title, got)
		}
		if got := crossing(q, curve{points: points(1, 1)}, curve{points: points(2, 2, 2)}); got != 256 {
			t.Errorf("%s: always below, but crosses at %v", q.title, got)
		}
		if got := crossing(q, curve{}, flat); !math.IsNaN(got) {
			t.Errorf("%s: nothing crosses at %v", q.title, got)
		}
	}
}

func TestExpected(t *testing.T) {
	c := curve{points: []point{{length: 256, prefill: 10}, {length: 512, prefill: 40}}}
	if got := c.expected(2048); got != 640 {
		t.Errorf("expected %v, want 640 ns: fourfold for each doubling", got)
	}
}

// TestRun measures all mixers at small sizes and looks at what comes out.
func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "curves.png")
	o, err := parse([]string{"-dim", "32", "-heads", "2", "-from", "16", "-to", "64", "-png", file})
	if err != nil {
		t.Fatal(err)
	}
	lengths := powers(o.from, o.to)
	var curves []curve
	for _, c := range contenders {
		cv, err := measure(c, o, lengths, func(int) {})
		if err != nil {
			t.Fatal(err)
		}
		if len(cv.points) != len(lengths) {
			t.Errorf("%s: %d points, want %d", c.name, len(cv.points), len(lengths))
		}
		for _, p := range cv.points {
			if p.prefill <= 0 {
				t.Errorf("%s: no time at length %d", c.name, p.length)
			}
		}
		curves = append(curves, cv)
	}
	var out bytes.Buffer
	report(&out, o, curves)
	for _, c := range contenders {
		if !strings.Contains(out.String(), c.name) {
			t.Errorf("the report does not name %s:\n%s", c.name, out.String())
		}
	}
	if err := drawCurves(file, curves); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := png.Decode(f); err != nil {
		t.Error(err)
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"-from", "0"}, {"-from", "8", "-to", "4"}, {"-threads", "0"}, {"-mixers", "rnn"}, {"file"}} {
		if err := run(args); err == nil {
			t.Errorf("%q gave no error", args)
		}
	}
}
