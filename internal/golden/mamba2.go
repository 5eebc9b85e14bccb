package golden

import (
	"fmt"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

var _ = register(map[string]computation{
	"ssd":           stateSpaceDual,
	"gated_rmsnorm": gatedRMSNorm,
	"mamba2_block":  mamba2Block,
})

// stateSpaceDual runs the operation as a whole and cut in two.
func stateSpaceDual(c *goldentest.Case) (results, error) {
	var cfg struct {
		Softplus bool      `json:"dt_softplus"`
		Limit    ssm.Limit `json:"dt_limit"`
		P        int
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	src := headRows(c, "in.x")
	s := ssm.SSD{
		A: tensorOf(c, "param.A"), Delta: seqOf(c, "in.dt"), DeltaBias: tensorOf(c, "param.dt_bias"),
		Softplus: cfg.Softplus, Limit: cfg.Limit,
		B: headRows(c, "in.B"), C: headRows(c, "in.C"), Groups: c.Shape("in.B")[2], D: tensorOf(c, "param.D"),
		State: tensorOf(c, "in.h0"), Starts: startsOf(c),
	}
	if c.Has("in.z") {
		s.Z = headRows(c, "in.z")
	}
	if s.State == nil {
		s.State = tensor.New(src.Batch, s.A.Len(), cfg.P, s.B.Dim/s.Groups)
	}
	initial := slices.Clone(s.State.Data())
	y := like(src)
	ssm.StateSpaceDual(y, src, s)
	r := results{"out.y": y.Data, "state.final": slices.Clone(s.State.Data())}

	copy(s.State.Data(), initial)
	if c.Has("grad.x") {
		addSSDGrads(c, r, src, s)
	}
	at := src.Len / 2
	parts := like(src)
	ssm.StateSpaceDual(parts.Slice(0, at), src.Slice(0, at), ssdPart(s, 0, at))
	ssm.StateSpaceDual(parts.Slice(at, src.Len), src.Slice(at, src.Len), ssdPart(s, at, src.Len))
	for name, part := range (results{"out.y": parts.Data, "state.final": s.State.Data()}) {
		if err := c.Compare(name, part); err != nil {
			return nil, fmt.Errorf("cut at %d: %w", at, err)
		}
	}
	return r, nil
}

// addSSDGrads adds the gradients of the operation to r.
func addSSDGrads(c *goldentest.Case, r results, src tensor.Seq, s ssm.SSD) {
	like0 := func(t *tensor.Tensor) *tensor.Tensor {
		if t == nil {
			return nil
		}
		return tensor.New(t.Shape()...)
	}
	g := ssm.SSDGrads{
		A: like0(s.A), DeltaBias: like0(s.DeltaBias), D: like0(s.D),
		Delta: like(s.Delta), B: like(s.B), C: like(s.C), Z: like(s.Z), State: tensorOf(c, "in.dfinal"),
	}
	dx := like(src)
	ssm.StateSpaceDualGrad(dx, headRows(c, "in.dy"), src, s, g)
	r["grad.x"], r["grad.dt"], r["grad.A"] = dx.Data, g.Delta.Data, g.A.Data()
	r["grad.B"], r["grad.C"] = g.B.Data, g.C.Data
	if g.DeltaBias != nil {
		r["grad.dt_bias"] = g.DeltaBias.Data()
	}
	if g.D != nil {
		r["grad.D"] = g.D.Data()
	}
	if c.Has("in.z") {
		r["grad.z"] = g.Z.Data
	}
	if c.Has("grad.h0") {
		r["grad.h0"] = g.State.Data()
	}
}

// headRows describes a tensor of shape (batch, length, heads, width).
func headRows(c *goldentest.Case, name string) tensor.Seq {
	shape := c.Shape(name)
	return tensor.SeqOf(c.Tensor(name), shape[0], shape[1], shape[2]*shape[3])
}

// startsOf returns where seq_idx, of shape (batch, length), changes.
func startsOf(c *goldentest.Case) [][]int {
	if !c.Has("in.seq_idx") {
		return nil
	}
	batch, length, v := c.Shape("in.seq_idx")[0], c.Shape("in.seq_idx")[1], c.Tensor("in.seq_idx")
	starts := make([][]int, batch)
	for b := range starts {
		row := v[b*length : (b+1)*length]
		for t := 1; t < length; t++ {
			if row[t] != row[t-1] {
				starts[b] = append(starts[b], t)
			}
		}
	}
	return starts
}

// ssdPart returns the arguments for positions from to to-1.
func ssdPart(s ssm.SSD, from, to int) ssm.SSD {
	for _, seq := range []*tensor.Seq{&s.Delta, &s.Z, &s.B, &s.C} {
		if seq.Len > 0 {
			*seq = seq.Slice(from, to)
		}
	}
	starts := make([][]int, len(s.Starts))
	for b, all := range s.Starts {
		for _, t := range all {
			if from <= t && t < to {
				starts[b] = append(starts[b], t-from)
			}
		}
	}
	if s.Starts != nil {
		s.Starts = starts
	}
	return s
}

func gatedRMSNorm(c *goldentest.Case) (results, error) {
	var cfg struct {
		N, Groups      int
		NormBeforeGate bool `json:"norm_before_gate"`
		Eps            float32
		Gate           bool
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	n, err := ssm.NewGatedRMSNorm(cfg.N, cfg.Groups, cfg.Eps, cfg.NormBeforeGate)
	if err != nil {
		return nil, err
	}
	n.Weight.SetFloat32s(c.Tensor("param.weight"))
	src := seqOf(c, "in.x")
	var gate tensor.Seq
	if cfg.Gate {
		gate = seqOf(c, "in.z")
	}
	y := like(src)
	n.Apply(y, src, gate)
	r := results{"out.y": y.Data}
	if c.Has("grad.x") {
		dx, dz, grads := like(src), like(gate), seqmix.Grads{n.Weight: tensor.New(cfg.N)}
		n.Backward(dx, dz, seqOf(c, "in.dy"), src, gate, grads)
		r["grad.x"], r["grad.weight"] = dx.Data, grads.Of(n.Weight)
		if cfg.Gate {
			r["grad.z"] = dz.Data
		}
	}
	return r, nil
}

// mamba2Block runs a Mamba2 in two pieces.
func mamba2Block(c *goldentest.Case) (results, error) {
	var cfg struct {
		ssm.Mamba2Config
		Prefix int
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	m, err := ssm.NewMamba2(cfg.Mamba2Config)
	if err != nil {
		return nil, err
	}
	if err := setParams(c, m, ""); err != nil {
		return nil, err
	}
	src := seqOf(c, "in.u")
	stream, err := m.NewStream(src.Batch)
	if err != nil {
		return nil, err
	}
	s := stream.(*ssm.Mamba2Stream)
	r, y := results{}, like(src)
	inputs := mamba2Inputs(m, src)
	for from, to := 0, max(cfg.Prefix, 1); from < src.Len; from, to = to, src.Len {
		s.Mix(y.Slice(from, to), src.Slice(from, to))
		name := "final"
		if to == cfg.Prefix {
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

// mamba2Inputs returns what the convolution of m reads of src.
func mamba2Inputs(m *ssm.Mamba2, src tensor.Seq) tensor.Seq {
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
	cfg := m.Config()
	proj := tensor.NewSeq(src.Batch, src.Len, w.Dim(0))
	tensor.Linear(proj, src, w, bias)
	xbc := tensor.NewSeq(src.Batch, src.Len, cfg.DSSM+2*cfg.NGroups*cfg.DState)
	for b := range src.Batch {
		for t := range src.Len {
			copy(xbc.At(b, t), proj.At(b, t)[2*(cfg.DInner-cfg.DSSM)+cfg.DSSM:])
		}
	}
	return xbc
}
