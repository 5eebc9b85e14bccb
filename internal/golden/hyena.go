package golden

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

var _ = register(map[string]computation{
	"longconv": longConv,
	"posemb":   positionalFeatures,
	"filter":   implicitFilter,
	"op":       hyenaOperator,
	"zoo":      zoologyConv,
	"modal":    modalTaps("modal_filter_", hyena.ComplexPoles),
	"real":     modalTaps("real_modal_filter_", hyena.LogPoles),
	"savanna":  modalTaps("savanna_modal_filter_", hyena.TrainedPoles),
	"sh":       stripedHyena,
	"evo1":     stripedHyena,
	"evo2":     evo2,
	"distill":  hankelValues,
})

// longConv runs the convolutions: causal, with two sides, and of a sequence that ends.
func longConv(c *goldentest.Case) (results, error) {
	u, k := channelsLast(c, "in.u"), tapsOf(c, "param.k")
	if c.Has("out.tail") {
		return longConvTail(c)
	}
	if d := c.Tensor("param.D"); d != nil {
		tensor.Add(k.Row(0), k.Row(0), d)
	}
	conv, g := nn.NewLongConv(k), tensor.Mat{}
	switch {
	case c.Has("param.k_rev"):
		g = tapsOf(c, "param.k_rev")
		conv = nn.NewTwoSidedConv(k, g)
	case strings.Contains(c.Name, "bidirectional"):
		var h tensor.Mat
		h, g = shiftedTaps(tapsOf(c, "param.k"), c.Tensor("param.D"), u.Len)
		conv = nn.NewTwoSidedConv(h, g)
	}
	y := like(u)
	conv.Mix(y, u)
	r := results{"out.y": channelsFirst(y)}
	if !c.Has("grad.u") {
		return r, nil
	}
	du, dh, dg := like(u), zeros(u.Len, u.Dim), zeros(min(g.Rows, u.Len), u.Dim)
	if !strings.Contains(c.Name, "bidirectional") {
		dh = zeros(min(k.Rows, u.Len), u.Dim)
	}
	conv.Backward(du, channelsLast(c, "in.dy"), u, dh, dg)
	dd := slices.Clone(dh.Row(0))
	if strings.Contains(c.Name, "bidirectional") {
		dh = unshifted(dh, dg, k.Rows)
	}
	r["grad.u"], r["grad.D"] = channelsFirst(du), dd
	r["grad.k"], r["grad.k_rev"] = columnsOf(dh), columnsOf(dg)
	return r, nil
}

func zeros(rows, cols int) tensor.Mat { return tensor.NewSeq(1, rows, cols).Mat() }

// columnsOf returns the elements of a matrix, a column after the other.
func columnsOf(m tensor.Mat) []float32 { return channelsFirst(tensor.SeqOf(m.Data, 1, m.Rows, m.Cols)) }

// tapsOf returns filters of shape (channels, taps) as rows of taps.
func tapsOf(c *goldentest.Case, name string) tensor.Mat {
	shape := c.Shape(name)
	return transposed(c.Tensor(name), 1, shape[0], shape[1]).Mat()
}

// shiftedTaps are those of what hyena-dna calls bidirectional: taps of lag 0 on count for
// lags from half of the length on, and those that are then too large for negative ones, in a
// cyclic buffer of twice the length.
func shiftedTaps(k tensor.Mat, d []float32, n int) (h, g tensor.Mat) {
	h, g = zeros(n, k.Cols), zeros(n, k.Cols)
	eachShifted(n, k.Rows, func(lag, at int) { copy(h.Row(lag), k.Row(at)) }, func(lag, at int) { copy(g.Row(lag), k.Row(at)) })
	tensor.Add(h.Row(0), h.Row(0), d)
	return h, g
}

