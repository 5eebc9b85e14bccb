package golden

import (
	"fmt"
	"maps"
	"math"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

var _ = register(map[string]computation{
	"s4d":      standaloneS4D,
	"ssm_diag": diagonalSSM,
	"s4_dplr":  dplrSSM,
	"s4_block": s4Block,
	"init":     diagonalInit,
	"hippo":    hippo,
})

// ltiConfig is the union of the configurations of linear time-invariant systems.
type ltiConfig struct {
	Channels      int                `json:"H"`
	States        int                `json:"N"`
	Length        int                `json:"L"`
	Disc          ssm.Discretization `json:"disc"`
	Copies        int                `json:"n_ssm"`
	Rate          float64            `json:"rate"`
	Rank          int                `json:"rank"`
	Kernel        string             `json:"kernel"`
	Bidirectional bool               `json:"bidirectional"`
	Init          ssm.Init           `json:"init"`
	Measure       ssm.Init           `json:"measure"`
}

func ltiConfigOf(c *goldentest.Case) (ltiConfig, error) {
	var cfg ltiConfig
	err := c.Config(&cfg)
	return cfg, err
}

// An impulsive mixer tells its impulse responses.
type impulsive interface {
	seqmix.Streamer
	seqmix.Trainer
	Kernel(n int) *tensor.Tensor
	StateBackward(dsrc, ddst, src tensor.Seq, state, dstate *tensor.Tensor, grads seqmix.Grads)
}

// standaloneS4D runs an S4D by itself and with the layers around it.
func standaloneS4D(c *goldentest.Case) (results, error) {
	cfg, err := ltiConfigOf(c)
	if err != nil {
		return nil, err
	}
	block, err := ssm.NewS4Block(ssm.S4BlockConfig{DModel: cfg.Channels, S4D: &ssm.S4DConfig{DState: cfg.States, Disc: cfg.Disc}})
	if err != nil {
		return nil, err
	}
	if err := setParams(c, block, ""); err != nil {
		return nil, err
	}
	u := channelsLast(c, "in.u")
	y, conv := like(u), like(u)
	block.Mix(y, u)
	layer := block.Layer().(*ssm.S4D)
	layer.Mix(conv, u)
	r := results{
		"out.y": channelsFirst(y), "out.conv": channelsFirst(conv), "out.K": layer.Kernel(cfg.Length).Data(),
	}
	if err := streamed(c, block, u, "out.y", channelsFirst); err != nil {
		return nil, err
	}
	grads := allGrads(block)
	du, dlayer := like(u), like(u)
	for _, part := range []struct {
		m       seqmix.Trainer
		dsrc    tensor.Seq
		ddst    string
		src     tensor.Seq
		without string
	}{
		{block, du, "in.dy", u, ""}, {layer, dlayer, "in.dconv", u, ""}, {layer, like(impulses(cfg)), "in.dK", impulses(cfg), "D"},
	} {
		tape, err := part.m.Record(like(part.src), part.src)
		if err != nil {
			return nil, err
		}
		tape.Backward(part.dsrc, channelRows(c, part.ddst), without(part.m, part.without, grads))
	}
	tensor.AddSeq(du, du, dlayer)
	return addGrads(c, r, block, du, grads, ""), nil
}

// impulses returns one sequence with an impulse in every channel, for which a system
// without D gives its impulse responses.
func impulses(cfg ltiConfig) tensor.Seq {
	s := tensor.NewSeq(1, cfg.Length, cfg.Channels)
	for i := range s.At(0, 0) {
		s.At(0, 0)[i] = 1
	}
	return s
}

// without returns grads without that of one parameter of m, which so is frozen.
func without(m seqmix.Mixer, name string, grads seqmix.Grads) seqmix.Grads {
	rest := maps.Clone(grads)
	for n, p := range m.Params() {
		if n == name {
			delete(rest, p)
		}
	}
	return rest
}

// addGrads adds the gradients of the input and of those parameters to r that the case
// has gradients for; prefix is left out of their names.
func addGrads(c *goldentest.Case, r results, m seqmix.Mixer, du tensor.Seq, grads seqmix.Grads, prefix string) results {
	r["grad.u"] = channelsFirst(du)
	for name, p := range m.Params() {
		if name = "grad." + strings.TrimPrefix(name, prefix); c.Has(name) {
			r[name] = grads.Of(p)
		}
	}
	return r
}

// channelRows describes a tensor of shape (channels, length), or (batch, channels,
// length), as sequences.
func channelRows(c *goldentest.Case, name string) tensor.Seq {
	shape := c.Shape(name)
	batch, channels, length := 1, shape[len(shape)-2], shape[len(shape)-1]
	if len(shape) == 3 {
		batch = shape[0]
	}
	v, s := c.Tensor(name), tensor.NewSeq(batch, length, channels)
	for i := range v {
		s.At(i/length/channels, i%length)[i/length%channels] = v[i]
	}
	return s
}

// streamed compares what a stream of m makes of u, in three pieces, with a tensor of
// the case. form turns it into the layout of the case.
func streamed(c *goldentest.Case, m seqmix.Streamer, u tensor.Seq, name string, form func(tensor.Seq) []float32) error {
	s, err := m.NewStream(u.Batch)
	if err != nil {
		return err
	}
	y := like(u)
	cuts := []int{0, u.Len / 3, u.Len / 2, u.Len}
	for i := range 3 {
		s.Mix(y.Slice(cuts[i], cuts[i+1]), u.Slice(cuts[i], cuts[i+1]))
	}
	if err := c.Compare(name, form(y)); err != nil {
		return fmt.Errorf("streamed: %w", err)
	}
	return nil
}

func diagonalSSM(c *goldentest.Case) (results, error) {
	cfg, err := ltiConfigOf(c)
	if err != nil {
		return nil, err
	}
	m, err := ssm.NewS4D(ssm.S4DConfig{
		DModel: cfg.Channels, DState: cfg.States, Disc: cfg.Disc, NSSM: cfg.Copies, Rate: cfg.Rate, Layout: ssm.StateSpacesS4,
	})
	if err != nil {
		return nil, err
	}
	if err := setKernel(c, m, nil); err != nil {
		return nil, err
	}
	return fromState(c, m, cfg.Length)
}

func dplrSSM(c *goldentest.Case) (results, error) {
	cfg, err := ltiConfigOf(c)
	if err != nil {
		return nil, err
	}
	m, err := ssm.NewS4(ssm.S4Config{DModel: cfg.Channels, DState: cfg.States, Rank: cfg.Rank})
	if err != nil {
		return nil, err
	}
	if err := setKernel(c, m, map[string]float32{"kernel.l_kernel": float32(cfg.Length)}); err != nil {
		return nil, err
	}
	r, err := fromState(c, m, cfg.Length)
	if err != nil {
		return nil, err
	}
	inTime, err := m.C()
	if err != nil {
		return nil, err
	}
	r["out.C_time_ri"] = inTime.Data()
	return r, nil
}

// setKernel fills the parameters of the kernel of m from the case, which has no D, and
// those in values by their name.
func setKernel(c *goldentest.Case, m seqmix.Mixer, values map[string]float32) error {
	const prefix = "kernel."
	for name, p := range m.Params() {
		v := []float32{values[name]}
		switch _, given := values[name]; {
		case name == "D":
			v = make([]float32, p.Len())
		case !given:
			v = c.Tensor("param." + name[len(prefix):])
		}
		if len(v) != p.Len() {
			return fmt.Errorf("%s: %d elements in the case, shape %v in the mixer", name, len(v), p.Shape())
		}
		p.SetFloat32s(v)
	}
	return nil
}

// fromState runs a system from the state of the case, with its input and without.
func fromState(c *goldentest.Case, m impulsive, length int) (results, error) {
	u := channelsLast(c, "in.u")
	stream, err := m.NewStream(u.Batch)
	if err != nil {
		return nil, err
	}
	s := stream.(*ssm.LTIStream)
	initial := tensorOf(c, "in.state_ri")
	silence, y := like(u), like(u)
	s.SetState(initial)
	s.Mix(silence, silence)
	s.SetState(initial)
	s.Mix(y, u)
	r := results{
		"out.K": m.Kernel(length).Data(), "out.K_state": channelsFirst(silence), "out.conv": channelsFirst(y),
	}
	if c.Has("state.final_ri") {
		r["state.final_ri"] = s.State().Data()
	}
	// Whole sequences begin without a state: what it adds is what silence told.
	whole := like(u)
	m.Mix(whole, u)
	tensor.AddSeq(whole, whole, silence)
	if err := c.Compare("out.conv", channelsFirst(whole)); err != nil {
		return nil, err
	}
	return r, addStateGrads(c, r, m, length)
}

// addStateGrads adds the gradients of a system to r, of its impulse responses and of
// what it makes of silence and of the input from a state.
func addStateGrads(c *goldentest.Case, r results, m impulsive, length int) error {
	u, initial := channelsLast(c, "in.u"), tensorOf(c, "in.state_ri")
	grads := without(m, "D", allGrads(m))
	unit := impulses(ltiConfig{Channels: u.Dim, Length: length})
	tape, err := m.Record(like(unit), unit)
	if err != nil {
		return err
	}
	tape.Backward(like(unit), channelRows(c, "in.dK"), grads)

	dstate, dsilence := tensorOf(c, "in.dfinal_ri"), tensor.New(initial.Shape()...)
	if dstate == nil {
		dstate = tensor.New(initial.Shape()...)
	}
	du := like(u)
	m.StateBackward(like(u), channelRows(c, "in.dK_state"), like(u), initial, dsilence, grads)
	m.StateBackward(du, channelRows(c, "in.dconv"), u, initial, dstate, grads)
	tensor.Add(dstate.Data(), dstate.Data(), dsilence.Data())
	r["grad.state_ri"] = dstate.Data()
	addGrads(c, r, m, du, grads, "kernel.")
	return nil
}

func s4Block(c *goldentest.Case) (results, error) {
	cfg, err := ltiConfigOf(c)
	if err != nil {
		return nil, err
	}
	block := ssm.S4BlockConfig{DModel: cfg.Channels}
	switch cfg.Kernel {
	case "diag":
		block.S4D = &ssm.S4DConfig{
			DState: cfg.States, Disc: cfg.Disc, NSSM: cfg.Copies, Rate: cfg.Rate,
			Bidirectional: cfg.Bidirectional, Layout: ssm.StateSpacesS4,
		}
	case "dplr":
		block.S4 = ssm.S4Config{
			DState: cfg.States, Rank: cfg.Rank, NSSM: cfg.Copies, Rate: cfg.Rate, Bidirectional: cfg.Bidirectional,
		}
	default:
		return nil, fmt.Errorf("unknown kernel %q", cfg.Kernel)
	}
	m, err := ssm.NewS4Block(block)
	if err != nil {
		return nil, err
	}
	for name, p := range m.Params() {
		v := c.Tensor("param." + name)
		if name == "layer.kernel.l_kernel" && v == nil {
			v = []float32{float32(cfg.Length)}
		}
		if len(v) != p.Len() {
			return nil, fmt.Errorf("%s: shape %v in the case, %v in the mixer", name, c.Shape("param."+name), p.Shape())
		}
		p.SetFloat32s(v)
	}
	u := seqOf(c, "in.u")
	y := like(u)
	m.Mix(y, u)
	r := results{"out.y": y.Data}
	if !cfg.Bidirectional {
		if err := streamed(c, m, u, "out.y", func(s tensor.Seq) []float32 { return s.Data }); err != nil {
			return nil, err
		}
	}
	r, err = withGradients(c, m, r)
	delete(r, "grad.layer.kernel.l_kernel") // a length
	return r, err
}

func diagonalInit(c *goldentest.Case) (results, error) {
	cfg, err := ltiConfigOf(c)
	if err != nil {
		return nil, err
	}
	a, b, err := ssm.DiagonalInit(cfg.Init, cfg.States)
	if err != nil {
		return nil, err
	}
	r := results{"out.A_ri": pairsOf(a)}
	if c.Has("out.B_abs") {
		for _, z := range b {
			r["out.B_abs"] = append(r["out.B_abs"], float32(math.Hypot(real(z), imag(z))))
		}
	}
	return r, nil
}

func hippo(c *goldentest.Case) (results, error) {
	cfg, err := ltiConfigOf(c)
	if err != nil {
		return nil, err
	}
	h, err := ssm.NewHiPPO(cfg.Measure, cfg.States, cfg.Rank)
	if err != nil {
		return nil, err
	}
	lambda, _, _, err := h.NPLR()
	return results{"out.A": singles(h.A), "out.B": singles(h.B), "out.P": singles(h.P), "out.eig_ri": pairsOf(lambda)}, err
}

func singles(v []float64) []float32 {
	s := make([]float32, len(v))
	for i, x := range v {
		s[i] = float32(x)
	}
	return s
}

// pairsOf returns real and imaginary parts in turn.
func pairsOf(z []complex128) []float32 {
	var s []float32
	for _, c := range z {
		s = append(s, float32(real(c)), float32(imag(c)))
	}
	return s
}
