package ssm

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// RecordSegment is Record of the next positions of sequences, see [seqmix.RecordSegment].
// The state is that of [MambaStream.State]: the inputs of the convolution and h.
func (m *Mamba) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	return recordSegment(m, "Mamba", dst, src, first)
}

func (m *Mamba) beginning(batch int) *seqmix.State {
	c := m.cfg
	return newState([][]int{{batch, c.DConv - 1, c.DInner}, {batch, c.DInner, c.DState}})
}

// takeStates makes the states those of from, of shape (sequences, E, N), or zero if that
// is nil.
func (p *mambaPass) takeStates(from *tensor.Tensor, s *tensor.Scratch) {
	e, n := p.mixer.cfg.DInner, p.mixer.cfg.DState
	p.states = takeMat(s, p.sequences, p.mixer.stateLen())
	if from == nil {
		clear(p.states.Data)
		return
	}
	for i := range p.sequences {
		kernel.PackState(p.states.Row(i), from.Data()[i*e*n:(i+1)*e*n], e, n)
	}
}

// giveStates writes the states to what takeStates could have got.
func (p *mambaPass) giveStates(to *tensor.Tensor) {
	e, n := p.mixer.cfg.DInner, p.mixer.cfg.DState
	for i := range p.sequences {
		kernel.UnpackState(to.Data()[i*e*n:(i+1)*e*n], p.states.Row(i), e, n)
	}
}
