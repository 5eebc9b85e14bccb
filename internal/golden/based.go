package golden

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/train"
)

var _ = register(map[string]computation{
	"taylor_feature_map":     taylorFeatureMap,
	"taylor_attention":       taylorAttention,
	"feature_map":            featureMap,
	"based_linear_attention": basedLinearAttention,
	"zoology_based":          zoologyBased,
	"based_baseconv":         basedGatedConv,
	"zoology_baseconv":       zoologyBaseConv,
	"based_sliding":          basedSliding,
	"zoology_attention":      zoologyAttention,
	"gated_mlp":              basedMLP,
	"mlp":                    zoologyMLP,
	"glu":                    zoologyGLU,
	"zoology_lm":             zoologyModel,
})

// basedConfig has the fields of all configurations of the family.
type basedConfig struct {
	Dim        int     `json:"d_model"`
	F          int     `json:"f"`
	Eps        float32 `json:"eps"`
	Name       string  `json:"name"`
	Length     int     `json:"L"`
	Prefix     int     `json:"prefix"`
	Heads      int     `json:"heads"`
	HeadDim    int     `json:"hd"`
	Left       int     `json:"left"`
	RotaryDim  int     `json:"rotary_dim"`
	Kernel     int     `json:"kernel"`
	Expand     int     `json:"expand_proj"`
	LMax       int     `json:"l_max"`
	Activate   bool    `json:"use_act"`
	Implicit   *bool   `json:"implicit_long_conv"`
	NumHeads   int     `json:"num_heads"`
	BlockSize  int     `json:"block_size"`
	Inner      int     `json:"inner"`
	HiddenMult int     `json:"hidden_mult"`
}

func basedConfigOf(c *goldentest.Case) (cfg basedConfig, err error) {
	err = c.Config(&cfg)
	return cfg, err
}

// mapRows applies a feature map to all vectors of shape (batch, length, dim).
func mapRows(m based.FeatureMap, x tensor.Seq) tensor.Seq {
	y := tensor.NewSeq(x.Batch, x.Len, m.Features(x.Dim))
	for b := range x.Batch {
		for i := range x.Len {
			m.Map(y.At(b, i), x.At(b, i), i)
		}
	}
	return y
}

// expanded returns the features of the reference's layout.
func expanded(packed []float32, f int) []float32 {
	n := based.Taylor{}.Features(f)
	all := make([]float32, len(packed)/n*(1+f+f*f))
	for i := range len(packed) / n {
		based.Taylor{}.Expand(all[i*(1+f+f*f):], packed[i*n:(i+1)*n], f)
	}
	return all
}

// taylorFeatureMap makes features in both layouts, and the gradient through both.
func taylorFeatureMap(c *goldentest.Case) (results, error) {
	cfg, err := basedConfigOf(c)
	if err != nil {
		return nil, err
	}
	x, dphi, dall := seqOf(c, "in.x"), seqOf(c, "in.dphi_packed"), seqOf(c, "in.dphi")
	packed := mapRows(based.Taylor{}, x).Data
	joined := tensor.NewSeq(1, 1, dphi.Dim)
	for b := range dphi.Batch {
		for i := range dphi.Len {
			based.Taylor{}.Pack(joined.Data, dall.At(b, i), cfg.F)
			tensor.Add(dphi.At(b, i), dphi.At(b, i), joined.Data)
		}
	}
	dx := mapRowsBackward(based.Taylor{}, dphi, x, nil)
	return results{"out.phi_packed": packed, "out.phi": expanded(packed, cfg.F), "grad.x": dx.Data}, nil
}

// mapRowsBackward is the gradient of mapRows.
func mapRowsBackward(m based.DifferentiableMap, dphi, x tensor.Seq, grads seqmix.Grads) tensor.Seq {
	dx := like(x)
	for b := range x.Batch {
		for i := range x.Len {
			m.Backward(dx.At(b, i), dphi.At(b, i), x.At(b, i), i, grads)
		}
	}
	return dx
}

