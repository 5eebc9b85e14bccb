package ssm

import (
	"math/cmplx"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// StateBackward computes the gradients of what a stream of m makes of src from the given
// state: a long sequence is taken back piece by piece, the last first. state is that
// before the first position and dstate the gradient of a loss with respect to that after
// the last; both have the shape of [LTIStream.State]. Afterwards dstate is the gradient
// with respect to state. dsrc, ddst and grads are as in [seqmix.Tape].
//
// It is what [S4D.RecordSegment] does on its way back. It panics with a
// *tensor.ShapeError if shapes do not fit, and if m is bidirectional.
func (m *S4D) StateBackward(dsrc, ddst, src tensor.Seq, state, dstate *tensor.Tensor, grads seqmix.Grads) {
	op := m.lti.checkStateBackward(dsrc, ddst, src, state, dstate)
	t := m.lti.modesTape(op, src, &seqmix.State{Tensors: []*tensor.Tensor{state}}, m)
	first := t.BackwardSegment(dsrc, ddst, &seqmix.State{Tensors: []*tensor.Tensor{dstate}}, grads)
	dstate.SetFloat32s(first.Tensors[0].Data())
}

// StateBackward is that of [S4D.StateBackward]. It goes back from position to position, in
// float64, once for each sequence, and so takes longer than Backward.
func (m *S4) StateBackward(dsrc, ddst, src tensor.Seq, state, dstate *tensor.Tensor, grads seqmix.Grads) {
	t := m.lti.stateTape(dsrc, ddst, src, state, dstate)
	c, n := m.cfg.diagonal(), m.cfg.DState/2
	channels, ranks := make([]channelGrad, m.cfg.DModel), make([][][]complex128, m.cfg.DModel)
	eachChannel(len(channels), func(ch int) {
		s := m.params.system(c, 0, ch)
		var p [][]complex128
		for j := range m.cfg.Rank {
			p = append(p, numbers(m.p, (j*m.cfg.NSSM+ch%m.cfg.NSSM)*n, n, true))
		}
		channels[ch], ranks[ch] = systemBack(s, p, m.kernelLength(), func(g *dplrGrad) {
			for b := range src.Batch {
				t.dplr(g, b, ch)
			}
		})
		t.skip(m.d.Data()[ch], ch)
	})
	m.params.addGrads(c, 0, channels, grads)
	m.addRankGrads(ranks, grads)
	t.finish(grads, m.d)
}

// An ltiStateTape holds the arguments of StateBackward.
type ltiStateTape struct {
	src, ddst     tensor.Seq
	du            tensor.Seq
	state, dstate []float32
	dsrc          tensor.Seq
	dd            []float32
}

func (l *lti) checkStateBackward(dsrc, ddst, src tensor.Seq, state, dstate *tensor.Tensor) (op string) {
	op = l.names.kind + ".StateBackward"
	if l.bidirectional {
		panic(op + ": a system of both directions has no state")
	}
	tensor.CheckSeq(op, src, -1, -1, l.dim)
	tensor.CheckSeq(op, ddst, src.Batch, src.Len, l.dim)
	tensor.CheckMix(op, dsrc, ddst, l.dim)
	shape := l.statesOf(src.Batch)
	checkShape(op, state, shape...)
	checkShape(op, dstate, shape...)
	return op
}

func (l *lti) stateTape(dsrc, ddst, src tensor.Seq, state, dstate *tensor.Tensor) *ltiStateTape {
	l.checkStateBackward(dsrc, ddst, src, state, dstate)
	return &ltiStateTape{
		src: src, ddst: ddst, dsrc: dsrc, du: tensor.NewSeq(src.Batch, src.Len, l.dim),
		state: state.Data(), dstate: dstate.Data(), dd: make([]float32, l.dim),
	}
}

// skip adds what goes by the states of a channel.
func (t *ltiStateTape) skip(d float32, ch int) {
	for b := range t.src.Batch {
		for i := range t.src.Len {
			dy := t.ddst.At(b, i)[ch]
			t.du.At(b, i)[ch] += d * dy
			t.dd[ch] += dy * t.src.At(b, i)[ch]
		}
	}
}

func (t *ltiStateTape) finish(grads seqmix.Grads, d *tensor.Tensor) {
	tensor.Copy(t.dsrc, t.du)
	addRow(grads, d, t.dd)
}

// dplr takes a channel of an S4 back through sequence b.
func (t *ltiStateTape) dplr(g *dplrGrad, b, ch int) {
	n := len(g.g)
	at := (b*t.src.Dim + ch) * 2 * n
	states := make([]complex128, (t.src.Len+1)*n)
	copy(states, complexes(t.state[at:at+2*n]))
	for i := range t.src.Len {
		h := states[(i+1)*n : (i+2)*n]
		copy(h, states[i*n:])
		g.step(h, float64(t.src.At(b, i)[ch]))
	}
	grad := complexes(t.dstate[at : at+2*n])
	for i := t.src.Len - 1; i >= 0; i-- {
		dy, du := complex(2*float64(t.ddst.At(b, i)[ch]), 0), 0.0
		for k, h := range states[(i+1)*n : (i+2)*n] {
			g.c[k] += dy * cmplx.Conj(h)
			grad[k] += dy * cmplx.Conj(g.dplrSystem.c[k])
			du += real(g.b[k])*real(grad[k]) + imag(g.b[k])*imag(grad[k])
		}
		t.du.At(b, i)[ch] += float32(du)
		g.stepBack(grad, states[i*n:(i+1)*n], float64(t.src.At(b, i)[ch]))
	}
	setComplexes(t.dstate[at:at+2*n], grad)
}
