package golden

import (
	"fmt"
	"slices"

	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

var _ = register(map[string]computation{
	"selective_scan":         selectiveScan,
	"selective_scan_complex": complexScan,
	"mamba1_block":           mambaBlock,
})

// selectiveScan runs a scan as a whole and, if the case says so, cut in two.
func selectiveScan(c *goldentest.Case) (results, error) {
	var cfg struct {
		Splits []int `json:"splits"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	src, s, err := scanOf(c)
	if err != nil {
		return nil, err
	}
	initial := slices.Clone(s.State.Data())
	y := like(src)
	ssm.SelectiveScan(y, src, s)
	r := results{"out.y": channelsFirst(y), "state.last": s.State.Data()}
	if c.Has("grad.u") {
		before := s
		before.State = tensor.FromFloat32s(slices.Clone(initial), s.State.Shape()...)
		addScanGrads(c, r, src, before)
	}
	for _, at := range cfg.Splits {
		s.State = tensor.FromFloat32s(slices.Clone(initial), s.State.Shape()...)
		parts := like(src)
		ssm.SelectiveScan(parts.Slice(0, at), src.Slice(0, at), scanPart(s, 0, at))
		r[fmt.Sprint("state.after_", at)] = slices.Clone(s.State.Data())
		ssm.SelectiveScan(parts.Slice(at, src.Len), src.Slice(at, src.Len), scanPart(s, at, src.Len))
		for name, part := range (results{"out.y": channelsFirst(parts), "state.last": s.State.Data()}) {
			if err := c.Compare(name, part); err != nil {
				return nil, fmt.Errorf("cut at %d: %w", at, err)
			}
		}
	}
	return r, nil
}

// addScanGrads adds the gradients of a scan to r.
func addScanGrads(c *goldentest.Case, r results, src tensor.Seq, s ssm.Scan) {
	zeros := func(t *tensor.Tensor) *tensor.Tensor {
		if t == nil {
			return nil
		}
		return tensor.New(t.Shape()...)
	}
	g := ssm.ScanGrads{
		A: zeros(s.A), DeltaBias: zeros(s.DeltaBias), D: zeros(s.D), ConstB: zeros(s.ConstB), ConstC: zeros(s.ConstC),
		Delta: like(s.Delta), B: like(s.B), C: like(s.C), Z: like(s.Z), State: tensorOf(c, "in.dlast"),
	}
	if g.State == nil {
		g.State = zeros(s.State)
	}
	du := like(src)
	ssm.SelectiveScanGrad(du, channelsLast(c, "in.dy"), src, s, g)
	r["grad.u"], r["grad.delta"], r["grad.z"] = channelsFirst(du), channelsFirst(g.Delta), channelsFirst(g.Z)
	r["grad.h0"] = g.State.Data()
	for name, t := range map[string]*tensor.Tensor{"A": g.A, "A_ri": g.A, "delta_bias": g.DeltaBias, "D": g.D, "B": g.ConstB, "C": g.ConstC} {
		if t != nil {
			r["grad."+name] = t.Data()
		}
	}
	columns := func(seq tensor.Seq) []float32 {
		if s.A.Dim(-1) == 2 && len(s.A.Shape()) == 3 {
			return complexColumns(seq)
		}
		return channelsFirst(seq)
	}
	if s.ConstB == nil {
		r["grad.B"] = columns(g.B)
	}
	if s.ConstC == nil {
		r["grad.C"] = columns(g.C)
	}
	for name := range r {
		if !c.Has(name) {
			delete(r, name)
		}
	}
}

// complexColumns is the inverse of complexRows.
func complexColumns(s tensor.Seq) []float32 {
	out := tensor.NewSeq(s.Batch, 2*s.Len, s.Dim/2)
	for b := range out.Batch {
		for i := range out.Len {
			for k := range out.Dim {
				out.At(b, i)[k] = s.At(b, i/2)[2*k+i%2]
			}
		}
	}
	return channelsFirst(out)
}

// scanOf returns the input and the arguments of a scan.
func scanOf(c *goldentest.Case) (tensor.Seq, ssm.Scan, error) {
	if !c.Has("param.A") {
		return scanOfNumbers(c)
	}
	var cfg struct {
		Softplus bool `json:"delta_softplus"`
	}
	if err := c.Config(&cfg); err != nil {
		return tensor.Seq{}, ssm.Scan{}, err
	}
	src := channelsLast(c, "in.u")
	s := ssm.Scan{
		A: tensorOf(c, "param.A"), Delta: channelsLast(c, "in.delta"), DeltaBias: tensorOf(c, "param.delta_bias"), Softplus: cfg.Softplus,
		D: tensorOf(c, "param.D"), ConstB: tensorOf(c, "param.B"), ConstC: tensorOf(c, "param.C"),
		State: tensorOf(c, "in.h0"),
	}
	if s.State == nil {
		s.State = tensor.New(src.Batch, src.Dim, s.A.Dim(1))
	}
	for name, seq := range map[string]*tensor.Seq{"in.z": &s.Z, "in.B": &s.B, "in.C": &s.C} {
		if c.Has(name) {
			*seq = channelsLast(c, name)
		}
	}
	return src, s, nil
}

// scanOfNumbers is scanOf for one channel with one state, whose A, B, C and Δ are
// numbers in the configuration.
func scanOfNumbers(c *goldentest.Case) (tensor.Seq, ssm.Scan, error) {
	var cfg struct {
		A, B, C, Delta float32
		Softplus       bool `json:"delta_softplus"`
	}
	err := c.Config(&cfg)
	number := func(v float32) *tensor.Tensor { return tensor.FromFloat32s([]float32{v}, 1, 1) }
	src := channelsLast(c, "in.u")
	delta := like(src)
	for i := range delta.Data {
		delta.Data[i] = cfg.Delta
	}
	return src, ssm.Scan{
		A: number(cfg.A), ConstB: number(cfg.B), ConstC: number(cfg.C), Delta: delta, Softplus: cfg.Softplus,
		State: tensor.New(1, 1, 1),
	}, err
}

// scanPart returns the scan of positions from to to-1.
func scanPart(s ssm.Scan, from, to int) ssm.Scan {
	for _, seq := range []*tensor.Seq{&s.Delta, &s.Z, &s.B, &s.C} {
		if seq.Len > 0 {
			*seq = seq.Slice(from, to)
		}
	}
	return s
}

func complexScan(c *goldentest.Case) (results, error) {
	var cfg struct {
		Softplus bool `json:"delta_softplus"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	src, a := channelsLast(c, "in.u"), tensorOf(c, "param.A_ri")
	s := ssm.Scan{
		A: a, Delta: channelsLast(c, "in.delta"), DeltaBias: tensorOf(c, "param.delta_bias"), Softplus: cfg.Softplus,
		B: complexRows(c, "in.B", a.Dim(1)), C: complexRows(c, "in.C", a.Dim(1)), D: tensorOf(c, "param.D"),
		State: tensor.New(src.Batch, src.Dim, a.Dim(1), 2),
	}
	if c.Has("in.z") {
		s.Z = channelsLast(c, "in.z")
	}
	y := like(src)
	ssm.SelectiveScan(y, src, s)
	r := results{"out.y": channelsFirst(y), "state.last_ri": s.State.Data()}
	s.State = nil
	if c.Has("grad.u") {
		s.State = tensor.New(src.Batch, src.Dim, a.Dim(1), 2)
		addScanGrads(c, r, src, s)
	}
	return r, nil
}

// complexRows turns B or C of shape (batch, n, 2·length), with real and imaginary parts
// in turn, into sequences of n complex numbers.
func complexRows(c *goldentest.Case, name string, n int) tensor.Seq {
	in := channelsLast(c, name)
	s := tensor.NewSeq(in.Batch, in.Len/2, 2*n)
	for b := range in.Batch {
		for i := range in.Len {
			for k, v := range in.At(b, i) {
				s.At(b, i/2)[2*k+i%2] = v
			}
		}
	}
	return s
}

// mambaBlock runs a Mamba in two pieces.
func mambaBlock(c *goldentest.Case) (results, error) {
	var cfg struct {
		ssm.MambaConfig
		Norm    string  `json:"norm"`
		NormEps float32 `json:"norm_eps"`
		Prefix  int     `json:"prefix"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	switch cfg.Norm {
	case "":
	case "falcon":
		cfg.InnerNorm = ssm.PlainNorm
	case "jamba":
		cfg.InnerNorm = ssm.WeightedNorm
	default:
		return nil, fmt.Errorf("unknown norm %q", cfg.Norm)
	}
	cfg.MambaConfig.NormEps = cfg.NormEps
	m, err := ssm.NewMamba(cfg.MambaConfig)
	if err != nil {
		return nil, err
	}
	if err := setParams(c, m, ""); err != nil {
		return nil, err
	}
	return mambaPieces(c, m, seqOf(c, "in.u"), cfg.Prefix)
}

func mambaPieces(c *goldentest.Case, m *ssm.Mamba, src tensor.Seq, prefix int) (results, error) {
	stream, err := m.NewStream(src.Batch)
	if err != nil {
		return nil, err
	}
	s := stream.(*ssm.MambaStream)
	r, y := results{}, like(src)
	inputs := convInputs(m, src)
	for from, to := 0, prefix; from < src.Len; from, to = to, src.Len {
		s.Mix(y.Slice(from, to), src.Slice(from, to))
		name := "final"
		if to == prefix {
			name = "after_prefix"
		}
		conv, h := s.State()
		if want := c.Shape("state.conv_" + name); want != nil {
			r["state.conv_"+name] = convColumns(conv, inputs, to, want[2])
			r["state.ssm_"+name] = h.Data()
		}
	}
	whole := like(src)
	m.Mix(whole, src)
	r["out.y"] = y.Data
	if err := c.Compare("out.y", whole.Data); err != nil {
		return nil, err
	}
	return withGradients(c, m, r)
}

// convInputs returns what the convolution of m reads of src, and more.
func convInputs(m *ssm.Mamba, src tensor.Seq) tensor.Seq {
	var w *tensor.Tensor
	var bias []float32
	for name, p := range m.Params() {
		switch name {
		case "in_proj.weight":
			w = p
		case "in_proj.bias":
			bias = p.Data()
		}
	}
	xz := tensor.NewSeq(src.Batch, src.Len, w.Dim(0))
	tensor.Linear(xz, src, w, bias)
	return xz
}

// convColumns returns the state of a convolution after length positions in upstream's
// form, (batch, E, columns) with the newest input in the last column. Where upstream
// keeps one more than there are in ours, that one is taken from the inputs.
func convColumns(conv *tensor.Tensor, inputs tensor.Seq, length, columns int) []float32 {
	batch, kept, e := conv.Dim(0), conv.Dim(1), conv.Dim(2)
	v := make([]float32, batch*e*columns)
	for i := range v {
		b, ch, j := i/columns/e, i/columns%e, i%columns
		if k := j - (columns - kept); k >= 0 {
			v[i] = conv.Data()[(b*kept+k)*e+ch]
		} else if p := length - columns + j; p >= 0 {
			v[i] = inputs.At(b, p)[ch]
		}
	}
	return v
}