// headsFirst describes a tensor (batch, heads, length, dim) as batch·heads sequences: to
// attention, a head is a sequence of its own.
func headsFirst(c *goldentest.Case, name string) tensor.Seq { return seqOf(c, name) }

// taylorAttention runs attention as a whole and, to get its state, as a stream.
func taylorAttention(c *goldentest.Case) (results, error) {
	cfg, err := basedConfigOf(c)
	if err != nil {
		return nil, err
	}
	q, k, v := headsFirst(c, "in.q"), headsFirst(c, "in.k"), headsFirst(c, "in.v")
	a := based.Attention{Heads: 1, Eps: cfg.Eps}
	y, plain, parts := like(v), like(v), like(v)
	a.Apply(y, q, k, v)
	based.Attention{Heads: 1, Unnormalized: true}.Apply(plain, q, k, v)
	s, err := a.NewState(q.Batch, q.Dim, v.Dim)
	if err != nil {
		return nil, err
	}
	for i, n := 0, 3; i < q.Len; i, n = i+n, 1 {
		s.Apply(parts.Slice(i, i+n), q.Slice(i, i+n), k.Slice(i, i+n), v.Slice(i, i+n))
	}
	if err := c.Compare("out.y", parts.Data); err != nil {
		return nil, fmt.Errorf("in pieces: %w", err)
	}
	kv, z := s.Sums()
	dq, dk, dv, err := attentionBackward(c, a, q, k, v, nil)
	return results{
		"out.y": y.Data, "out.y_no_norm": plain.Data,
		"state.kv_final": expanded(kv.Data(), cfg.F), "state.k_final": expanded(z.Data(), cfg.F),
		"grad.q": dq.Data, "grad.k": dk.Data, "grad.v": dv.Data,
	}, err
}

// attentionBackward computes the gradients of attention, which are zero if the case does
// not have that of the result.
func attentionBackward(c *goldentest.Case, a based.Attention, q, k, v tensor.Seq, grads seqmix.Grads) (dq, dk, dv tensor.Seq, err error) {
	y, dq, dk, dv := like(v), like(q), like(k), like(v)
	tape, err := a.Record(y, q, k, v)
	if err != nil {
		return dq, dk, dv, err
	}
	if err := c.Compare("out.y", y.Data); err != nil {
		return dq, dk, dv, fmt.Errorf("recorded: %w", err)
	}
	dy := like(v)
	if c.Has("in.dy") {
		dy = headsFirst(c, "in.dy")
	}
	tape.Backward(dq, dk, dv, dy, grads)
	return dq, dk, dv, nil
}

// featureMapOf returns the map of a case.
func featureMapOf(c *goldentest.Case, cfg basedConfig) (based.DifferentiableMap, error) {
	switch cfg.Name {
	case "identity":
		return based.Identity{}, nil
	case "pos_elu":
		return based.ELU{}, nil
	case "relu":
		return based.ReLU{}, nil
	case "square":
		return based.Square{}, nil
	case "cosformer":
		return based.CosFormer{Length: cfg.Length}, nil
	case "exp_dim":
		return based.Exp{}, nil
	case "softmax_dim":
		return based.Softmax{}, nil
	case "softmax_half":
		return based.HalfSoftmax{}, nil
	case "all_poly":
		return based.Polynomial{Proj1: tensorOf(c, "param.proj_1.weight"), Proj2: tensorOf(c, "param.proj_2.weight")}, nil
	}
	return nil, fmt.Errorf("no feature map %q", cfg.Name)
}

