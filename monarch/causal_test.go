package monarch_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/tensor"
)

var causalConfigs = []monarch.CausalConfig{
	{Dim: 3, LMax: 16}, {Dim: 1, LMax: 1}, {Dim: 5, LMax: 13}, {Dim: 40, LMax: 150}, {Dim: 33, LMax: 64, Block: 64},
	{Dim: 2, LMax: 64, Block: 1}, {Dim: 4, LMax: 60, Block: 7}, {Dim: 96, LMax: 200, Block: 40},
}

func newCausalMixer(t testing.TB, cfg monarch.CausalConfig) *monarch.CausalMixer {
	t.Helper()
	m, err := monarch.NewCausalMixer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(newRand(6))
	return m
}

// naiveCausal returns the matrix by the definition.
func naiveCausal(m *monarch.CausalMixer) []float64 {
	cfg := m.Config()
	b, n := cfg.Block, cfg.LMax
	chunks := (n + b - 1) / b
	p := map[string][]float32{}
	for name, t := range m.Params() {
		p[name] = t.Data()
	}
	d := make([]float64, n*n)
	for i := range n {
		for j := range i + 1 {
			c, o, k, e := i/b, i%b, j/b, j%b
			if k == c {
				d[i*n+j] = float64(p["A"][(c*b+o)*b+e])
			} else {
				d[i*n+j] = float64(p["W2"][(o*chunks+c)*chunks+k]) * float64(p["W1"][(k*b+o)*b+e])
			}
		}
	}
	return d
}

func TestCausalMixer(t *testing.T) {
	for _, cfg := range causalConfigs {
		m := newCausalMixer(t, cfg)
		n := cfg.LMax
		want := naiveCausal(m)
		d := m.Dense()
		wantClose(t, fmt.Sprintf("%+v: matrix", cfg), d.Data(), want, 1e-6)
		lowerTriangular(t, fmt.Sprintf("%+v", cfg), d, 0)
		src, dst := randomSeq(1, 2, n, cfg.Dim), tensor.NewSeq(2, n, cfg.Dim)
		m.Mix(dst, src)
		y := make([]float64, len(dst.Data))
		for at := range y {
			s, i, c := at/(n*cfg.Dim), at/cfg.Dim%n, at%cfg.Dim
			for j := range n {
				y[at] += want[i*n+j] * float64(src.At(s, j)[c])
			}
		}
		wantClose(t, fmt.Sprintf("%+v", cfg), dst.Data, y, 3e-6)
	}
}

func TestCausalContract(t *testing.T) {
	for _, cfg := range causalConfigs {
		for _, o := range short.First([]mixtest.Options{{Len: 13}, {Batch: 1, Len: 1}, {Batch: 3, Len: 60}}) {
			o.Len = min(o.Len, cfg.LMax/2) // its streams run for longer than Len
			if o.Len == 0 {
				continue
			}
			if err := mixtest.Test(newCausalMixer(t, cfg), o); err != nil {
				t.Errorf("%+v, %d positions: %v", cfg, o.Len, err)
			}
		}
	}
}

// However a sequence is cut, the bits are the same.
func TestCausalStreamBits(t *testing.T) {
	for _, cfg := range causalConfigs {
		m := newCausalMixer(t, cfg)
		src := randomSeq(2, 2, cfg.LMax, cfg.Dim)
		want := tensor.NewSeq(2, cfg.LMax, cfg.Dim)
		m.Mix(want, src)
		for _, step := range []int{1, 3, 8, 61} {
			s, err := m.NewStream(2)
			if err != nil {
				t.Fatal(err)
			}
			got := tensor.NewSeq(2, cfg.LMax, cfg.Dim)
			for at := 0; at < cfg.LMax; at += step {
				end := min(at+step, cfg.LMax)
				s.Mix(got.Slice(at, end), src.Slice(at, end))
			}
			if !slices.Equal(got.Data, want.Data) {
				t.Errorf("%+v: other bits in pieces of %d", cfg, step)
			}
		}
	}
}

// What is not part of the matrix is not read: numbers there change nothing.
func TestCausalUnused(t *testing.T) {
	cfg := monarch.CausalConfig{Dim: 2, LMax: 14, Block: 4}
	m := newCausalMixer(t, cfg)
	before := m.Dense()
	for name, p := range m.Params() {
		n := p.Dim(2)
		for i := range p.Data() {
			row, col := i/n%n, i%n
			if name == "A" && col > row || name == "W2" && col >= row {
				p.Data()[i] = 1e30
			}
		}
	}
	if !slices.Equal(m.Dense().Data(), before.Data()) {
		t.Error("elements above the diagonal are used")
	}
}

func TestCausalErrors(t *testing.T) {
	for _, cfg := range []monarch.CausalConfig{{}, {Dim: 2}, {LMax: 2}, {Dim: 1, LMax: 4, Block: -1}, {Dim: 1, LMax: 4, Block: 5}, {Dim: 1, LMax: 1 << 24, Block: 1 << 23}} {
		if _, err := monarch.NewCausalMixer(cfg); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
	m := newCausalMixer(t, causalConfigs[0])
	if _, err := m.NewStream(0); err == nil {
		t.Error("a stream of no sequences: no error")
	}
	s, err := m.NewStream(1)
	if err != nil {
		t.Fatal(err)
	}
	x := tensor.NewSeq(1, 17, 3)
	s.Mix(x.Slice(0, 16), x.Slice(0, 16))
	defer func() {
		if _, ok := recover().(*tensor.ShapeError); !ok {
			t.Error("a position beyond LMax: no ShapeError")
		}
	}()
	s.Mix(x.Slice(16, 17), x.Slice(16, 17))
}