// unshifted returns the gradient of so many taps from those of what shiftedTaps made of
// them.
func unshifted(dh, dg tensor.Mat, taps int) tensor.Mat {
	dk := zeros(taps, dh.Cols)
	add := func(from tensor.Mat) func(lag, at int) {
		return func(lag, at int) { tensor.Add(dk.Row(at), dk.Row(at), from.Row(lag)) }
	}
	eachShifted(dh.Rows, taps, add(dh), add(dg))
	return dk
}

// eachShifted calls fwd and back with the lags of both sides and the taps that belong there.
func eachShifted(n, taps int, fwd, back func(lag, at int)) {
	for lag := range n {
		if at := lag - n/2; at >= 0 && at < taps {
			fwd(lag, at)
		}
		if at := 2*n - n/2 - lag; lag > 0 && at < taps {
			back(lag, at)
		}
	}
}

// longConvTail feeds silence after a sequence to a stream.
func longConvTail(c *goldentest.Case) (results, error) {
	k := tapsOf(c, "param.k")
	n := k.Rows
	src := tensor.NewSeq(1, 2*n-1, k.Cols)
	copy(src.Data, tapsOf(c, "in.u").Data)
	s := nn.NewLongConv(k).StreamUpTo(1, src.Len)
	s.Mix(src.Slice(0, n), src.Slice(0, n))
	s.Mix(src.Slice(n, src.Len), src.Slice(n, src.Len))
	return results{"out.head": channelsFirst(src.Slice(0, n)), "out.tail": channelsFirst(src.Slice(n, src.Len))}, nil
}

// hyenaConfig has the fields of all configurations of the family that say something.
type hyenaConfig struct {
	hyena.Config
	Layout   string  `json:"filter_channel_layout"`
	Gates    string  `json:"gates"`
	WInit    float64 `json:"w_init"`
	Channels int     `json:"d"`
	DFilter  int     `json:"d_filter"`
	Length   int     `json:"L"`
	Prompt   int     `json:"P"`
	Steps    int     `json:"T"`

	Heads       int    `json:"heads"`
	States      *int   `json:"state_size"`
	ShortTaps   int    `json:"short_filter_length"`
	ColumnSplit bool   `json:"column_split_hyena"`
	Taps        *int   `json:"filter_length"`
	Groups      int    `json:"groups"`
	Act         bool   `json:"act"`
	Activation  string `json:"mlp_activation"`

	Hidden     int     `json:"hidden_size"`
	AttnHeads  int     `json:"num_attention_heads"`
	ProjGroups int     `json:"proj_groups"`
	Inner      *int    `json:"inner_mlp_size"`
	MultipleOf int     `json:"inner_size_multiple_of"`
	Eps        float32 `json:"eps"`
	FlashNorm  *bool   `json:"use_flash_rmsnorm"`
	QKVBias    bool    `json:"qkv_proj_bias"`
	OutBias    bool    `json:"mha_out_proj_bias"`
	Base       float64 `json:"rotary_emb_base"`
	Factor     float64 `json:"rotary_emb_scaling_factor"`
}

func hyenaConfigOf(c *goldentest.Case) (*hyenaConfig, error) {
	cfg := new(hyenaConfig)
	err := c.Config(cfg)
	return cfg, err
}

// filter returns the configuration of the implicit filter of a case.
func (cfg *hyenaConfig) filter(channels int) nn.ImplicitFilterConfig {
	return nn.ImplicitFilterConfig{
		Channels: channels, LMax: cfg.LMax, EmbDim: cfg.EmbDim, Width: cfg.FilterOrder, InnerMLPs: cfg.InnerMLPs, W: cfg.WInit,
		Shift: cfg.Shift, Modulate: cfg.Modulate, Normalized: cfg.Normalized,
		FastDecayPct: cfg.FastDecayPct, SlowDecayPct: cfg.SlowDecayPct, Target: cfg.Target,
	}
}

func positionalFeatures(c *goldentest.Case) (results, error) {
	cfg, err := hyenaConfigOf(c)
	if err != nil {
		return nil, err
	}
	f, err := nn.NewImplicitFilter(cfg.filter(cfg.Channels))
	if err != nil {
		return nil, err
	}
	return results{"out.z": f.Z.Data(), "out.t": f.T.Data(), "out.deltas": f.Deltas.Data()}, nil
}