func featureMap(c *goldentest.Case) (results, error) {
	cfg, err := basedConfigOf(c)
	if err != nil {
		return nil, err
	}
	m, err := featureMapOf(c, cfg)
	if err != nil {
		return nil, err
	}
	q, k, v := headsFirst(c, "in.q"), headsFirst(c, "in.k"), headsFirst(c, "in.v")
	phi, y := mapRows(m, q), like(v)
	a := based.Attention{Heads: 1, Map: m, Eps: cfg.Eps}
	a.Apply(y, q, k, v)
	r := results{"out.phi_q": phi.Data, "out.y": y.Data}
	grads := seqmix.Grads{}
	if p, ok := m.(based.Polynomial); ok {
		for name, t := range p.Params() {
			grads[t] = tensor.New(t.Shape()...)
			r["grad."+name] = grads.Of(t)
		}
	}
	dq, dk, dv, err := attentionBackward(c, a, q, k, v, grads)
	if err != nil {
		return nil, err
	}
	tensor.AddSeq(dq, dq, mapRowsBackward(m, headsFirst(c, "in.dphi_q"), q, grads))
	r["grad.q"], r["grad.k"], r["grad.v"] = dq.Data, dk.Data, dv.Data
	return r, nil
}

// basedLinearAttention runs the mixer as a whole and as a stream.
func basedLinearAttention(c *goldentest.Case) (results, error) {
	cfg, err := basedConfigOf(c)
	if err != nil {
		return nil, err
	}
	m, err := based.NewLinearAttention(based.LinearAttentionConfig{
		DModel: cfg.Dim, Heads: cfg.Heads, FeatureDim: cfg.F, HeadDim: cfg.HeadDim, Eps: cfg.Eps,
	})
	if err != nil {
		return nil, err
	}
	if err := setParams(c, m, ""); err != nil {
		return nil, err
	}
	r := results{}
	y, err := wholeAndSteps(c, m, cfg.Prefix, func(s seqmix.Stream, when string) {
		kv, z := s.(*based.LinearAttentionStream).State().Sums()
		r["state.kv_"+when], r["state.k_"+when] = expanded(kv.Data(), cfg.F), expanded(z.Data(), cfg.F)
	})
	if err != nil {
		return nil, err
	}
	r["out.y"] = y
	return withGradients(c, m, r)
}

// wholeAndSteps returns what m makes of in.u as a whole, and compares with what a stream
// makes of a prefix and single positions. It calls visit after both.
func wholeAndSteps(c *goldentest.Case, m seqmix.Streamer, prefix int, visit func(s seqmix.Stream, when string)) ([]float32, error) {
	src := seqOf(c, "in.u")
	y, parts := like(src), like(src)
	m.Mix(y, src)
	s, err := m.NewStream(src.Batch)
	if err != nil {
		return nil, err
	}
	for i, n := 0, prefix; i < src.Len; i, n = i+n, 1 {
		s.Mix(parts.Slice(i, i+n), src.Slice(i, i+n))
		if i == 0 && prefix > 0 && visit != nil {
			visit(s, "after_prefix")
		}
		n = max(n, 1)
	}
	if visit != nil {
		visit(s, "final")
	}
	if err := c.Compare("out.y", parts.Data); err != nil {
		return nil, fmt.Errorf("a prefix of %d and steps: %w", prefix, err)
	}
	return y.Data, nil
}

// trainedStreamer is what all mixers of the family are.
type trainedStreamer interface {
	seqmix.Streamer
	seqmix.Trainer
}

// mixer runs a mixer with the parameters of the case as a whole and step by step, and its
// gradient.
func mixer(c *goldentest.Case, m trainedStreamer, err error) (results, error) {
	if err != nil {
		return nil, err
	}
	if err := setParams(c, m, ""); err != nil {
		return nil, err
	}
	y, err := wholeAndSteps(c, m, 1, nil)
	if err != nil {
		return nil, err
	}
	return withGradients(c, m, results{"out.y": y})
}

func zoologyBased(c *goldentest.Case) (results, error) {
	cfg, err := basedConfigOf(c)
	if err != nil {
		return nil, err
	}
	m, err := based.NewLinearAttention(based.LinearAttentionConfig{
		DModel: cfg.Dim, Heads: cfg.Heads, FeatureDim: cfg.F, Eps: cfg.Eps, Names: based.ZoologyNames,
	})
	return mixer(c, m, err)
}

