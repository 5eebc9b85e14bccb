package hyena

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/tensor"
)

// RecordSegment is Record of the next positions of sequences, see [seqmix.RecordSegment].
// The state has N parts: the last inputs of the short convolution, as many as it has taps
// but one, and the states of the N-1 filters, see [ModalStream.State].
func (d *Distilled) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	const op = "hyena.Distilled.RecordSegment"
	m, parts := d.hyena, 1+len(d.filters)
	tensor.CheckMix(op, dst, src, d.Dim())
	first.Check(op, parts)
	if d.limit > 0 {
		m.checkLen(op, src, d.limit-first.At())
	}
	t := &distilledSegment{src: tape.Keep(dst, src), first: first, tapes: make([]seqmix.SegmentTape, parts)}
	t.last = &seqmix.State{Position: first.At() + src.Len, Parts: make([]*seqmix.State, parts)}
	t.filters = d.filters
	t.pass = newHyenaPass(m, src, t, new(tensor.Scratch))
	t.record(0, m.short, t.pass.chunks, t.pass.projected)
	t.pass.forward()
	y := tensor.NewSeq(src.Batch, src.Len, t.pass.last.Dim)
	tensor.Copy(y, t.pass.last)
	applyActivation(m.cfg.Activation.Of(), y)
	m.out.Apply(dst, y)
	return t, t.last, t.err
}

// A distilledSegment is a segment, and its convolutions.
type distilledSegment struct {
	src         tensor.Seq
	filters     []*Modal
	pass        *hyenaPass
	tapes       []seqmix.SegmentTape // of the short convolution, then of the long ones
	first, last *seqmix.State
	err         error

	// What a way back is given and gives.
	dlast, dfirst *seqmix.State
	grads         seqmix.Grads
}

// record records part i.
func (t *distilledSegment) record(i int, m seqmix.Mixer, dst, src tensor.Seq) {
	var err error
	if t.tapes[i], t.last.Parts[i], err = seqmix.RecordSegment(m, dst, src, tape.Part(t.first, i)); err != nil {
		t.err = err
	}
}

// back takes the gradient d back through part i, in place.
func (t *distilledSegment) back(i int, d tensor.Seq) {
	t.dfirst.Parts[i] = t.tapes[i].BackwardSegment(d, d, tape.Part(t.dlast, i), t.grads)
}

// mix computes a long convolution. src is room that is used again.
func (t *distilledSegment) mix(o int, dst, src tensor.Seq) {
	tensor.Copy(dst, src)
	t.record(1+o, t.filters[o], dst, dst)
}

func (t *distilledSegment) grad(o int, d, _ tensor.Seq) { t.back(1+o, d) }

func (t *distilledSegment) BackwardSegment(dsrc, ddst tensor.Seq, dlast *seqmix.State, grads seqmix.Grads) *seqmix.State {
	const op = "hyena.Distilled.BackwardSegment"
	tape.Check(op, dsrc, ddst, t.src, t.pass.Dim())
	dlast.Check(op, len(t.tapes))
	s := tensor.GetScratch()
	defer tensor.PutScratch(s)
	now, pass := *t, *t.pass // the way forth is there for the next way back
	now.dlast, now.dfirst, now.grads = dlast, &seqmix.State{Parts: make([]*seqmix.State, len(t.tapes))}, grads
	pass.convs, pass.scratch = &now, s
	pass.x, pass.chunks = s.TakeSeq(t.src.Batch, t.src.Len, pass.x.Dim), s.TakeSeq(t.src.Batch, t.src.Len, pass.chunks.Dim)
	tensor.Copy(pass.chunks, t.pass.chunks)
	pass.backward(ddst, grads)
	now.back(0, pass.chunks)
	pass.in.Backward(dsrc, pass.chunks, t.src, grads)
	if t.first == nil {
		return nil
	}
	return now.dfirst
}
