package monarch_test

import (
	"fmt"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/tensor"
)

// linear is what both kinds of layers are.
type linear interface {
	seqmix.Streamer
	Out() int
	In() int
	Apply(dst, src tensor.Seq)
	Matrix() *monarch.Matrix
}

var linearConfigs = []monarch.LinearConfig{
	{In: 16, Out: 16},
	{In: 7, Out: 7, Blocks: 3},
	{In: 13, Out: 10, Bias: new(false)},
	{In: 10, Out: 15},
	{In: 48, Out: 192, Blocks: 4, Bias: new(true)},
	{In: 192, Out: 48, Blocks: 4, Bias: new(false)},
	{In: 5, Out: 3, Blocks: 7},
	{In: 70, Out: 70, Blocks: 2},
}

// newLinear returns a layer with random parameters.
func newLinear(t testing.TB, cfg monarch.LinearConfig, blockDiag bool) linear {
	t.Helper()
	r := newRand(5)
	if blockDiag {
		l, err := monarch.NewBlockDiag(cfg)
		if err != nil {
			t.Fatal(err)
		}
		l.Init(r)
		return l
	}
	l, err := monarch.NewLinear(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.Init(r)
	return l
}

// denseLinear returns the matrix of a layer by the definition.
func denseLinear(l linear, cfg monarch.LinearConfig) []float64 {
	p := map[string]*tensor.Tensor{}
	for name, t := range l.Params() {
		p[name] = t
	}
	n := cfg.Blocks
	if n == 0 {
		n = 4
	}
	in, out := (cfg.In+n-1)/n, (cfg.Out+n-1)/n
	full := make([]float64, n*out*n*in)
	if w := p["weight"]; w != nil {
		for i := range n * out {
			for j := range in {
				full[i*n*in+i/out*in+j] = float64(w.Data()[i*in+j])
			}
		}
		if cfg.Shuffle {
			plain := append([]float64(nil), full...)
			for i := range n * out {
				for j := range n * in {
					full[i*n*in+j%n*in+j/n] = plain[i*n*in+j]
				}
			}
		}
	} else {
		q := min(in, out)
		full = dense(monarch.Shape{K: n, Q: q, P: in, L: n, S: out, R: q}, p["blkdiag1"], p["blkdiag2"])
	}
	d := make([]float64, 0, cfg.Out*cfg.In)
	for i := range cfg.Out {
		d = append(d, full[i*n*in:i*n*in+cfg.In]...)
	}
	return d
}

func TestLinear(t *testing.T) {
	for _, cfg := range linearConfigs {
		for _, kind := range []string{"Monarch", "block-diagonal", "shuffled"} {
			cfg.Shuffle = kind == "shuffled"
			l := newLinear(t, cfg, kind != "Monarch")
			what := fmt.Sprintf("%s %+v", kind, cfg)
			want := denseLinear(l, cfg)
			wantClose(t, what+": matrix", l.Matrix().Dense().Data(), want, 2e-6)
			back := l.Matrix().Transpose().Dense()
			wantClose(t, what+": transpose", transposed(tensor.MatOf(back.Data(), cfg.In, cfg.Out)).Data, want, 2e-6)
			x := randomMat(newRand(3), 6, cfg.In)
			src, dst := tensor.SeqOf(x.Data, 2, 3, cfg.In), tensor.NewSeq(2, 3, cfg.Out)
			l.Apply(dst, src)
			for i := range x.Rows {
				y := make([]float64, cfg.Out)
				for o := range y {
					if cfg.Bias == nil || *cfg.Bias {
						y[o] = float64(biasOf(l).Data()[o])
					}
					for j, v := range x.Row(i) {
						y[o] += want[o*cfg.In+j] * float64(v)
					}
				}
				wantClose(t, what, dst.At(i/3, i%3), y, 3e-6)
			}
		}
	}
}

func biasOf(l linear) *tensor.Tensor {
	for name, p := range l.Params() {
		if name == "bias" {
			return p
		}
	}
	return nil
}

func TestLinearContract(t *testing.T) {
	for _, cfg := range linearConfigs {
		if cfg.In != cfg.Out {
			continue
		}
		for _, blockDiag := range []bool{false, true} {
			for _, o := range short.First([]mixtest.Options{{}, {Batch: 1, Len: 1}, {Batch: 3, Len: 50}}) {
				if err := mixtest.Test(newLinear(t, cfg, blockDiag), o); err != nil {
					t.Errorf("%+v, block-diagonal %v: %v", cfg, blockDiag, err)
				}
			}
		}
	}
}

// A layer that is a Monarch layer already is recovered by projecting it.
func TestLinearProject(t *testing.T) {
	for _, cfg := range linearConfigs {
		from := newLinear(t, cfg, false)
		to, err := monarch.NewLinear(cfg)
		if err != nil {
			t.Fatal(err)
		}
		want := from.Matrix().Dense()
		distance, err := to.Project(want, biasOf(from))
		if err != nil {
			t.Fatal(err)
		}
		wantClose(t, fmt.Sprintf("%+v", cfg), to.Matrix().Dense().Data(), want.Data(), 1e-5)
		if distance > 1e-5 {
			t.Errorf("%+v: distance %g", cfg, distance)
		}
	}
}

func TestLinearErrors(t *testing.T) {
	for _, cfg := range []monarch.LinearConfig{{}, {In: 3}, {Out: 3}, {In: 3, Out: 3, Blocks: -1}, {In: 1 << 40, Out: 3}} {
		if _, err := monarch.NewLinear(cfg); err == nil {
			t.Errorf("Linear %+v: no error", cfg)
		}
		if _, err := monarch.NewBlockDiag(cfg); err == nil {
			t.Errorf("BlockDiag %+v: no error", cfg)
		}
	}
	if _, err := monarch.NewLinear(monarch.LinearConfig{In: 4, Out: 4, Shuffle: true}); err == nil {
		t.Error("a Monarch layer that shuffles: no error")
	}
	if _, err := newLinear(t, monarch.LinearConfig{In: 4, Out: 8}, false).NewStream(1); err == nil {
		t.Error("a stream of a layer that is not square: no error")
	}
}
