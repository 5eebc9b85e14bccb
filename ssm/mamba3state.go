package ssm

import (
	"fmt"

	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/tensor"
)

// State returns a copy of the state: what Mamba3.step of state-spaces/mamba takes,
// angles within ±π.
func (s *Mamba3Stream) State() Mamba3State { return s.states.export(paramlist.Data(s.mixer.mimoX)) }

// SetState replaces the state by one of the form that State returns. A part that is
// nil stays as it is. It panics with a *tensor.ShapeError if a shape does not fit.
//
// State rounds what the stream keeps more exactly; to continue with the same bits,
// save the stream with AppendBinary.
func (s *Mamba3Stream) SetState(to Mamba3State) {
	to.check("ssm.Mamba3Stream.SetState", s.states.headSizes, s.states.rotarySizes, s.batch)
	now := s.State()
	for _, p := range []struct {
		part **tensor.Tensor
		old  *tensor.Tensor
	}{{&to.Angle, now.Angle}, {&to.SSM, now.SSM}, {&to.K, now.K}, {&to.V, now.V}} {
		if *p.part == nil {
			*p.part = p.old
		}
	}
	s.states.set(to)
}

const mamba3Kind, mamba3Version = "ssm.Mamba3", 1

func (s *Mamba3Stream) sizes() []int {
	z, r := s.states.headSizes, s.states.rotarySizes
	return []int{s.batch, z.heads, z.p, z.n, r.rank, r.turning}
}

// AppendBinary appends the state.
func (s *Mamba3Stream) AppendBinary(b []byte) ([]byte, error) {
	t := &s.states
	states := make([]float32, s.batch*t.plainLen())
	t.unpack(states, true)
	r := state.Record{
		Kind: mamba3Kind, Version: mamba3Version, Ints: s.sizes(),
		Floats: state.FloatsOf(states, thirds(t.decays), thirds(t.theta), t.keys, t.values, t.pending),
	}
	return r.Append(b), nil
}

// UnmarshalBinary replaces the state by a saved one. The numbers of sequences, of
// heads and their channels, of states, of ranks and of angles must be those of the
// stream.
func (s *Mamba3Stream) UnmarshalBinary(saved []byte) error {
	t := &s.states
	lengths := []int{s.batch * t.plainLen(), 3 * len(t.decays), 3 * len(t.theta), len(t.keys), len(t.values), len(t.pending)}
	r, err := state.Decode(saved, mamba3Kind, mamba3Version, s.sizes()...)
	if err == nil {
		err = r.WantFloats(lengths...)
	}
	if err != nil {
		return fmt.Errorf("ssm: %w", err)
	}
	part := func(i int) []float32 {
		v := make([]float32, lengths[i])
		r.Floats[i].CopyTo(v)
		return v
	}
	t.pack(part(0))
	setThirds(t.decays, part(1))
	setThirds(t.theta, part(2))
	r.Floats[3].CopyTo(t.keys)
	r.Floats[4].CopyTo(t.values)
	r.Floats[5].CopyTo(t.pending)
	return nil
}
