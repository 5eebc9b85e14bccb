package hyena

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/tensor"
)

func newStriped(t testing.TB, cfg CascadeConfig, seed uint64) *Striped {
	t.Helper()
	m, err := NewStriped(StripedConfig{CascadeConfig: cfg})
	if err != nil {
		t.Fatal(err)
	}
	m.Init(newRand(seed))
	return m
}

// naiveGates returns x2 and x1·v in float64. A mask of nil is one of ones.
func naiveGates(c *Cascade, z [][]float64, mask []float32) (x2, x1v [][]float64) {
	cfg := c.Config()
	d := cfg.Dim
	var bias []float32
	if c.short.Bias != nil {
		bias = c.short.Bias.Data()
	}
	z = naiveShort(c.short.Weight.Data(), bias, cfg.ShortLength, z)
	at := func(part, ch int) int {
		switch cfg.Split {
		case ByHead:
			hd := d / cfg.Heads
			return ch/hd*3*hd + part*hd + ch%hd
		case Interleaved:
			return 3*ch + part
		}
		return part*d + ch
	}
	x2, x1v = make([][]float64, len(z)), make([][]float64, len(z))
	for t := range z {
		x2[t], x1v[t] = make([]float64, d), make([]float64, d)
		for ch := range d {
			if mask == nil || mask[t] != 0 {
				x2[t][ch], x1v[t][ch] = z[t][at(0, ch)], z[t][at(1, ch)]*z[t][at(2, ch)]
			}
		}
	}
	return x2, x1v
}

// naiveCascade is the definition in float64.
func naiveCascade(c *Cascade, z [][]float64, mask []float32) [][]float64 {
	cfg := c.Config()
	d := cfg.Dim
	x2, x := naiveGates(c, z, mask)
	y := make([][]float64, len(z))
	for t := range y {
		y[t] = make([]float64, d)
	}
	if c.modal != nil {
		y = naiveModal(c.modal, x)
	} else {
		for t := range y {
			for ch := range d {
				h := c.h.Data()[ch*cfg.Groups/d*cfg.Length:][:cfg.Length]
				for lag := 0; lag <= t && lag < cfg.Length; lag++ {
					tap := h[lag]
					if cfg.Kind == ShortFilter {
						tap = h[cfg.Length-1-lag]
					}
					y[t][ch] += float64(tap) * x[t-lag][ch]
				}
				if c.d != nil {
					y[t][ch] += float64(c.d.Data()[ch]) * x[t][ch]
				}
			}
		}
	}
	return product(y, x2)
}

func naiveStriped(m *Striped, u [][]float64, mask []float32) [][]float64 {
	z := make([][]float64, len(u))
	for t := range z {
		z[t] = naiveLinear(m.in, u[t])
		for i := range z[t] {
			if mask != nil {
				z[t][i] *= float64(mask[t])
			}
		}
	}
	y := naiveCascade(m.cascade, z, mask)
	for t := range y {
		y[t] = naiveLinear(m.out, y[t])
	}
	return y
}

var no = false

var stripeds = map[string]CascadeConfig{
	"StripedHyena":          {Dim: 8, Heads: 2},
	"Evo":                   {Dim: 6, Heads: 3, States: 8, ShortLength: 5},
	"thirds":                {Dim: 5, Split: Thirds, ShortBias: &no, ShortLength: 1},
	"hcl":                   {Dim: 6, Kind: LongFilter},
	"hcm":                   {Dim: 6, Kind: MediumFilter, Groups: 2},
	"hcm, thirds":           {Dim: 20, Kind: MediumFilter, Split: Thirds, Length: 70, Groups: 20},
	"hcs":                   {Dim: 8, Kind: ShortFilter, Groups: 4},
	"hcs, by head, one tap": {Dim: 4, Kind: ShortFilter, Split: ByHead, Heads: 2, Length: 1},
}

func TestStriped(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for name, cfg := range stripeds {
			m := newStriped(t, cfg, 1)
			for _, n := range []int{1, 2, 5, 130, 300} {
				src := randomSeq(newRand(uint64(n)), 2, n, cfg.Dim)
				got := mix(m, src)
				for b := range 2 {
					want := slices.Concat(naiveStriped(m, rowsOf64(src, b), nil)...)
					wantClose(t, fmt.Sprintf("%s, %d positions", name, n), got.Sequence(b).Data, want, 5e-6)
				}
			}
		}
	})
}

