package hyena

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/modes"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/tensor"
)

// RecordSegment is Record of the next positions of sequences, see [seqmix.RecordSegment].
// The state is that of [ModalStream.State].
func (m *Modal) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	const op = "hyena.Modal.RecordSegment"
	tensor.CheckMix(op, dst, src, m.Dim())
	s := new(ModalStream)
	s.begin(m, src.Batch)
	first.Check(op, 0, s.shape())
	kept := tape.Keep(dst, src)
	t := &modes.Tape{
		Op: op, Src: kept, First: first, Shape: s.shape(),
		Alone: tape.Of(kept, m.Backward), System: m.modes, Transpose: m.transpose,
		AddGrads: m.addModeGrads, AddSkip: m.addSkipGrads,
	}
	return t, modes.Record(s, dst, src, first), nil
}

// modes returns the states, each of which takes the input as it is.
func (m *Modal) modes() modes.System {
	s := modes.System{Channels: make([][]modes.Mode, m.cfg.Dim)}
	if m.cfg.parts() == 2 {
		s.Pairs = m.cfg.States
	}
	for i := range m.cfg.Dim * m.cfg.States {
		c := i / m.cfg.States
		s.Channels[c] = append(s.Channels[c], modes.Mode{Pole: 1 + m.distance(i), B: 1, C: m.residue(i)})
	}
	return s
}

// addModeGrads adds the gradients of modes to those of the parameters.
func (m *Modal) addModeGrads(channels [][]modes.Mode, grads seqmix.Grads) {
	for c, list := range channels {
		for n, g := range list {
			m.addGrad(c*m.cfg.States+n, g.C, g.Pole, grads)
		}
	}
}
