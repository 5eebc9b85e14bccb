package attention_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// multiHeads are configurations that have little in common.
var multiHeads = map[string]attention.MultiHeadConfig{
	"plain":           {Dim: 24, Heads: 3},
	"one of each":     {Dim: 1, Heads: 1},
	"Llama":           {Dim: 16, Heads: 4, KVHeads: 2, RoPE: &attention.RoPEConfig{}},
	"Mistral":         {Dim: 16, Heads: 4, KVHeads: 1, HeadDim: 6, Left: new(4), RoPE: &attention.RoPEConfig{Base: 500000}},
	"Qwen3":           {Dim: 12, Heads: 4, KVHeads: 2, HeadDim: 8, QKNorm: true, RoPE: &attention.RoPEConfig{Base: 1e6}},
	"Qwen2":           {Dim: 12, Heads: 2, QKVBias: true, RoPE: &attention.RoPEConfig{}},
	"Based":           {Dim: 32, Heads: 2, Layout: attention.Wqkv, Left: new(64), RoPE: &attention.RoPEConfig{}},
	"half rotary":     {Dim: 20, Heads: 2, Layout: attention.Wqkv, QKVBias: true, OutBias: true, RoPE: &attention.RoPEConfig{Dim: 5}},
	"fused, grouped":  {Dim: 10, Heads: 4, KVHeads: 2, HeadDim: 33, Layout: attention.Wqkv, OutBias: true},
	"interleaved":     {Dim: 14, Heads: 2, Layout: attention.WqWkWvWo, RoPE: &attention.RoPEConfig{Interleaved: true, Dim: 6}},
	"linear scaling":  {Dim: 8, Heads: 1, RoPE: &attention.RoPEConfig{Scaling: &attention.Scaling{Type: attention.LinearScaling, Factor: 4}}},
	"frequencies":     {Dim: 8, Heads: 1, RoPE: &attention.RoPEConfig{Frequencies: []float64{1, 0.1, 0.03}}},
	"ALiBi":           {Dim: 18, Heads: 6, KVHeads: 3, ALiBi: true, Layout: attention.QKVOut},
	"slopes, window":  {Dim: 8, Heads: 2, Slopes: []float32{0.5, 0.01}, Left: new(70)},
	"softcap, scale":  {Dim: 8, Heads: 2, Softcap: 1.5, Scale: 0.9},
	"CleanUNet":       {Dim: 24, Heads: 4, Layout: attention.WqsWksWvs},
	"own only":        {Dim: 9, Heads: 3, Left: new(0)},
	"bidirectional":   {Dim: 16, Heads: 4, KVHeads: 2, Right: -1, RoPE: &attention.RoPEConfig{}},
	"window both way": {Dim: 16, Heads: 2, Left: new(2), Right: 3},
}