func implicitFilter(c *goldentest.Case) (results, error) {
	cfg, err := hyenaConfigOf(c)
	if err != nil {
		return nil, err
	}
	f, err := nn.NewImplicitFilter(cfg.filter(cfg.DFilter))
	if err != nil {
		return nil, err
	}
	for name, p := range f.Params() {
		v := c.Tensor("param." + name)
		if len(v) != p.Len() {
			return nil, fmt.Errorf("%s: %d elements in the case, %d in the filter", name, len(v), p.Len())
		}
		p.SetFloat32s(v)
	}
	h := tensor.NewSeq(1, cfg.Length, cfg.DFilter)
	f.Taps(h.Mat())
	r, grads := results{"out.h": h.Data}, seqmix.Grads{}
	for name, p := range f.Params() {
		grads[p] = tensor.New(p.Shape()...)
		r["grad."+name] = grads.Of(p)
	}
	if c.Has("in.dh") {
		f.Backward(seqOf(c, "in.dh").Mat(), grads)
	}
	return r, nil
}

// hyenaOperator runs the operator on two inputs whose beginnings are the same.
func hyenaOperator(c *goldentest.Case) (results, error) {
	cfg, err := hyenaConfigOf(c)
	if err != nil {
		return nil, err
	}
	cfg.DModel, cfg.W = cfg.Channels, cfg.WInit
	if strings.HasPrefix(cfg.Layout, "o*") {
		cfg.Config.Layout = hyena.OrderMajor
	}
	if strings.HasPrefix(cfg.Gates, "pre = first") {
		cfg.Config.Gates = hyena.FirstFirst
	}
	m, err := hyena.New(cfg.Config)
	if err != nil {
		return nil, err
	}
	if err := setParams(c, m, ""); err != nil {
		return nil, err
	}
	r := results{}
	for _, suffix := range []string{"", "_alt"} {
		u := seqOf(c, "in.u"+suffix)
		y := like(u)
		m.Mix(y, u)
		r["out.y"+suffix] = y.Data
		if err := pieces(c, m, u, "out.y"+suffix); err != nil {
			return nil, err
		}
	}
	return withGradients(c, m, r)
}

// pieces runs a mixer in pieces of one, two, three … positions.
func pieces(c *goldentest.Case, m seqmix.Streamer, u tensor.Seq, want string) error {
	s, err := m.NewStream(u.Batch)
	if err != nil {
		return err
	}
	y := like(u)
	for at, n := 0, 1; at < u.Len; n++ {
		end := min(at+n, u.Len)
		s.Mix(y.Slice(at, end), u.Slice(at, end))
		at = end
	}
	if err := c.Compare(want, y.Data); err != nil {
		return fmt.Errorf("in pieces: %w", err)
	}
	return nil
}

// zoologyConv runs the mixers of Zoology that have long filters.
func zoologyConv(c *goldentest.Case) (results, error) {
	u := seqOf(c, "in.u")
	cfg, err := hyenaConfigOf(c)
	if err != nil {
		return nil, err
	}
	var h tensor.Mat
	var backward func(dh tensor.Mat, r results) // of what makes the taps
	switch {
	case c.Has("param.projection.weight"):
		return zoologyBase(c, cfg, u)
	case c.Has("param.filter"):
		h = tapsOf(c, "param.filter")
	default:
		up := &nn.Linear{Weight: tensorOf(c, "param.mlp.0.weight"), Bias: tensorOf(c, "param.mlp.0.bias")}
		down := &nn.Linear{Weight: tensorOf(c, "param.mlp.2.weight"), Bias: tensorOf(c, "param.mlp.2.bias")}
		z := seqOf(c, "param.pos_emb.z").Mat()
		h = tensor.NewSeq(1, z.Rows, down.Out()).Mat()
		hidden := zeros(z.Rows, up.Out())
		up.ApplyMat(hidden, z)
		nn.ReLU.Apply(hidden.Data, hidden.Data)
		down.ApplyMat(h, hidden)
		backward = func(dh tensor.Mat, r results) { zoologyFilterGrad(r, up, down, z, hidden, dh) }
	}
	tensor.AddConst(h.Row(0), h.Row(0), 1) // "+u"
	m := nn.NewLongConv(h)
	y, du, dh := like(u), like(u), zeros(u.Len, u.Dim)
	m.Mix(y, u)
	m.Backward(du, seqOf(c, "in.dy"), u, dh, tensor.Mat{})
	r := results{"out.y": y.Data, "grad.u": du.Data, "grad.filter": columnsOf(dh)}
	if backward != nil {
		backward(dh, r)
	}
	return r, pieces(c, m, u, "out.y")
}

