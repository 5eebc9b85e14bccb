package golden

import (
	"maps"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

var _ = register(map[string]computation{
	"ssm_shift": shiftSSM,
	"h3":        h3Layer,
})

func shiftSSM(c *goldentest.Case) (results, error) {
	cfg, err := ltiConfigOf(c)
	if err != nil {
		return nil, err
	}
	m, err := ssm.NewShift(ssm.ShiftConfig{DModel: cfg.Channels, DState: cfg.States})
	if err != nil {
		return nil, err
	}
	if err := setParams(c, m, ""); err != nil {
		return nil, err
	}
	u := channelsLast(c, "in.u")
	stream, err := m.NewStream(u.Batch)
	if err != nil {
		return nil, err
	}
	s, y, whole := stream.(*ssm.ShiftStream), like(u), like(u)
	cut := u.Len / 2
	s.Mix(y.Slice(0, cut), u.Slice(0, cut))
	s.Mix(y.Slice(cut, u.Len), u.Slice(cut, u.Len))
	r := results{"out.K": m.Kernel(cfg.Length).Data(), "out.conv": channelsFirst(y), "state.final_from_zero": s.State().Data()}
	m.Mix(whole, u)
	if err := c.Compare("out.conv", channelsFirst(whole)); err != nil {
		return nil, err
	}
	if err := addShiftGrads(c, r, m); err != nil {
		return nil, err
	}
	// What a state leaves is the response of a system that has it for its input.
	initial := tensorOf(c, "in.state")
	n := cfg.Channels * cfg.States
	for b := range u.Batch {
		for name, p := range m.Params() {
			if name == "B" {
				p.SetFloat32s(initial.Data()[b*n : (b+1)*n])
			}
		}
		r["out.K_state"] = append(r["out.K_state"], m.Kernel(cfg.Length).Data()...)
	}
	return r, nil
}

// addShiftGrads adds the gradients of m to r: of its impulse responses, of those with a
// state in the place of B, and of its output and last states.
func addShiftGrads(c *goldentest.Case, r results, m *ssm.Shift) error {
	var b *tensor.Tensor
	for name, p := range m.Params() {
		if name == "B" {
			b = p
		}
	}
	u, grads := channelsLast(c, "in.u"), allGrads(m)
	unit := impulses(ltiConfig{Channels: u.Dim, Length: u.Len})
	respond := func(dk tensor.Seq, grads seqmix.Grads) error {
		tape, err := m.Record(like(unit), unit)
		if err == nil {
			tape.Backward(like(unit), dk, grads)
		}
		return err
	}
	if err := respond(channelRows(c, "in.dK"), grads); err != nil {
		return err
	}
	du := like(u)
	m.StateBackward(du, channelRows(c, "in.dconv"), u, tensorOf(c, "in.dfinal_from_zero"), grads)
	before, initial, dks := slices.Clone(b.Data()), tensorOf(c, "in.state"), channelRows(c, "in.dK_state")
	for i := range u.Batch {
		state := maps.Clone(grads)
		state[b] = tensor.New(b.Shape()...)
		b.SetFloat32s(initial.Data()[i*b.Len() : (i+1)*b.Len()])
		if err := respond(dks.Sequence(i), state); err != nil {
			return err
		}
		r["grad.state"] = append(r["grad.state"], state.Of(b)...)
	}
	b.SetFloat32s(before)
	addGrads(c, r, m, du, grads, "")
	return nil
}

func h3Layer(c *goldentest.Case) (results, error) {
	var cfg ssm.H3Config
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	m, err := ssm.NewH3(cfg)
	if err != nil {
		return nil, err
	}
	if err := setParams(c, m, ""); err != nil {
		return nil, err
	}
	u := seqOf(c, "in.u")
	y := like(u)
	m.Mix(y, u)
	stream, err := m.NewStream(u.Batch)
	if err != nil {
		return nil, err
	}
	s, pieces := stream.(*ssm.H3Stream), like(u)
	for i := range u.Len {
		s.Mix(pieces.Slice(i, i+1), u.Slice(i, i+1))
	}
	r := results{"out.y": y.Data}
	for name, state := range h3States(s) {
		if c.Has(name) {
			r[name] = state.Data()
		}
	}
	if err := c.Compare("out.y", pieces.Data); err != nil {
		return nil, err
	}
	return withGradients(c, m, r)
}

func h3States(s *ssm.H3Stream) map[string]*tensor.Tensor {
	shift, diagonal := s.State()
	return map[string]*tensor.Tensor{"state.shift_final": shift, "state.diag_final_ri": diagonal}
}
