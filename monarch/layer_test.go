package monarch_test

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/tensor"
)

var layerConfigs = []monarch.LayerConfig{{Dim: 4, LMax: 9}, {Dim: 1, LMax: 1}, {Dim: 12, LMax: 20}, {Dim: 35, LMax: 64}}

func newLayer(t testing.TB, cfg monarch.LayerConfig) *monarch.Layer {
	t.Helper()
	m, err := monarch.NewLayer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := newRand(8)
	m.Init(r)
	for name, p := range m.Params() {
		if name == "layer_norm.weight" || name == "layer_norm.bias" {
			randomize(r, p, 1)
		}
	}
	return m
}

// listed multiplies by the definition of the listing: y[s·L+l] = Σ_k R[l][s][…]·Σ_p L[k][…][p]·x[p·K+k].
func listed(l, r *tensor.Tensor, x []float64) []float64 {
	k, q, p := l.Dim(0), l.Dim(1), l.Dim(2)
	z := make([]float64, k*q)
	for a := range z {
		for j := range p {
			z[a] += float64(l.Data()[a*p+j]) * x[j*k+a/q]
		}
	}
	n, s, w := r.Dim(0), r.Dim(1), r.Dim(2)
	y := make([]float64, n*s)
	for b := range n {
		for o := range s {
			for j := range w {
				y[o*n+b] += float64(r.Data()[(b*s+o)*w+j]) * z[j*n+b]
			}
		}
	}
	return y
}

func naiveLayer(m *monarch.Layer, src tensor.Seq) []float64 {
	n, d := m.Config().LMax, m.Config().Dim
	p := map[string]*tensor.Tensor{}
	for name, t := range m.Params() {
		p[name] = t
	}
	relu := func(x []float64, scale func(i int) float32) []float64 {
		for i := range x {
			x[i] = max(0, x[i]*float64(scale(i)))
		}
		return x
	}
	u := make([][]float64, n)
	for t := range u {
		u[t] = make([]float64, d)
	}
	for c := range d {
		x := make([]float64, n)
		for t := range src.Len {
			x[t] = float64(src.At(0, t)[c])
		}
		h := relu(listed(p["m1.L"], p["m1.R"], x), func(t int) float32 { return p["n_kernel"].Data()[c*n+t] })
		for t, v := range listed(p["m2.L"], p["m2.R"], h) {
			u[t][c] = v
		}
	}
	var dst []float64
	for _, x := range u[:src.Len] {
		h := relu(listed(p["m3.L"], p["m3.R"], x), func(c int) float32 { return p["d_kernel"].Data()[c] })
		y := listed(p["m4.L"], p["m4.R"], h)
		for i := range y {
			y[i] += x[i]
		}
		w, b := make([]float64, d), make([]float64, d)
		for i := range w {
			w[i], b[i] = float64(p["layer_norm.weight"].Data()[i]), float64(p["layer_norm.bias"].Data()[i])
		}
		dst = append(dst, layerNorm(y, w, b)...)
	}
	return dst
}

func TestLayer(t *testing.T) {
	for _, cfg := range layerConfigs {
		m := newLayer(t, cfg)
		for _, length := range []int{1, (cfg.LMax + 1) / 2, cfg.LMax} {
			src := randomSeq(3, 2, length, cfg.Dim)
			dst := tensor.NewSeq(2, length, cfg.Dim)
			m.Mix(dst, src)
			for b := range 2 {
				want := naiveLayer(m, src.Sequence(b))
				if cfg.Dim == 1 { // the norm of one element is its bias
					for _, v := range dst.Sequence(b).Data {
						if math.Abs(float64(v)-want[0]) > 1e-6 {
							t.Errorf("%+v: %g, want %g", cfg, v, want[0])
						}
					}
					continue
				}
				wantClose(t, fmt.Sprintf("%+v, length %d", cfg, length), dst.Sequence(b).Data, want, 1e-5)
			}
		}
	}
}

func TestLayerContract(t *testing.T) {
	for _, cfg := range []monarch.LayerConfig{{Dim: 12, LMax: 20}, {Dim: 35, LMax: 64}} {
		m := newLayer(t, cfg)
		for name, p := range m.Params() {
			if name != "n_kernel" && name != "d_kernel" {
				continue
			}
			// Gradients have a kink where these are zero, whatever the input.
			for i, v := range p.Data() {
				p.Data()[i] = v + float32(math.Copysign(0.2, float64(v)))
			}
		}
		for _, o := range short.First([]mixtest.Options{{}, {Batch: 1, Len: 1}, {Batch: 3, Len: cfg.LMax}}) {
			if err := mixtest.Test(m, o); err != nil {
				t.Errorf("%+v, %d positions: %v", cfg, o.Len, err)
			}
		}
		if _, err := m.NewStream(1); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("NewStream: %v, want errors.ErrUnsupported", err)
		}
	}
	for _, cfg := range []monarch.LayerConfig{{}, {Dim: 1}, {LMax: 1}, {Dim: 1 << 20, LMax: 1 << 20}} {
		if _, err := monarch.NewLayer(cfg); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
}