// zoologyFilterGrad adds the gradients of the two layers that make the taps from z.
func zoologyFilterGrad(r results, up, down *nn.Linear, z, hidden, dh tensor.Mat) {
	seq := func(m tensor.Mat) tensor.Seq { return tensor.SeqOf(m.Data, 1, m.Rows, m.Cols) }
	n := dh.Rows
	z, hidden = z.SliceRows(0, n), hidden.SliceRows(0, n)
	grads, d, dz := seqmix.Grads{}, zeros(n, up.Out()), zeros(n, up.In())
	for name, l := range map[string]*nn.Linear{"mlp.0.": up, "mlp.2.": down} {
		for param, p := range l.Params() {
			grads[p] = tensor.New(p.Shape()...)
			r["grad."+name+param] = grads.Of(p)
		}
	}
	down.Backward(seq(d), seq(dh), seq(hidden), grads)
	nn.ReLU.Grad(d.Data, d.Data, hidden.Data)
	up.Backward(seq(dz), seq(d), seq(z), grads)
}

// zoologyBase runs a BaseConv. Its features are not parameters of the mixer.
func zoologyBase(c *goldentest.Case, cfg *hyenaConfig, u tensor.Seq) (results, error) {
	bc := based.BaseConvConfig{DModel: u.Dim, KernelSize: -1, Activate: cfg.Act}
	if s := c.Shape("param.conv.conv.weight"); s != nil {
		bc.KernelSize = s[2]
	} else {
		bc.LMax = c.Shape("param.conv.pos_emb.z")[1]
	}
	m, err := based.NewBaseConv(bc)
	if err != nil {
		return nil, err
	}
	for name, p := range m.Params() {
		v := c.Tensor("param." + name)
		if len(v) != p.Len() {
			return nil, fmt.Errorf("%s: %d elements in the case, %d in the mixer", name, len(v), p.Len())
		}
		p.SetFloat32s(v)
	}
	y := like(u)
	m.Mix(y, u)
	if err := pieces(c, m, u, "out.y"); err != nil {
		return nil, err
	}
	return withGradients(c, m, results{"out.y": y.Data})
}

// modalTaps returns the computation of the taps of modal filters.
func modalTaps(prefix string, form hyena.ModalForm) computation {
	return func(c *goldentest.Case) (results, error) {
		if !strings.HasPrefix(c.Name, prefix) {
			return nil, fmt.Errorf("a case called %s: %w", c.Name, errors.ErrUnsupported)
		}
		cfg, err := hyenaConfigOf(c)
		if err != nil {
			return nil, err
		}
		m, err := hyena.NewModal(hyena.ModalConfig{Dim: cfg.Channels, Form: form, States: *cfg.States})
		if err != nil {
			return nil, err
		}
		if err := setParams(c, withoutD{m}, ""); err != nil {
			return nil, err
		}
		h := tensor.NewSeq(1, cfg.Length, cfg.Channels)
		m.Taps(h.Mat())
		r, grads := results{"out.h": channelsFirst(h)}, allGrads(m)
		if c.Has("in.dh") {
			m.BackwardTaps(tapsOf(c, "in.dh"), grads)
		}
		for name, p := range m.Params() {
			r["grad."+name] = grads.Of(p)
		}
		return r, nil
	}
}

