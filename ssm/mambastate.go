package ssm

import (
	"fmt"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/tensor"
)

// State returns a copy of the state. conv has shape (batch, K-1, E) and holds the last
// inputs of the convolution, before it and its activation, oldest first: zeros where
// there were none. ssm has shape (batch, E, N) and holds h.
//
// state-spaces/mamba keeps (batch, E, K): the same inputs, newest in the last column,
// after a first column that is not used any more.
func (s *MambaStream) State() (conv, ssm *tensor.Tensor) {
	c := s.mixer.cfg
	conv, ssm = tensor.New(s.batch, c.DConv-1, c.DInner), tensor.New(s.batch, c.DInner, c.DState)
	s.conv.copyInputs(conv.Data(), false)
	h, size := ssm.Data(), s.mixer.stateLen()
	n := c.DInner * c.DState
	for b := range s.batch {
		kernel.UnpackState(h[b*n:(b+1)*n], s.ssm[b*size:(b+1)*size], c.DInner, c.DState)
	}
	return conv, ssm
}

// SetState replaces the state by one of the form that State returns. A part that is
// nil stays as it is. It panics with a *tensor.ShapeError if a shape does not fit.
func (s *MambaStream) SetState(conv, ssm *tensor.Tensor) {
	c := s.mixer.cfg
	checkShape("ssm.MambaStream.SetState", conv, s.batch, c.DConv-1, c.DInner)
	checkShape("ssm.MambaStream.SetState", ssm, s.batch, c.DInner, c.DState)
	if conv != nil {
		s.conv.copyInputs(conv.Float32s(), true)
	}
	if ssm != nil {
		s.setStates(ssm.Float32s())
	}
}

// checkShape panics unless t is nil or has the given shape.
func checkShape(op string, t *tensor.Tensor, want ...int) {
	if t == nil {
		return
	}
	got := t.Shape()
	fits := len(got) == len(want)
	for i := 0; fits && i < len(want); i++ {
		fits = got[i] == want[i]
	}
	if !fits {
		panic(&tensor.ShapeError{Op: op, Got: got, Want: want})
	}
}

func (s *MambaStream) setStates(h []float32) {
	c, size := s.mixer.cfg, s.mixer.stateLen()
	n := c.DInner * c.DState
	for b := range s.batch {
		kernel.PackState(s.ssm[b*size:(b+1)*size], h[b*n:(b+1)*n], c.DInner, c.DState)
	}
}

const mambaKind, mambaVersion = "ssm.Mamba", 1

func (s *MambaStream) sizes() []int {
	c := s.mixer.cfg
	return []int{s.batch, c.DInner, c.DConv, c.DState}
}

// AppendBinary appends the state.
func (s *MambaStream) AppendBinary(b []byte) ([]byte, error) {
	conv, ssm := s.State()
	r := state.Record{
		Kind: mambaKind, Version: mambaVersion,
		Ints: s.sizes(), Floats: state.FloatsOf(conv.Data(), ssm.Data()),
	}
	return r.Append(b), nil
}

// UnmarshalBinary replaces the state by a saved one. The numbers of sequences, of
// channels, of taps and of states must be those of the stream.
func (s *MambaStream) UnmarshalBinary(saved []byte) error {
	r, err := state.Decode(saved, mambaKind, mambaVersion, s.sizes()...)
	c := s.mixer.cfg
	inputs, states := len(s.conv.inputs), s.batch*c.DInner*c.DState
	if err == nil {
		err = r.WantFloats(inputs, states)
	}
	if err != nil {
		return fmt.Errorf("ssm: %w", err)
	}
	v := make([]float32, max(inputs, states))
	r.Floats[0].CopyTo(v[:inputs])
	s.conv.copyInputs(v[:inputs], true)
	r.Floats[1].CopyTo(v[:states])
	s.setStates(v[:states])
	return nil
}