func TestStripedMask(t *testing.T) {
	for name, cfg := range stripeds {
		m := newStriped(t, cfg, 1)
		src := randomSeq(newRand(2), 3, 40, cfg.Dim)
		mask := make([]float32, 3*40)
		for i := range mask {
			if b, at := i/40, i%40; b == 0 && at >= 7 || b == 1 && at < 30 || b == 2 && at%5 != 0 {
				mask[i] = 1
			}
		}
		got := like(src)
		m.MixMasked(got, src, mask)
		for b := range 3 {
			want := slices.Concat(naiveStriped(m, rowsOf64(src, b), mask[b*40:(b+1)*40])...)
			wantClose(t, name, got.Sequence(b).Data, want, 5e-6)
		}
	}
}

// TestCascade compares the cascade alone with the definition, whole and in pieces, and
// looks at the states on the way: prompts shorter than the filters included.
func TestCascade(t *testing.T) {
	for name, cfg := range stripeds {
		c := newStriped(t, cfg, 1).Cascade()
		d := cfg.Dim
		src := randomSeq(newRand(2), 2, 150, 3*d)
		whole := tensor.NewSeq(2, 150, d)
		gated := make([][][]float64, 2)
		for b := range gated {
			_, gated[b] = naiveGates(c, rowsOf64(src, b), nil)
		}
		c.Apply(whole, src)
		s, err := c.NewStream(2)
		if err != nil {
			t.Fatal(err)
		}
		got := tensor.NewSeq(2, 150, d)
		for n, piece := 0, 1; n < 150; piece = piece*2%37 + 1 {
			end := min(n+piece, 150)
			s.Apply(got.Slice(n, end), src.Slice(n, end))
			n = end
			short, inner := s.State()
			for i, k := range lengths(c.Config()) {
				st := []*tensor.Tensor{short, inner}[i]
				if k < 0 {
					continue
				}
				wantInputs(t, fmt.Sprintf("%s after %d positions: state %d", name, n, i), st, n, k, func(b, at, ch int) float64 {
					if i == 0 {
						return float64(src.At(b, at)[ch])
					}
					return gated[b][at][ch]
				})
			}
		}
		for b := range 2 {
			want := slices.Concat(naiveCascade(c, rowsOf64(src, b), nil)...)
			wantClose(t, name, whole.Sequence(b).Data, want, 5e-6)
			wantClose(t, name+" in pieces", got.Sequence(b).Data, want, 5e-6)
		}
	}
}

// lengths returns how many inputs the states of both filters hold, -1 if that of the
// inner one holds something else.
func lengths(c CascadeConfig) []int {
	if c.finite() {
		return []int{c.ShortLength - 1, c.Length - 1}
	}
	return []int{c.ShortLength - 1, -1}
}

// wantInputs checks a state that holds the last k inputs after n positions.
func wantInputs(t *testing.T, name string, st *tensor.Tensor, n, k int, input func(b, at, ch int) float64) {
	t.Helper()
	channels := st.Dim(1)
	if st.Dim(2) != k {
		t.Fatalf("%s: shape %v, want %d inputs", name, st.Shape(), k)
	}
	want := make([]float64, st.Len())
	for i := range want {
		b, ch, at := i/channels/k, i/k%channels, n-k+i%k
		if at >= 0 {
			want[i] = input(b, at, ch)
		}
	}
	if k > 0 {
		wantClose(t, name, st.Data(), want, 1e-5)
	}
}