// withoutD is a filter whose D is zero and not to be set.
type withoutD struct{ *hyena.Modal }

func (m withoutD) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		for name, p := range m.Modal.Params() {
			if name != "D" && !yield(name, p) {
				return
			}
		}
	}
}

// stripedHyena runs filters and blocks of StripedHyena and Evo.
func stripedHyena(c *goldentest.Case) (results, error) {
	cfg, err := hyenaConfigOf(c)
	switch {
	case err != nil:
		return nil, err
	case c.Has("in.ids"):
		return stripedModel(c)
	case c.Has("param.inner_mha_cls.Wqkv.weight"):
		return stripedAttention(c, cfg)
	case c.Has("in.z"):
		split := hyena.Thirds
		if cfg.ColumnSplit {
			split = hyena.ByHead
		}
		return cascade(c, cfg, hyena.CascadeConfig{Dim: cfg.Channels, Split: split, Heads: cfg.Heads, ShortLength: cfg.ShortTaps, States: *cfg.States})
	}
	split := hyena.Thirds
	if cfg.ColumnSplit {
		split = hyena.ByHead
	}
	m, err := hyena.NewStriped(hyena.StripedConfig{CascadeConfig: hyena.CascadeConfig{
		Dim: cfg.Hidden, Split: split, Heads: cfg.AttnHeads, ShortLength: cfg.ShortTaps, States: *cfg.States,
	}})
	if err != nil {
		return nil, err
	}
	return stripedBlock(c, cfg, m, "")
}

// block returns a block around a mixer.
func (cfg *hyenaConfig) block(m seqmix.Mixer, prefix string) (*hyena.Block, error) {
	bc := hyena.BlockConfig{Dim: cfg.Hidden, MultipleOf: cfg.MultipleOf, Eps: cfg.Eps, FlashNorm: cfg.FlashNorm}
	if cfg.Inner != nil {
		bc.Inner = *cfg.Inner
	}
	if cfg.Activation != "" {
		act, err := nn.ParseActivation(cfg.Activation)
		if err != nil {
			return nil, err
		}
		bc.Activation = act
	}
	return hyena.NewBlock(bc, m, prefix)
}

func stripedBlock(c *goldentest.Case, cfg *hyenaConfig, m seqmix.Mixer, prefix string) (results, error) {
	b, err := cfg.block(m, prefix)
	if err != nil {
		return nil, err
	}
	if err := setParams(c, b, ""); err != nil {
		return nil, err
	}
	u := seqOf(c, "in.u")
	y := like(u)
	if mask := c.Tensor("in.mask"); mask != nil {
		b.MixMasked(y, u, mask)
		return withGradients(c, maskedBlock{b, mask}, results{"out.y": y.Data})
	}
	b.Mix(y, u)
	if err := pieces(c, b, u, "out.y"); err != nil {
		return nil, err
	}
	return withGradients(c, b, results{"out.y": y.Data})
}

// maskedBlock is a block that is recorded with a mask.
type maskedBlock struct {
	*hyena.Block
	mask []float32
}

func (b maskedBlock) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	return b.RecordMasked(dst, src, b.mask)
}

// attention returns the attention of StripedHyena: grouped queries, rotated.
func (cfg *hyenaConfig) attention() (*attention.MultiHead, error) {
	rope := &attention.RoPEConfig{Base: cfg.Base}
	if cfg.Factor > 0 {
		rope.Scaling = &attention.Scaling{Type: attention.LinearScaling, Factor: cfg.Factor}
	}
	return attention.NewMultiHead(attention.MultiHeadConfig{
		Dim: cfg.Hidden, Heads: cfg.AttnHeads, KVHeads: cfg.AttnHeads / max(cfg.ProjGroups, 1), Layout: attention.Wqkv,
		QKVBias: cfg.QKVBias, OutBias: cfg.OutBias, RoPE: rope,
	})
}