// newMultiHead returns a mixer with random parameters.
func newMultiHead(t testing.TB, cfg attention.MultiHeadConfig, seed uint64) *attention.MultiHead {
	t.Helper()
	m, err := attention.NewMultiHead(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := newRand(seed)
	m.Init(r)
	for name, p := range m.Params() {
		if strings.HasSuffix(name, "_norm.weight") {
			nn.Uniform(p, r, 2)
		} else if strings.HasSuffix(name, ".weight") {
			// Scores of about 1, so that the softmax is not a mere mean.
			nn.Normal(p, r, 1.2/math.Sqrt(float64(p.Dim(1))))
		}
	}
	return m
}

// naiveMultiHead computes the layer from its definition, in float64.
func naiveMultiHead(m *attention.MultiHead, src tensor.Seq) []float64 {
	c := m.Config()
	p := map[string][]float64{}
	var order []string // of layers
	for name, t := range m.Params() {
		for _, v := range t.Float32s() {
			p[name] = append(p[name], float64(v))
		}
		if layer, ok := strings.CutSuffix(name, ".weight"); ok {
			order = append(order, layer)
		}
	}
	linear := func(name string, x []float64, first, n int) []float64 {
		y := make([]float64, n)
		for i := range y {
			if b := p[name+".bias"]; b != nil {
				y[i] = b[first+i]
			}
			for j, v := range x {
				y[i] += p[name+".weight"][(first+i)*len(x)+j] * v
			}
		}
		return y
	}
	width, kvWidth := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	qAt, kAt, vAt := 0, width, width+kvWidth
	qName, kName, vName, outName := order[0], order[0], order[0], order[1]
	if !c.Layout.Fused() {
		kName, vName, outName, kAt, vAt = order[1], order[2], order[3], 0, 0
	}
	out := make([]float64, 0, src.Batch*src.Len*src.Dim)
	for b := range src.Batch {
		q, k, v := make([][]float64, src.Len), make([][]float64, src.Len), make([][]float64, src.Len)
		for i := range src.Len {
			x := float64s(src.At(b, i))
			q[i], k[i], v[i] = linear(qName, x, qAt, width), linear(kName, x, kAt, kvWidth), linear(vName, x, vAt, kvWidth)
			naivePosition(c, q[i], p["q_norm.weight"], i)
			naivePosition(c, k[i], p["k_norm.weight"], i)
		}
		for i := range src.Len {
			var y []float64
			for h := range c.Heads {
				kv := h / (c.Heads / c.KVHeads) * c.HeadDim
				y = append(y, naiveHead(c, h, q[i][h*c.HeadDim:(h+1)*c.HeadDim], k, v, kv, i)...)
			}
			out = append(out, linear(outName, y, 0, c.Dim)...)
		}
	}
	return out
}

// naivePosition normalises and rotates the heads of x, which is position pos.
func naivePosition(c attention.MultiHeadConfig, x, norm []float64, pos int) {
	for ; len(x) > 0; x = x[c.HeadDim:] {
		head := x[:c.HeadDim]
		if norm != nil {
			sum := 0.0
			for _, v := range head {
				sum += v * v
			}
			for i := range head {
				head[i] *= norm[i] / math.Sqrt(sum/float64(c.HeadDim)+float64(c.NormEps))
			}
		}
		if c.RoPE != nil {
			naiveRotate(*c.RoPE, head, pos)
		}
	}
}

// naiveRotate knows stored frequencies, and of scaling what divides positions.
func naiveRotate(c attention.RoPEConfig, head []float64, pos int) {
	r := c.Dim
	if r == 0 {
		r = len(head) / 2 * 2
	}
	base, factor := c.Base, 1.0
	if base == 0 {
		base = 10000
	}
	if c.Scaling != nil {
		factor = c.Scaling.Factor
	}
	pairs := (r + 1) / 2
	if c.Frequencies != nil {
		pairs = len(c.Frequencies)
	}
	for i := range pairs {
		angle := float64(pos) / factor * math.Pow(base, -2*float64(i)/float64(r))
		if c.Frequencies != nil {
			angle = float64(pos) * c.Frequencies[i]
		}
		j, k := i, i+pairs
		if c.Interleaved {
			j, k = 2*i, 2*i+1
		}
		a, b := head[j], head[k]
		head[j] = a*math.Cos(angle) - b*math.Sin(angle)
		head[k] = b*math.Cos(angle) + a*math.Sin(angle)
	}
}

// naiveHead computes one query at position p. Keys and values of its head begin at kv.
func naiveHead(c attention.MultiHeadConfig, h int, q []float64, k, v [][]float64, kv, p int) []float64 {
	out, sum := make([]float64, len(q)), 0.0
	var weights []float64
	for j := range k {
		s := math.Inf(-1)
		if (c.Left == nil || j >= p-*c.Left) && (c.Right < 0 || j <= p+c.Right) {
			s = 0
			for i, x := range q {
				s += x * k[j][kv+i]
			}
			s *= float64(c.Scale)
			if c.Softcap != 0 {
				s = float64(c.Softcap) * math.Tanh(s/float64(c.Softcap))
			}
			if c.Slopes != nil {
				s -= float64(c.Slopes[h]) * math.Abs(float64(p-j))
			}
		}
		weights = append(weights, s)
	}
	top := slices.Max(weights)
	for j, s := range weights {
		w := math.Exp(s - top)
		sum += w
		for i := range out {
			out[i] += w * v[j][kv+i]
		}
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

func float64s(v []float32) []float64 {
	w := make([]float64, len(v))
	for i := range v {
		w[i] = float64(v[i])
	}
	return w
}

func like(s tensor.Seq) tensor.Seq { return tensor.NewSeq(s.Batch, s.Len, s.Dim) }

func newStream(t testing.TB, m *attention.MultiHead, batch int) *attention.MultiHeadStream {
	t.Helper()
	s, err := m.NewStream(batch)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*attention.MultiHeadStream)
}

func TestMultiHeadAgainstDefinition(t *testing.T) {
	for name, cfg := range multiHeads {
		m := newMultiHead(t, cfg, 1)
		lengths := []int{1, 2, 7, 33, 150}
		var srcs []tensor.Seq
		var wants [][]float64
		for _, n := range lengths {
			src := randomSeq(newRand(uint64(n)), 2, n, m.Dim())
			srcs, wants = append(srcs, src), append(wants, naiveMultiHead(m, src))
		}
		t.Run(name, func(t *testing.T) {
			cputest.ForEachTier(t, func(t *testing.T) {
				for i, src := range srcs {
					dst := like(src)
					m.Mix(dst, src)
					near(t, fmt.Sprint("length ", src.Len), dst.Data, wants[i])
				}
			})
		})
	}
}

func TestMultiHeadContract(t *testing.T) {
	for name, cfg := range multiHeads {
		for _, o := range short.First([]mixtest.Options{{}, {Batch: 1, Len: 1}, {Batch: 3, Len: 140, Seed: 3}}) {
			t.Run(fmt.Sprint(name, " ", o.Len), func(t *testing.T) {
				if err := mixtest.Test(newMultiHead(t, cfg, 2), o); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestMultiHeadBits cuts sequences that are longer than a block of positions, than
// tiles and than segments: bits stay the same, as they do on any number of cores.
func TestMultiHeadBits(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for name, cfg := range map[string]attention.MultiHeadConfig{
		"few heads": {Dim: 12, Heads: 1, RoPE: &attention.RoPEConfig{}},
		"grouped":   {Dim: 16, Heads: 4, KVHeads: 2, ALiBi: true},
		"window":    {Dim: 12, Heads: 2, KVHeads: 1, Left: new(1100)},
		"short":     {Dim: 12, Heads: 3, Left: new(40), QKNorm: true, RoPE: &attention.RoPEConfig{Interleaved: true}},
	} {
		t.Run(name, func(t *testing.T) {
			cputest.ForEachTier(t, func(t *testing.T) {
				m := newMultiHead(t, cfg, 3)
				src := randomSeq(newRand(1), 1, 2500, m.Dim())
				want := like(src)
				m.Mix(want, src)
				for procs, cuts := range map[int][]int{1: {1, 700, 2, 1030, 3}, 2: {2300, 1, 1, 1}, 4: {97, 96, 33, 1200, 1000}} {
					runtime.GOMAXPROCS(procs)
					s, got, at := newStream(t, m, 1), like(src), 0
					for _, n := range append(cuts, src.Len) {
						n = min(n, src.Len-at)
						s.Mix(got.Slice(at, at+n), src.Slice(at, at+n))
						at += n
					}
					if i := firstDifference(got.Data, want.Data); i >= 0 {
						t.Errorf("%d cores, pieces of %v: position %d differs: %v, want %v", procs, cuts, i/src.Dim, got.Data[i], want.Data[i])
					}
				}
			})
		})
	}
}

// TestMultiHeadDecode computes a sequence token by token, over the ends of segments.
func TestMultiHeadDecode(t *testing.T) {
	m := newMultiHead(t, attention.MultiHeadConfig{Dim: 8, Heads: 2, KVHeads: 1, RoPE: &attention.RoPEConfig{}}, 4)
	src := randomSeq(newRand(2), 2, 2200, 8)
	want, got := like(src), like(src)
	m.Mix(want, src)
	s := newStream(t, m, 2)
	for i := range src.Len {
		s.Mix(got.Slice(i, i+1), src.Slice(i, i+1))
	}
	if i := firstDifference(got.Data, want.Data); i >= 0 {
		t.Errorf("element %d: %v, want %v", i, got.Data[i], want.Data[i])
	}
	if s.Len() != src.Len {
		t.Errorf("Len is %d, want %d", s.Len(), src.Len)
	}
}

func firstDifference(a, b []float32) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// TestMultiHeadMemory checks that a window bounds the memory of a stream, and that a
// reserved stream does not allocate.
func TestMultiHeadMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	x := randomSeq(newRand(3), 2, 1, 64)
	run := func(s *attention.MultiHeadStream) func() {
		return func() {
			for range 500 {
				s.Mix(x, x)
			}
		}
	}
	m := newMultiHead(t, attention.MultiHeadConfig{Dim: 64, Heads: 2, ALiBi: true}, 4)
	reserved := newStream(t, m, 2)
	reserved.Reserve(4 * 500)
	if n := testing.AllocsPerRun(2, run(reserved)); n > 2 {
		t.Errorf("a reserved stream allocates %v times", n)
	}
	m = newMultiHead(t, attention.MultiHeadConfig{Dim: 64, Heads: 2, Left: new(50)}, 4)
	window := newStream(t, m, 2)
	run(window)()
	if n := testing.AllocsPerRun(2, run(window)); n > 2 {
		t.Errorf("the stream of a window allocates %v times", n)
	}
	saved, err := window.AppendBinary(nil)
	if err != nil || len(saved) > 2*2*51*64*4+200 {
		t.Errorf("the state of a window has %d bytes (error: %v)", len(saved), err)
	}
}

func TestMultiHeadState(t *testing.T) {
	for _, left := range []int{-1, 0, 5, 40} {
		m := newMultiHead(t, attention.MultiHeadConfig{Dim: 12, Heads: 4, KVHeads: 2, HeadDim: 5, Left: &left}, 5)
		src := randomSeq(newRand(4), 2, 45, 12)
		s := newStream(t, m, 2)
		s.Mix(like(src), src)
		keys, values := s.State()
		n := src.Len
		if left >= 0 {
			n = left + 1
		}
		if want := []int{2, n, 2, 5}; !slices.Equal(keys.Shape(), want) || !slices.Equal(values.Shape(), want) {
			t.Fatalf("left %d: shapes %v and %v, want %v", left, keys.Shape(), values.Shape(), want)
		}
		for name, got := range map[string]*tensor.Tensor{"k_proj.weight": keys, "v_proj.weight": values} {
			want := tensor.NewSeq(2, src.Len, 10)
			tensor.Linear(want, src, param(t, m, name), nil)
			for b := range 2 {
				if !slices.Equal(got.Data()[b*n*10:(b+1)*n*10], want.Sequence(b).Slice(src.Len-n, src.Len).Data) {
					t.Errorf("left %d: %s of sequence %d differ from their projection", left, name, b)
				}
			}
		}
	}
}

func param(t testing.TB, m *attention.MultiHead, name string) *tensor.Tensor {
	t.Helper()
	for n, p := range m.Params() {
		if n == name {
			return p
		}
	}
	t.Fatalf("no parameter %s", name)
	return nil
}

// TestMultiHeadClones branches at the end of blocks and within. The branches take turns,
// some of them with other inputs and back at the beginning, over what they share.
func TestMultiHeadClones(t *testing.T) {
	const rest, step = 300, 10
	for _, left := range []int{-1, 130} {
		m := newMultiHead(t, attention.MultiHeadConfig{Dim: 8, Heads: 2, Left: &left}, 6)
		for _, n := range []int{0, 1, 127, 128, 129, 256, 300} {
			src := randomSeq(newRand(uint64(n)), 2, n+rest, 8)
			want := like(src)
			m.Mix(want, src)
			s := newStream(t, m, 2)
			s.Mix(like(src).Slice(0, n), src.Slice(0, n))
			clone, branch, restart := s.Clone(), s.Clone(), s.Clone()
			restart.Reset()
			noise := randomSeq(newRand(9), 2, n+rest, 8)
			restart.Mix(like(noise), noise)
			for at := n; at < n+rest; at += step {
				for name, stream := range map[string]seqmix.Stream{"the original": s, "a clone": clone} {
					got := tensor.NewSeq(2, step, 8)
					stream.Mix(got, src.Slice(at, at+step))
					for i := range 2 {
						if !slices.Equal(got.Sequence(i).Data, want.Sequence(i).Slice(at, at+step).Data) {
							t.Fatalf("left %d, branches at %d: %s differs at %d", left, n, name, at)
						}
					}
				}
				branch.Mix(tensor.NewSeq(2, step, 8), noise.Slice(at, at+step))
			}
		}
	}
}

func TestMultiHeadLayouts(t *testing.T) {
	for _, tt := range []struct {
		cfg  attention.MultiHeadConfig
		want string
	}{
		{attention.MultiHeadConfig{}, "q_proj.weight[12 10] k_proj.weight[6 10] v_proj.weight[6 10] o_proj.weight[10 12]"},
		{attention.MultiHeadConfig{Layout: attention.QKVOut, QKVBias: true, QKNorm: true},
			"q_proj.weight[12 10] q_proj.bias[12] k_proj.weight[6 10] k_proj.bias[6] v_proj.weight[6 10] v_proj.bias[6] out_proj.weight[10 12] q_norm.weight[3] k_norm.weight[3]"},
		{attention.MultiHeadConfig{Layout: attention.WqWkWvWo, OutBias: true}, "wq.weight[12 10] wk.weight[6 10] wv.weight[6 10] wo.weight[10 12] wo.bias[10]"},
		{attention.MultiHeadConfig{Layout: attention.Wqkv, QKVBias: true}, "Wqkv.weight[24 10] Wqkv.bias[24] out_proj.weight[10 12]"},
		{attention.MultiHeadConfig{Layout: attention.WqsWksWvs}, "w_qs.weight[12 10] w_ks.weight[6 10] w_vs.weight[6 10] fc.weight[10 12]"},
	} {
		tt.cfg.Dim, tt.cfg.Heads, tt.cfg.KVHeads, tt.cfg.HeadDim = 10, 4, 2, 3
		var got []string
		for name, p := range newMultiHead(t, tt.cfg, 1).Params() {
			got = append(got, name+fmt.Sprint(p.Shape()))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s\nwant %s", s, tt.want)
		}
	}
}

func TestMultiHeadConfigErrors(t *testing.T) {
	nan := float32(math.NaN())
	good := attention.MultiHeadConfig{Dim: 8, Heads: 4}
	for name, f := range map[string]func(c *attention.MultiHeadConfig){
		"no dim":         func(c *attention.MultiHeadConfig) { c.Dim = 0 },
		"negative dim":   func(c *attention.MultiHeadConfig) { c.Dim = -8 },
		"no heads":       func(c *attention.MultiHeadConfig) { c.Heads = 0 },
		"dim and heads":  func(c *attention.MultiHeadConfig) { c.Dim = 9 },
		"kv heads":       func(c *attention.MultiHeadConfig) { c.KVHeads = 3 },
		"no kv heads":    func(c *attention.MultiHeadConfig) { c.KVHeads = -1 },
		"head dim":       func(c *attention.MultiHeadConfig) { c.HeadDim = -1 },
		"size":           func(c *attention.MultiHeadConfig) { c.Dim, c.HeadDim = 1<<20, 1<<20 },
		"overflow":       func(c *attention.MultiHeadConfig) { c.Heads, c.KVHeads = math.MaxInt, 1 },
		"slopes of many": func(c *attention.MultiHeadConfig) { c.Heads, c.HeadDim, c.ALiBi = math.MaxInt32, 1, true },
		"layout":         func(c *attention.MultiHeadConfig) { c.Layout = 100 },
		"eps":            func(c *attention.MultiHeadConfig) { c.NormEps = -1 },
		"scale":          func(c *attention.MultiHeadConfig) { c.Scale = nan },
		"softcap":        func(c *attention.MultiHeadConfig) { c.Softcap = -1 },
		"slopes":         func(c *attention.MultiHeadConfig) { c.Slopes = []float32{1} },
		"slope":          func(c *attention.MultiHeadConfig) { c.Slopes = []float32{1, 1, nan, 1} },
		"window":         func(c *attention.MultiHeadConfig) { c.Left = new(math.MaxInt) },
		"rotary dim":     func(c *attention.MultiHeadConfig) { c.RoPE = &attention.RoPEConfig{Dim: 4} },
		"rope base":      func(c *attention.MultiHeadConfig) { c.RoPE = &attention.RoPEConfig{Base: -1} },
	} {
		c := good
		f(&c)
		if _, err := attention.NewMultiHead(c); err == nil || !strings.HasPrefix(err.Error(), "attention: ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	m := newMultiHead(t, attention.MultiHeadConfig{Dim: 8, Heads: 4, Right: 2}, 1)
	if _, err := m.NewStream(1); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a stream that sees later positions: %v", err)
	}
	if _, err := newMultiHead(t, good, 1).NewStream(0); err == nil {
		t.Error("a stream of no sequences: no error")
	}
}

func TestMultiHeadConfigJSON(t *testing.T) {
	const text = `{"hidden_size":8,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":6,"qkv_proj_bias":true,"rope":{"rope_theta":500000,"rope_scaling":{"rope_type":"linear","factor":2}},"left":3}`
	var c attention.MultiHeadConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	if c.Dim != 8 || c.Heads != 4 || c.KVHeads != 2 || c.HeadDim != 6 || !c.QKVBias || *c.Left != 3 ||
		c.RoPE.Base != 500000 || c.RoPE.Scaling.Type != attention.LinearScaling {
		t.Errorf("read as %+v", c)
	}
	if b, err := json.Marshal(c); err != nil || string(b) != text {
		t.Errorf("%s (error: %v)\nwant %s", b, err, text)
	}
}

// TestMultiHeadFarState reads states that claim to be far into a sequence: with a window
// that is possible, without it takes the keys of all positions.
func TestMultiHeadFarState(t *testing.T) {
	const batch = 100
	m := newMultiHead(t, attention.MultiHeadConfig{Dim: 4, Heads: 2, HeadDim: 3, Left: new(2), ALiBi: true, RoPE: &attention.RoPEConfig{}}, 1)
	saved := func(left, pos, positions int) []byte {
		v := make([]float32, batch*positions*6)
		r := state.Record{Kind: "attention.MultiHead", Version: 1, Ints: []int{batch, 2, 3, left, pos}, Floats: state.FloatsOf(v, v)}
		return r.Append(nil)
	}
	s := newStream(t, m, batch)
	for _, pos := range []int{3, 1 << 20, math.MaxInt / 2} {
		if err := s.UnmarshalBinary(saved(2, pos, 3)); err != nil {
			t.Fatalf("position %d: %v", pos, err)
		}
		x := randomSeq(newRand(1), batch, 5, 4)
		s.Mix(x, x)
		if s.Len() != pos+5 {
			t.Errorf("%d positions, want %d", s.Len(), pos+5)
		}
	}
	for name, data := range map[string][]byte{
		"too far":       saved(2, math.MaxInt/2+1, 3),
		"negative":      saved(2, -1, 3),
		"few positions": saved(2, 9, 2),
		"many":          saved(2, 9, 4),
		"other window":  saved(3, 9, 4),
		"no window":     saved(-1, 3, 3),
	} {
		if err := s.UnmarshalBinary(data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	m = newMultiHead(t, attention.MultiHeadConfig{Dim: 4, Heads: 2, HeadDim: 3}, 1)
	if err := newStream(t, m, batch).UnmarshalBinary(saved(-1, 1<<40, 3)); err == nil {
		t.Error("keys of 3 positions for all of 2^40: no error")
	}
}

// FuzzMultiHeadState reads hostile states, with a good checksum too.
func FuzzMultiHeadState(f *testing.F) {
	for _, cfg := range []attention.MultiHeadConfig{{Dim: 4, Heads: 2}, {Dim: 4, Heads: 2, KVHeads: 1, Left: new(3)}} {
		m, err := attention.NewMultiHead(cfg)
		if err != nil {
			f.Fatal(err)
		}
		s, err := m.NewStream(1)
		if err != nil {
			f.Fatal(err)
		}
		x := randomSeq(newRand(1), 1, 5, 4)
		s.Mix(x, x)
		saved, err := s.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(saved, cfg.Left != nil)
	}
	f.Fuzz(func(t *testing.T, data []byte, window bool) {
		cfg := attention.MultiHeadConfig{Dim: 4, Heads: 2}
		if window {
			cfg.KVHeads, cfg.Left = 1, new(3)
		}
		m := newMultiHead(t, cfg, 1)
		for _, saved := range [][]byte{data, withChecksum(data)} {
			s := newStream(t, m, 1)
			if s.UnmarshalBinary(saved) != nil {
				continue
			}
			again, err := s.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			other := newStream(t, m, 1)
			if err := other.UnmarshalBinary(again); err != nil || other.Len() != s.Len() {
				t.Fatalf("what was read after %d positions is %d positions when it is read again (error: %v)", s.Len(), other.Len(), err)
			}
			if b, err := other.AppendBinary(nil); err != nil || !bytes.Equal(b, again) {
				t.Errorf("read again, and saved as something else (error: %v)", err)
			}
			x := tensor.NewSeq(1, 2, 4)
			s.Mix(x, x)
		}
	})
}

// withChecksum returns data with a checksum that fits, as of package state.
func withChecksum(data []byte) []byte {
	body := data[:max(len(data)-4, 0)]
	return binary.LittleEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
}