// basedGatedConv keeps, as the reference does, one input more than is needed: it is the
// oldest of the state before.
func basedGatedConv(c *goldentest.Case) (results, error) {
	cfg, err := basedConfigOf(c)
	if err != nil {
		return nil, err
	}
	m, err := based.NewGatedConv(based.GatedConvConfig{DModel: cfg.Dim, Kernel: cfg.Kernel, Expand: cfg.Expand})
	if err != nil {
		return nil, err
	}
	if err := setParams(c, m, ""); err != nil {
		return nil, err
	}
	y, err := wholeAndSteps(c, m, cfg.Prefix, nil)
	if err != nil {
		return nil, err
	}
	r := results{"out.y": y}
	src := seqOf(c, "in.u")
	s, err := m.NewStream(src.Batch)
	if err != nil {
		return nil, err
	}
	out := tensor.NewSeq(src.Batch, 1, src.Dim)
	for i := range src.Len {
		before := s.(*based.GatedConvStream).State()
		s.Mix(out, src.Slice(i, i+1))
		inputs := joinInputs(before, s.(*based.GatedConvStream).State())
		if i+1 == cfg.Prefix {
			r["state.conv_after_prefix"] = channelsFirst(inputs)
		}
		r["state.conv_final"] = channelsFirst(inputs)
	}
	return withGradients(c, m, r)
}

// joinInputs puts the oldest input of one state before those of the next.
func joinInputs(before, after *tensor.Tensor) tensor.Seq {
	batch, n, dim := after.Dim(0), after.Dim(1), after.Dim(2)
	all := tensor.NewSeq(batch, n+1, dim)
	tensor.Copy(all.Slice(0, 1), tensor.SeqOf(before.Data(), batch, n, dim).Slice(0, 1))
	tensor.Copy(all.Slice(1, n+1), tensor.SeqOf(after.Data(), batch, n, dim))
	return all
}

func zoologyBaseConv(c *goldentest.Case) (results, error) {
	cfg, err := basedConfigOf(c)
	if err != nil {
		return nil, err
	}
	taps := -1
	if c.Has("param.conv.conv.weight") {
		taps = c.Shape("param.conv.conv.weight")[2] // the configuration may list those of all layers
	}
	m, err := based.NewBaseConv(based.BaseConvConfig{
		DModel: cfg.Dim, KernelSize: taps, LMax: cfg.LMax, Activate: cfg.Activate, Implicit: cfg.Implicit,
	})
	r, err := mixer(c, m, err)
	if err == nil && c.Has("out.filter") {
		f := based.NewImplicitFilter(cfg.Dim, cfg.LMax)
		for name, p := range f.Params() {
			p.SetFloat32s(c.Tensor("param.conv." + name))
		}
		n := c.Shape("out.filter")[1]
		r["out.pos_emb"] = f.Positions(n).Data
		r["out.filter"] = channelsFirst(f.Taps(n))
	}
	return r, err
}

func basedSliding(c *goldentest.Case) (results, error) {
	cfg, err := basedConfigOf(c)
	if err != nil {
		return nil, err
	}
	mc := attention.MultiHeadConfig{Dim: cfg.Dim, Heads: cfg.Heads, Layout: attention.Wqkv, Left: &cfg.Left}
	if cfg.RotaryDim > 0 {
		mc.RoPE = &attention.RoPEConfig{Dim: cfg.RotaryDim}
	}
	m, err := attention.NewMultiHead(mc)
	r, err := mixer(c, m, err)
	if err != nil {
		return nil, err
	}
	src := seqOf(c, "in.u")
	keys, values, err := caches(m, src)
	if err != nil {
		return nil, err
	}
	cache := tensor.NewSeq(src.Batch, src.Len, 2*keys.Dim)
	for b := range src.Batch {
		for i := range src.Len {
			copy(cache.At(b, i), keys.At(b, i))
			copy(cache.At(b, i)[keys.Dim:], values.At(b, i))
		}
	}
	r["state.kv_cache"] = cache.Data
	return r, nil
}

