package ssm

import (
	"fmt"

	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/tensor"
)

// State returns a copy of the state. conv has shape (batch, K-1, E+2GN) and holds the
// last inputs of the convolution, before it and its activation, oldest first: zeros
// where there were none. ssm has shape (batch, H, P, N) and holds S.
//
// state-spaces/mamba keeps (batch, E+2GN, K): the same inputs, newest in the last
// column, after a first column that is not used any more.
func (s *Mamba2Stream) State() (conv, ssm *tensor.Tensor) {
	c, z := &s.mixer.cfg, s.states.headSizes
	conv, ssm = tensor.New(s.batch, c.DConv-1, c.convWidth()), tensor.New(s.batch, z.heads, z.p, z.n)
	s.conv.copyInputs(conv.Data(), false)
	s.states.unpack(ssm.Data(), false)
	return conv, ssm
}

// SetState replaces the state by one of the form that State returns. A part that is
// nil stays as it is. It panics with a *tensor.ShapeError if a shape does not fit.
//
// State rounds once what the stream keeps as a product; to continue with the same
// bits, save the stream with AppendBinary.
func (s *Mamba2Stream) SetState(conv, ssm *tensor.Tensor) {
	c, z := &s.mixer.cfg, s.states.headSizes
	checkShape("ssm.Mamba2Stream.SetState", conv, s.batch, c.DConv-1, c.convWidth())
	checkShape("ssm.Mamba2Stream.SetState", ssm, s.batch, z.heads, z.p, z.n)
	if conv != nil {
		s.conv.copyInputs(conv.Float32s(), true)
	}
	if ssm != nil {
		s.states.pack(ssm.Float32s())
	}
}

const mamba2Kind, mamba2Version = "ssm.Mamba2", 1

func (s *Mamba2Stream) sizes() []int {
	z := s.states.headSizes
	return []int{s.batch, z.heads, z.p, z.groups, z.n, s.mixer.cfg.DConv}
}

// AppendBinary appends the state.
func (s *Mamba2Stream) AppendBinary(b []byte) ([]byte, error) {
	inputs, states := make([]float32, len(s.conv.inputs)), make([]float32, s.batch*s.states.plainLen())
	s.conv.copyInputs(inputs, false)
	s.states.unpack(states, true)
	r := state.Record{
		Kind: mamba2Kind, Version: mamba2Version,
		Ints: s.sizes(), Floats: state.FloatsOf(inputs, states, thirds(s.states.decays)),
	}
	return r.Append(b), nil
}

// UnmarshalBinary replaces the state by a saved one. The numbers of sequences, of
// heads and their channels, of groups, of states and of taps must be those of the
// stream.
func (s *Mamba2Stream) UnmarshalBinary(saved []byte) error {
	r, err := state.Decode(saved, mamba2Kind, mamba2Version, s.sizes()...)
	inputs, states, parts := len(s.conv.inputs), s.batch*s.states.plainLen(), 3*len(s.states.decays)
	if err == nil {
		err = r.WantFloats(inputs, states, parts)
	}
	if err != nil {
		return fmt.Errorf("ssm: %w", err)
	}
	v := make([]float32, max(inputs, states, parts))
	r.Floats[0].CopyTo(v[:inputs])
	s.conv.copyInputs(v[:inputs], true)
	r.Floats[1].CopyTo(v[:states])
	s.states.pack(v[:states])
	r.Floats[2].CopyTo(v[:parts])
	setThirds(s.states.decays, v[:parts])
	return nil
}