func stripedAttention(c *goldentest.Case, cfg *hyenaConfig) (results, error) {
	m, err := cfg.attention()
	if err != nil {
		return nil, err
	}
	return stripedBlock(c, cfg, m, "inner_mha_cls.")
}

// evo2 runs the filters of StripedHyena 2.
func evo2(c *goldentest.Case) (results, error) {
	if c.Has("in.ids") {
		return stripedModel(c)
	}
	cfg, err := hyenaConfigOf(c)
	if err != nil {
		return nil, err
	}
	cc := hyena.CascadeConfig{Dim: cfg.Channels, Groups: cfg.Groups}
	switch {
	case c.Has("param.log_poles"):
		cc.Kind, cc.Groups, cc.States = hyena.LongFilter, 0, *cfg.States
	case c.Has("param.D"):
		cc.Kind, cc.Length = hyena.MediumFilter, *cfg.Taps
	default:
		cc.Kind, cc.Length = hyena.ShortFilter, *cfg.Taps
	}
	return cascade(c, cfg, cc)
}

// cascadeParams is a cascade as a mixer, for setParams.
type cascadeParams struct{ *hyena.Cascade }

func (c cascadeParams) Mix(dst, src tensor.Seq) { c.Apply(dst, src) }

// cascade runs a filter as a whole, and a prompt with single positions after it.
func cascade(c *goldentest.Case, cfg *hyenaConfig, cc hyena.CascadeConfig) (results, error) {
	m, err := hyena.NewCascade(cc)
	if err != nil {
		return nil, err
	}
	if err := setParams(c, cascadeParams{m}, ""); err != nil {
		return nil, err
	}
	z := seqOf(c, "in.z")
	y := tensor.NewSeq(z.Batch, z.Len, m.Dim())
	m.Apply(y, z)
	r := results{"out.y": y.Data}
	if c.Has("in.dy") {
		dz, grads := like(z), allGrads(cascadeParams{m})
		m.Backward(dz, seqOf(c, "in.dy"), z, grads)
		r["grad.z"] = dz.Data
		for name, p := range m.Params() {
			r["grad."+name] = grads.Of(p)
		}
	}
	s, err := m.NewStream(z.Batch)
	if err != nil {
		return nil, err
	}
	prompt, steps := tensor.NewSeq(z.Batch, cfg.Prompt, m.Dim()), tensor.NewSeq(z.Batch, cfg.Steps, m.Dim())
	s.Apply(prompt, z.Slice(0, cfg.Prompt))
	cascadeState(r, s, "prefill")
	for i := range cfg.Steps {
		s.Apply(steps.Slice(i, i+1), z.Slice(cfg.Prompt+i, cfg.Prompt+i+1))
	}
	cascadeState(r, s, "final")
	r["out.y_prompt"], r["out.y_steps"] = prompt.Data, steps.Data
	return r, nil
}

func cascadeState(r results, s *hyena.CascadeStream, when string) {
	short, inner := s.State()
	r["state.fir_"+when] = short.Data()
	r["state.iir_"+when], r["state.fir_inner_"+when] = inner.Data(), inner.Data()
}

// hankelValues computes the singular values that distillation goes by.
func hankelValues(c *goldentest.Case) (results, error) {
	var cfg struct {
		Size int `json:"hankel_size"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	h, want := seqOf(c, "in.h"), seqOf(c, "out.hankel_sv")
	var all []float32
	for ch := range h.Len {
		var taps []float64
		for _, v := range h.At(0, ch) {
			taps = append(taps, float64(v))
		}
		values, err := hyena.HankelSingularValues(taps, cfg.Size)
		if err != nil {
			return nil, err
		}
		for _, v := range values[:want.Dim] {
			all = append(all, float32(v))
		}
	}
	return results{"out.hankel_sv": all}, nil
}