func zoologyAttention(c *goldentest.Case) (results, error) {
	cfg, err := basedConfigOf(c)
	if err != nil {
		return nil, err
	}
	m, err := newZoologyAttention(cfg.Dim, cfg.NumHeads, cfg.BlockSize)
	return mixer(c, m, err)
}

func newZoologyAttention(dim, heads, left int) (*attention.MultiHead, error) {
	cfg := attention.MultiHeadConfig{Dim: dim, Heads: max(heads, 1), Layout: attention.Wqkv, QKVBias: true, OutBias: true}
	if left > 0 {
		cfg.Left = &left
	}
	return attention.NewMultiHead(cfg)
}

func basedMLP(c *goldentest.Case) (results, error) {
	cfg, err := basedConfigOf(c)
	if err != nil {
		return nil, err
	}
	m, err := nn.NewGLU(nn.GLUConfig{Dim: cfg.Dim, Hidden: cfg.Inner, Layout: nn.FC1FC2})
	return trainer(c, m, err)
}

func zoologyMLP(c *goldentest.Case) (results, error) {
	cfg, err := basedConfigOf(c)
	if err != nil {
		return nil, err
	}
	m, err := newZoologyMLP(cfg.Dim, cfg.HiddenMult)
	return trainer(c, m, err)
}

func newZoologyMLP(dim, mult int) (*nn.MLP, error) {
	return nn.NewMLP(nn.MLPConfig{Dim: dim, Hidden: mult * dim, Activation: nn.GELU, Bias: true})
}

// zoologyGLU calls its matrices fc1 (value), fc2 (gate) and fc3 (output).
func zoologyGLU(c *goldentest.Case) (results, error) {
	linear := func(name string) *nn.Linear {
		return &nn.Linear{Weight: tensorOf(c, "param."+name+".weight"), Bias: tensorOf(c, "param."+name+".bias")}
	}
	m := &nn.GLU{Up: linear("fc1"), Gate: linear("fc2"), Down: linear("fc3"), Activation: nn.GELU}
	r, err := forwardAndBackward(c, m)
	for name, l := range map[string]*nn.Linear{"fc1": m.Up, "fc2": m.Gate, "fc3": m.Down} {
		if err == nil {
			r.results["grad."+name+".weight"], r.results["grad."+name+".bias"] = r.of(l.Weight), r.of(l.Bias)
		}
	}
	return r.results, err
}

// trainer runs a layer with the parameters of the case from in.u to out.y, and its
// gradient.
func trainer(c *goldentest.Case, m seqmix.Trainer, err error) (results, error) {
	if err != nil {
		return nil, err
	}
	if err := setParams(c, m, ""); err != nil {
		return nil, err
	}
	r, err := forwardAndBackward(c, m)
	for name, p := range m.Params() {
		if err == nil {
			r.results["grad."+name] = r.of(p)
		}
	}
	return r.results, err
}

// withGradients adds the gradients of m, whose parameters are those of the case, to
// results.
func withGradients(c *goldentest.Case, m seqmix.Trainer, r results) (results, error) {
	g, err := forwardAndBackward(c, m)
	if err != nil {
		return nil, err
	}
	if err := c.Compare("out.y", g.results["out.y"]); err != nil {
		return nil, fmt.Errorf("recorded: %w", err)
	}
	r["grad.u"] = g.results["grad.u"]
	for name, p := range m.Params() {
		r["grad."+name] = g.of(p)
	}
	return r, nil
}

// gradients are results with the gradients of parameters.
type gradients struct {
	results
	grads seqmix.Grads
}

func (g gradients) of(p *tensor.Tensor) []float32 { return g.grads.Of(p) }

func forwardAndBackward(c *goldentest.Case, m seqmix.Trainer) (gradients, error) {
	x := seqOf(c, "in.u")
	y, dx := like(x), like(x)
	tape, err := m.Record(y, x)
	if err != nil {
		return gradients{}, err
	}
	g := gradients{results{"out.y": y.Data, "grad.u": dx.Data}, allGrads(m)}
	tape.Backward(dx, seqOf(c, "in.dy"), g.grads)
	return g, nil
}

