package hyena

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/tensor"
)

// RecordSegment is Record of the next positions of sequences, see [seqmix.RecordSegment].
// The state has two parts, those of the filters of the cascade: the last inputs of the
// short one, (batch, positions, 3d) with up to K-1 positions, and that of the inner one. If
// it is modal, these are its states, see [ModalStream.State]; if it is finite, its last
// inputs x1·v, (batch, positions, d) with up to taps-1 positions.
func (m *Striped) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	const op = "hyena.Striped.RecordSegment"
	tensor.CheckMix(op, dst, src, m.Dim())
	first.Check(op, 2)
	c, wide := m.cascade, func(n int) tensor.Seq { return tensor.NewSeq(src.Batch, src.Len, n*src.Dim) }
	t := &stripedSegment{mixer: m, src: tape.Keep(dst, src), z: wide(3), x2: wide(1), y: wide(1), begun: first != nil}
	last := &seqmix.State{Position: first.At() + src.Len, Parts: make([]*seqmix.State, 2)}
	projected, x := wide(3), wide(1)
	m.in.Apply(projected, src)
	var err error
	if t.short, last.Parts[0], err = seqmix.RecordSegment(c.short, t.z, projected, tape.Part(first, 0)); err != nil {
		return nil, nil, err
	}
	c.split(x.Mat(), t.x2.Mat(), t.z.Mat())
	if t.inner, last.Parts[1], err = seqmix.RecordSegment(c.innerMixer(), t.y, x, tape.Part(first, 1)); err != nil {
		return nil, nil, err
	}
	m.out.Apply(dst, t.gated())
	return t, last, nil
}

// innerMixer returns the inner filter.
func (c *Cascade) innerMixer() seqmix.Mixer {
	if c.modal != nil {
		return c.modal
	}
	return finiteFilter{c}
}

type stripedSegment struct {
	mixer        *Striped
	src          tensor.Seq
	z, x2, y     tensor.Seq // behind the short filter, the last gate, behind the inner filter
	short, inner seqmix.SegmentTape
	begun        bool // whether there was a first state
}

// gated returns the input of the last projection.
func (t *stripedSegment) gated() tensor.Seq {
	y := tensor.NewSeq(t.y.Batch, t.y.Len, t.y.Dim)
	runGates(y.Mat(), t.y.Mat(), t.x2.Mat())
	return y
}

func (t *stripedSegment) BackwardSegment(dsrc, ddst tensor.Seq, dlast *seqmix.State, grads seqmix.Grads) *seqmix.State {
	const op = "hyena.Striped.BackwardSegment"
	tape.Check(op, dsrc, ddst, t.src, t.mixer.Dim())
	dlast.Check(op, 2)
	s := tensor.GetScratch()
	defer tensor.PutScratch(s)
	take := func(n int) tensor.Seq { return s.TakeSeq(t.src.Batch, t.src.Len, n*t.src.Dim) }
	p := &cascadePass{Cascade: t.mixer.cascade, z: take(3), x: take(1), scratch: s}
	tensor.Copy(p.z, t.z)
	dx, dx2 := take(1), take(1)
	t.mixer.out.Backward(dx, ddst, t.gated(), grads)
	runGates(dx2.Mat(), dx.Mat(), t.y.Mat())
	runGates(dx.Mat(), dx.Mat(), t.x2.Mat())
	dfirst := &seqmix.State{Parts: make([]*seqmix.State, 2)}
	dfirst.Parts[1] = t.inner.BackwardSegment(dx, dx, tape.Part(dlast, 1), grads)
	p.splitGrad(dx.Mat(), dx2.Mat())
	dfirst.Parts[0] = t.short.BackwardSegment(p.z, p.z, tape.Part(dlast, 0), grads)
	t.mixer.in.Backward(dsrc, p.z, t.src, grads)
	if !t.begun {
		return nil
	}
	return dfirst
}

// finiteFilter is the inner filter of a cascade that is finite, as a mixer.
type finiteFilter struct{ *Cascade }

func (f finiteFilter) Mix(dst, src tensor.Seq) { f.conv().Mix(dst, src) }

func (f finiteFilter) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	return tape.Record(f, dst, src)
}

func (f finiteFilter) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	s := tensor.GetScratch()
	tensor.Copy(dsrc, ddst)
	(&cascadePass{Cascade: f.Cascade, x: src, scratch: s}).finiteGrad(dsrc, grads)
	tensor.PutScratch(s)
}

func (f finiteFilter) NewStream(batch int) (seqmix.Stream, error) {
	s, err := f.conv().NewStream(batch)
	return finiteStream{s, f.cfg.Length}, err
}

// A finiteStream says how many inputs count, see [seqmix.RecordSegment].
type finiteStream struct {
	seqmix.Stream
	taps int
}

func (s finiteStream) Reach() int { return s.taps - 1 }
