package golden

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

var _ = register(map[string]computation{
	"causal_conv1d": causalConv1D,
})

// causalConv1D runs a short convolution and its gradient. A state, before or after,
// consists of inputs, so that one before comes from reading it.
func causalConv1D(c *goldentest.Case) (results, error) {
	conv, err := convOf(c)
	if err != nil {
		return nil, err
	}
	x := channelsLast(c, "in.x")
	s, err := conv.NewStream(x.Batch)
	if err != nil {
		return nil, err
	}
	if c.Has("in.state") {
		initial := channelsLast(c, "in.state")
		s.Mix(initial, initial)
	}
	y := like(x)
	s.Mix(y, x)
	r := results{"out.y": channelsFirst(y)}
	if c.Has("state.final") {
		final := tensor.NewSeq(x.Batch, conv.Taps()-1, x.Dim)
		if err := savedFloats(s, "nn.CausalConv1D", final.Data); err != nil {
			return nil, err
		}
		r["state.final"] = channelsFirst(final)
	}
	if c.Has("in.dy") {
		err = convGradient(c, conv, x, r)
	}
	return r, err
}

func convOf(c *goldentest.Case) (*nn.CausalConv1D, error) {
	var cfg struct {
		Width int  `json:"W"`
		SiLU  bool `json:"silu"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	w := c.Tensor("param.weight")
	conv := &nn.CausalConv1D{
		Weight:     tensor.FromFloat32s(w, len(w)/cfg.Width, 1, cfg.Width),
		Bias:       tensorOf(c, "param.bias"),
		Activation: nn.Identity,
	}
	if cfg.SiLU {
		conv.Activation = nn.SiLU
	}
	return conv, nil
}

// savedFloats reads the only array of the state of a stream of some kind.
func savedFloats(s seqmix.Stream, kind string, dst []float32) error {
	saved, err := s.AppendBinary(nil)
	if err != nil {
		return err
	}
	record, err := state.DecodeAny(saved, kind, 1)
	if err == nil {
		err = record.WantFloats(len(dst))
	}
	if err == nil {
		record.Floats[0].CopyTo(dst)
	}
	return err
}

func convGradient(c *goldentest.Case, conv *nn.CausalConv1D, x tensor.Seq, r results) error {
	n := conv.Taps() - 1
	all, dy := tensor.NewSeq(x.Batch, n+x.Len, x.Dim), tensor.NewSeq(x.Batch, n+x.Len, x.Dim)
	if c.Has("in.state") {
		tensor.Copy(all.Slice(0, n), channelsLast(c, "in.state"))
	}
	tensor.Copy(all.Slice(n, all.Len), x)
	tensor.Copy(dy.Slice(n, all.Len), channelsLast(c, "in.dy"))
	tape, err := conv.Record(like(all), all)
	if err != nil {
		return err
	}
	grads := allGrads(conv)
	tape.Backward(dy, dy, grads)
	if c.Has("in.dfinal") {
		last := dy.Slice(x.Len, all.Len)
		tensor.AddSeq(last, last, channelsLast(c, "in.dfinal"))
	}
	r["grad.x"], r["grad.weight"] = channelsFirst(dy.Slice(n, all.Len)), grads.Of(conv.Weight)
	if c.Has("in.state") {
		r["grad.state"] = channelsFirst(dy.Slice(0, n))
	}
	if conv.Bias != nil {
		r["grad.bias"] = grads.Of(conv.Bias)
	}
	return nil
}
