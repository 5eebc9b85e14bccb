package ssm

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// RecordSegment is Record of the next positions of sequences, see [seqmix.RecordSegment].
// The state are the parts of a [Mamba3State], in the order of its fields.
func (m *Mamba3) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	return recordSegment(m, "Mamba3", dst, src, first)
}

func (m *Mamba3) beginning(batch int) *seqmix.State {
	z, r := m.cfg.sizes()
	return newState([][]int{{batch, z.heads, r.turning}, {batch, z.heads, z.p, z.n}, {batch, r.rank, z.heads, z.n}, {batch, z.heads, z.p}})
}

// mamba3Part returns what belongs to n sequences, from the first on, in the same memory.
func mamba3Part(s *seqmix.State, first, n int) Mamba3State {
	part := func(i int) *tensor.Tensor { return statePart(s, i, first, n) }
	return Mamba3State{Angle: part(0), SSM: part(1), K: part(2), V: part(3)}
}

// copyFrom copies all parts of t.
func (s Mamba3State) copyFrom(t Mamba3State) {
	copy(s.Angle.Data(), t.Angle.Data())
	copy(s.SSM.Data(), t.SSM.Data())
	copy(s.K.Data(), t.K.Data())
	copy(s.V.Data(), t.V.Data())
}

// loadStates gives k the states in front and the gradients of those behind.
func (p *mamba3Pass) loadStates(k *rotaryBack) {
	k.initial.ssm = paramlist.Data(statePart(p.first, 1, p.from, p.sequences))
	if p.states.last != nil {
		k.last = p.rotaryGrads(mamba3Part(p.states.last, p.from, p.sequences))
		from := statePart(p.states.last, 2, p.from, p.sequences).Data()
		k.eachKey(k.last.keys, func(head, r int, key []float32) { copy(key, from[k.keyAt(head, r):]) })
	}
	if p.states.first != nil {
		k.first = p.rotaryGrads(mamba3Part(p.states.first, p.from, p.sequences))
	}
}

// rotaryGrads returns the parts of s in the same memory, but for the keys, which have
// another order there.
func (p *mamba3Pass) rotaryGrads(s Mamba3State) rotaryGrads {
	return rotaryGrads{ssm: s.SSM.Data(), keys: p.Take(s.K.Len()), values: s.V.Data(), angles: s.Angle.Data()}
}

// storeStates completes the gradients of the states in front.
func (p *mamba3Pass) storeStates(k *rotaryBack) {
	if p.states.first == nil {
		return
	}
	to := statePart(p.states.first, 2, p.from, p.sequences).Data()
	k.eachKey(k.first.keys, func(head, r int, key []float32) { copy(to[k.keyAt(head, r):], key) })
}
