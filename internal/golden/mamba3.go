package golden

import (
	"fmt"
	"math"

	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

var _ = register(map[string]computation{
	"mamba3_block":     mamba3Block,
	"mamba3_siso_core": trapezoidalScan,
	"heavy_tail":       heavyTail,
})

func heavyTail(c *goldentest.Case) (results, error) {
	y := c.Tensor("in.x")
	dx := c.Tensor("in.dy")
	ssm.HeavyTailGrad(dx, y, dx)
	for i, x := range y {
		if x == 0 {
			dx[i] *= 2 // the reference adds up the derivatives from both sides, 1 each
		}
	}
	ssm.HeavyTail(y, y)
	return results{"out.y": y, "grad.x": dx}, nil
}

// mamba3Block runs a Mamba3 in two pieces.
func mamba3Block(c *goldentest.Case) (results, error) {
	var cfg struct {
		ssm.Mamba3Config
		Rank   int
		Heads  int `json:"nheads"`
		Prefix int
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	cfg.MIMORank, cfg.DInner = cfg.Rank, cfg.Heads*cfg.HeadDim
	m, err := ssm.NewMamba3(cfg.Mamba3Config)
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
	s := stream.(*ssm.Mamba3Stream)
	r, y := results{}, like(src)
	s.Mix(y.Slice(0, cfg.Prefix), src.Slice(0, cfg.Prefix))
	addMamba3State(c, r, s.State(), "_after_prefix")
	s.Mix(y.Slice(cfg.Prefix, src.Len), src.Slice(cfg.Prefix, src.Len))
	addMamba3State(c, r, s.State(), "_final")
	r["out.y"] = y.Data

	whole := like(src)
	m.Mix(whole, src)
	if err := c.Compare("out.y", whole.Data); err != nil {
		return nil, fmt.Errorf("as a whole: %w", err)
	}
	// A state of upstream's form is as good a beginning as what the stream keeps.
	if c.Has("state.ssm_after_prefix") {
		s.SetState(ssm.Mamba3State{
			Angle: tensorOf(c, "state.angle_after_prefix"), SSM: tensorOf(c, "state.ssm_after_prefix"),
			K: tensorOf(c, "state.k_after_prefix"), V: tensorOf(c, "state.v_after_prefix"),
		})
		s.Mix(y.Slice(cfg.Prefix, src.Len), src.Slice(cfg.Prefix, src.Len))
		if err := c.Compare("out.y", y.Data); err != nil {
			return nil, fmt.Errorf("continued from the state: %w", err)
		}
	}
	if !c.Has("grad.u") {
		return r, nil
	}
	return withGradients(c, m, r)
}

// addMamba3State adds those parts of a state to r that the case has.
func addMamba3State(c *goldentest.Case, r results, s ssm.Mamba3State, suffix string) {
	for name, t := range map[string]*tensor.Tensor{"angle": s.Angle, "ssm": s.SSM, "k": s.K, "v": s.V} {
		name = "state." + name + suffix
		if !c.Has(name) {
			continue
		}
		r[name] = t.Data()
		if t == s.Angle {
			alike(r[name], c.Tensor(name))
		}
	}
}

// alike adds multiples of 2π to angles, so that they are next to those in want: some
// references count full turns, some do not.
func alike(angles, want []float32) {
	for i, w := range want {
		a := float64(angles[i])
		angles[i] = float32(a + 2*math.Pi*math.Round((float64(w)-a)/(2*math.Pi)))
	}
}

// trapezoidalScan runs the operation as a whole and cut in two.
func trapezoidalScan(c *goldentest.Case) (results, error) {
	src := headRows(c, "in.V")
	s := ssm.Trapezoid{
		LogDecay: channelsLast(c, "in.ADT"), Delta: channelsLast(c, "in.DT"), Trap: channelsLast(c, "in.trap"),
		B: headRows(c, "in.K"), C: headRows(c, "in.Q"), Groups: c.Shape("in.K")[2],
		BBias: tensorOf(c, "param.K_bias"), CBias: tensorOf(c, "param.Q_bias"),
		Angles: headRows(c, "in.angles"), D: tensorOf(c, "param.D"),
	}
	if c.Has("in.Z") {
		s.Z = headRows(c, "in.Z")
	}
	state := func() *ssm.Mamba3State {
		k := c.Shape("in.k0")
		return &ssm.Mamba3State{
			Angle: tensorOf(c, "in.angle0"), SSM: tensorOf(c, "in.ssm0"),
			K: tensor.FromFloat32s(c.Tensor("in.k0"), k[0], 1, k[1], k[2]), V: tensorOf(c, "in.v0"),
		}
	}
	y := like(src)
	s.State = state()
	ssm.TrapezoidalScan(y, src, s)
	r := results{"out.y": y.Data}
	addMamba3State(c, r, *s.State, "")

	addTrapezoidGrads(c, r, src, s, state())

	at, parts := src.Len/2, like(src)
	s.State = state()
	for _, cut := range [][2]int{{0, at}, {at, src.Len}} {
		p := s
		for _, seq := range []*tensor.Seq{&p.LogDecay, &p.Delta, &p.Trap, &p.B, &p.C, &p.Angles, &p.Z} {
			if seq.Len > 0 {
				*seq = seq.Slice(cut[0], cut[1])
			}
		}
		ssm.TrapezoidalScan(parts.Slice(cut[0], cut[1]), src.Slice(cut[0], cut[1]), p)
	}
	if err := c.Compare("out.y", parts.Data); err != nil {
		return nil, fmt.Errorf("cut at %d: %w", at, err)
	}
	return r, nil
}

// addTrapezoidGrads adds the gradients of the operation, from the given state, to r.
func addTrapezoidGrads(c *goldentest.Case, r results, src tensor.Seq, s ssm.Trapezoid, before *ssm.Mamba3State) {
	s.State = before
	zeros := func(name string) *tensor.Tensor { return tensor.New(c.Shape(name)...) }
	k := c.Shape("in.k0")
	g := ssm.TrapezoidGrads{
		LogDecay: like(s.LogDecay), Delta: like(s.Delta), Trap: like(s.Trap), B: like(s.B), C: like(s.C), Angles: like(s.Angles), Z: like(s.Z),
		BBias: zeros("param.K_bias"), CBias: zeros("param.Q_bias"), D: zeros("param.D"),
		State: &ssm.Mamba3State{
			Angle: zeros("in.angle0"), SSM: tensorOf(c, "in.dssm"),
			K: tensor.FromFloat32s(c.Tensor("in.dk"), k[0], 1, k[1], k[2]), V: zeros("in.v0"),
		},
	}
	dv := like(src)
	ssm.TrapezoidalScanGrad(dv, headRows(c, "in.dy"), src, s, g)
	for name, seq := range map[string]tensor.Seq{"V": dv, "K": g.B, "Q": g.C, "angles": g.Angles, "Z": g.Z} {
		r["grad."+name] = seq.Data
	}
	for name, seq := range map[string]tensor.Seq{"ADT": g.LogDecay, "DT": g.Delta, "trap": g.Trap} {
		r["grad."+name] = channelsFirst(seq)
	}
	for name, t := range map[string]*tensor.Tensor{
		"K_bias": g.BBias, "Q_bias": g.CBias, "D": g.D,
		"angle0": g.State.Angle, "ssm0": g.State.SSM, "k0": g.State.K, "v0": g.State.V,
	} {
		r["grad."+name] = t.Data()
	}
}