// zoologyConfig is the configuration of a model of zoology.
type zoologyConfig struct {
	Dim           int         `json:"d_model"`
	Vocabulary    int         `json:"vocab"`
	Layers        int         `json:"n_layers"`
	Positions     int         `json:"max_position_embeddings"`
	SequenceMixer zoologyPart `json:"sequence_mixer"`
	StateMixer    zoologyPart `json:"state_mixer"`
}

// zoologyPart names a class and the arguments of its constructor.
type zoologyPart struct {
	Name   string          `json:"name"`
	Kwargs json.RawMessage `json:"kwargs"`
}

// sequenceMixer builds the sequence mixer of a layer, and says where its parameters are.
func (p zoologyPart) sequenceMixer(layer, dim int) (m seqmix.Mixer, prefix string, err error) {
	var args struct {
		Configs    []zoologyPart `json:"configs"`
		LMax       int           `json:"l_max"`
		KernelSize int           `json:"kernel_size"`
		FeatureDim int           `json:"feature_dim"`
		Heads      int           `json:"num_heads"`
	}
	if err := json.Unmarshal(p.Kwargs, &args); err != nil {
		return nil, "", err
	}
	switch p.Name[strings.LastIndex(p.Name, ".")+1:] {
	case "Hybrid":
		m, _, err = args.Configs[layer%len(args.Configs)].sequenceMixer(layer, dim)
		return m, "sequence_mixer.mixer.", err
	case "BaseConv":
		m, err = based.NewBaseConv(based.BaseConvConfig{DModel: dim, KernelSize: args.KernelSize, LMax: args.LMax})
	case "Based":
		m, err = based.NewLinearAttention(based.LinearAttentionConfig{DModel: dim, Heads: args.Heads, FeatureDim: args.FeatureDim, Names: based.ZoologyNames})
	case "MHA":
		m, err = newZoologyAttention(dim, args.Heads, 0)
	default:
		err = fmt.Errorf("a sequence mixer %s: %w", p.Name, errors.ErrUnsupported)
	}
	return m, "sequence_mixer.", err
}

// stateMixer builds the state mixer of a layer. nil is the identity.
func (p zoologyPart) stateMixer(dim int) (seqmix.Mixer, error) {
	var args struct {
		Mult int `json:"hidden_mult"`
	}
	if err := json.Unmarshal(p.Kwargs, &args); err != nil {
		return nil, err
	}
	switch p.Name[strings.LastIndex(p.Name, ".")+1:] {
	case "Identity":
		return nil, nil
	case "MLP":
		return newZoologyMLP(dim, args.Mult)
	}
	return nil, fmt.Errorf("a state mixer %s: %w", p.Name, errors.ErrUnsupported)
}

// zoologyModel builds a language model of residual blocks. The state mixer may be the
// identity: then the block adds its norm.
func zoologyModel(c *goldentest.Case) (results, error) {
	var cfg zoologyConfig
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	z := zoologyLM{names: map[*tensor.Tensor]string{}}
	for i := range cfg.Layers {
		prefix := fmt.Sprintf("backbone.layers.%d.", i)
		m, at, err := cfg.SequenceMixer.sequenceMixer(i, cfg.Dim)
		if err != nil {
			return nil, err
		}
		state, err := cfg.StateMixer.stateMixer(cfg.Dim)
		if err != nil {
			return nil, err
		}
		norm1, norm2 := nn.NewLayerNorm(cfg.Dim, 1e-5), nn.NewLayerNorm(cfg.Dim, 1e-5)
		err = errors.Join(z.set(c, norm1, prefix+"norm1."), z.set(c, norm2, prefix+"norm2."), z.set(c, m, prefix+at))
		block := &seqmix.Residual{Mixer: norm2}
		if state != nil {
			block = &seqmix.Residual{Norm: norm2, Mixer: state}
			err = errors.Join(err, z.set(c, state, prefix+"state_mixer."))
		}
		if err != nil {
			return nil, err
		}
		z.layers = append(z.layers, &seqmix.Residual{Norm: norm1, Mixer: m}, block)
	}
	last := nn.NewLayerNorm(cfg.Dim, 1e-5)
	if err := z.set(c, last, "backbone.ln_f."); err != nil {
		return nil, err
	}
	z.layers = append(z.layers, last)
	const embeddings = "backbone.embeddings."
	z.words = z.table(c, embeddings+"word_embeddings.weight")
	if cfg.Positions > 0 {
		z.positions = z.table(c, embeddings+"position_embeddings.weight")
	}
	return z.run(c)
}

