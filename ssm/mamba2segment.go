package ssm

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// RecordSegment is Record of the next positions of sequences, see [seqmix.RecordSegment].
// The state is that of [Mamba2Stream.State]: the inputs of the convolution and S. With
// init_states, a sequence begins with these, not with zeros.
func (m *Mamba2) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	return recordSegment(m, "Mamba2", dst, src, first)
}

func (m *Mamba2) beginning(batch int) *seqmix.State {
	c, z := &m.cfg, m.cfg.heads()
	s := newState([][]int{{batch, c.DConv - 1, c.convWidth()}, {batch, z.heads, z.p, z.n}})
	if m.initStates != nil {
		for b := range batch {
			copy(s.Tensors[1].Data()[b*z.plainLen():], m.initStates.Data())
		}
	}
	return s
}