func TestStripedContract(t *testing.T) {
	for name, cfg := range stripeds {
		t.Run(name, func(t *testing.T) {
			m := newStriped(t, cfg, 1)
			test := mixtest.Test
			if cfg.Kind == ModalFilter || cfg.Kind == LongFilter {
				test = sameBits
			}
			for _, o := range short.First([]mixtest.Options{{}, {Batch: 3, Len: 140}}) {
				if err := test(m, o); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestStripedParams(t *testing.T) {
	for name, want := range map[string]string{
		"StripedHyena": "projections.weight[24 8] projections.bias[24] filter.short_filter_weight[24 1 3] filter.short_filter_bias[24] filter.D[8] filter.poles[8 2 1 2] filter.residues[8 2 1 2] out_filter_dense.weight[8 8] out_filter_dense.bias[8]",
		"hcl":          "projections.weight[18 6] filter.short_filter_weight[18 1 3] filter.D[6] filter.log_poles[6 16 1] filter.residues[6 16] out_filter_dense.weight[6 6] out_filter_dense.bias[6]",
		"hcm":          "projections.weight[18 6] filter.short_filter_weight[18 1 3] filter.h[2 1 128] filter.D[6] out_filter_dense.weight[6 6] out_filter_dense.bias[6]",
		"hcs":          "projections.weight[24 8] filter.short_filter_weight[24 1 3] filter.h[4 1 7] out_filter_dense.weight[8 8] out_filter_dense.bias[8]",
	} {
		var got []string
		for n, p := range newStriped(t, stripeds[name], 1).Params() {
			got = append(got, fmt.Sprint(n, p.Shape()))
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: parameters %s, want %s", name, s, want)
		}
	}
}

// Parameters may be changed in place.
func TestStripedFollowsParameters(t *testing.T) {
	for name, cfg := range stripeds {
		m := newStriped(t, cfg, 1)
		src := randomSeq(newRand(2), 1, 20, cfg.Dim)
		s, err := m.NewStream(1)
		if err != nil {
			t.Fatal(err)
		}
		mix(m, src)
		for part, p := range m.Params() {
			v := p.Float32s()
			for i := range v {
				v[i] *= 0.875
			}
			p.SetFloat32s(v)
			want := slices.Concat(naiveStriped(m, rowsOf64(src, 0), nil)...)
			wantClose(t, name+": Mix after a change of "+part, mix(m, src).Data, want, 5e-6)
			s.Reset()
			got := like(src)
			s.Mix(got, src)
			wantClose(t, name+": stream after a change of "+part, got.Data, want, 5e-6)
		}
	}
}

func TestBlock(t *testing.T) {
	for _, flash := range []bool{true, false} {
		m := newStriped(t, CascadeConfig{Dim: 12, Heads: 3}, 1)
		b, err := NewBlock(BlockConfig{Dim: 12, FlashNorm: &flash, Eps: 0.1, MultipleOf: 16}, m, "")
		if err != nil {
			t.Fatal(err)
		}
		b.MLP.Init(newRand(2))
		r := newRand(3)
		for i := range 12 {
			b.PreNorm.Weight.Data()[i], b.PostNorm.Weight.Data()[i] = float32(r.NormFloat64()), float32(r.NormFloat64())
		}
		src := randomSeq(r, 2, 13, 12)
		normed, want := like(src), like(src)
		b.PreNorm.Mix(normed, src)
		m.Mix(want, normed)
		tensor.AddSeq(want, want, src)
		b.PostNorm.Mix(normed, want)
		b.MLP.Mix(normed, normed)
		tensor.AddSeq(want, want, normed)
		wantClose(t, "block", mix(b, src).Data, want.Data, 1e-6)
		if b.PreNorm.Outside == flash || b.MLP.Up.Out() != 32 {
			t.Errorf("norm %+v, inner width %d", b.PreNorm, b.MLP.Up.Out())
		}
		if err := mixtest.Test(b, mixtest.Options{}); err != nil {
			t.Error(err)
		}
		ones := slices.Repeat([]float32{1}, 2*13)
		got := like(src)
		b.MixMasked(got, src, ones)
		wantClose(t, "with a mask of ones", got.Data, want.Data, 1e-6)
	}
}

func TestStripedConfigErrors(t *testing.T) {
	for _, text := range []string{
		`{}`, `{"hidden_size": -1}`, `{"hidden_size": 8, "num_attention_heads": 3}`, `{"hidden_size": 8, "short_filter_length": -1}`,
		`{"hidden_size": 8, "filter_kind": "hcm", "filter_groups": 3}`, `{"hidden_size": 8, "filter_kind": "hcs", "filter_length": -7}`, `{"hidden_size": 8, "state_size": -1}`,
	} {
		var c StripedConfig
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		if _, err := NewStriped(c); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
	for _, text := range []string{`{"filter_kind": "hcx"}`, `{"split": "halves"}`} {
		if err := json.Unmarshal([]byte(text), new(StripedConfig)); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
	for _, c := range []CascadeConfig{{Dim: 4, Kind: 9}, {Dim: 4, Split: 9}} {
		if _, err := NewCascade(c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
	m := newStriped(t, CascadeConfig{Dim: 4}, 1)
	if _, err := m.NewStream(0); err == nil {
		t.Error("a stream of no sequences: no error")
	}
	var stack seqmix.Mixer = m
	for _, c := range []BlockConfig{{Dim: 5}, {Dim: 4, Inner: -1}, {Dim: 4, Eps: -1}} {
		if _, err := NewBlock(c, stack, ""); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}