// zoologyLM is a model of zoology, with the names of its parameters.
type zoologyLM struct {
	words, positions *nn.Embedding // positions is nil without
	layers           seqmix.Stack
	names            map[*tensor.Tensor]string
}

// set fills the parameters of m.
func (z *zoologyLM) set(c *goldentest.Case, m seqmix.Mixer, prefix string) error {
	for name, p := range m.Params() {
		z.names[p] = prefix + name
	}
	return setParams(c, m, prefix)
}

// table returns an embedding of the case.
func (z *zoologyLM) table(c *goldentest.Case, name string) *nn.Embedding {
	e := &nn.Embedding{Weight: tensorOf(c, "param."+name)}
	z.names[e.Weight] = name
	return e
}

// run computes the logits, the mean loss and the gradients of that.
func (z *zoologyLM) run(c *goldentest.Case) (results, error) {
	shape := c.Shape("in.ids")
	ids, labels := integers(c.Tensor("in.ids")), integers(c.Tensor("in.labels"))
	x := tensor.NewSeq(shape[0], shape[1], z.words.Dim())
	h, logits := like(x), tensor.NewSeq(shape[0], shape[1], z.words.Vocabulary())
	if err := z.embed(x, ids); err != nil {
		return nil, err
	}
	tape, err := z.layers.Record(h, x)
	if err != nil {
		return nil, err
	}
	z.words.Head().Apply(logits, h)
	r := results{"out.logits": slices.Clone(logits.Data)}
	n := 0
	for _, label := range labels {
		if label >= 0 {
			n++
		}
	}
	r["out.loss"] = []float32{float32(train.CrossEntropy(logits.Mat(), labels, 1/float32(n)).Mean())}

	grads := seqmix.Grads{}
	for p, name := range z.names {
		grads[p] = tensor.New(p.Shape()...)
		r["grad."+name] = grads.Of(p)
	}
	// The gradients of the cases have that of the table as the one of the lookup, without
	// what the tied head adds: rows of tokens that are not in the text are zero. The sum of
	// both is compared by embedding_tied.
	dx := like(x)
	z.words.Head().Backward(dx, logits, h, nil)
	tape.Backward(dx, dx, grads)
	z.words.Backward(dx, ids, grads)
	if z.positions != nil {
		for b := range dx.Batch {
			z.positions.Backward(dx.Sequence(b), firstIntegers(dx.Len), grads)
		}
	}
	z.layers.Mix(x, x)
	z.words.Head().Apply(logits, x)
	if err := c.Compare("out.logits", logits.Data); err != nil {
		return nil, fmt.Errorf("without recording: %w", err)
	}
	return r, nil
}

// embed looks up tokens and adds positions.
func (z *zoologyLM) embed(x tensor.Seq, ids []int) error {
	if err := z.words.Lookup(x, ids); err != nil || z.positions == nil {
		return err
	}
	p := tensor.NewSeq(1, x.Len, x.Dim)
	if err := z.positions.Lookup(p, firstIntegers(x.Len)); err != nil {
		return err
	}
	for b := range x.Batch {
		tensor.AddSeq(x.Sequence(b), x.Sequence(b), p)
	}
	return nil
}

func firstIntegers(n int) []int {
	v := make([]int, n)
	for i := range v {
		v[i] = i
	}
	return v
}

func integers(v []float32) []int {
	n := make([]int, len(v))
	for i, x := range v {
		n[i] = int(x)
	}
	return n
}
