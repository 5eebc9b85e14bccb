package ssm

import (
	"errors"
	"fmt"
	"math/cmplx"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/modes"
	"github.com/seqmix/seqmix/tensor"
)

// RecordSegment is Record of the next positions of sequences, see [seqmix.RecordSegment].
// The state is that of [LTIStream.State]. The error wraps errors.ErrUnsupported if the
// mixer is bidirectional.
func (m *S4D) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	return m.lti.recordModes(dst, src, first, m)
}

// RecordSegment is Record of the next positions of sequences, see [seqmix.RecordSegment].
// The state is that of [LTIStream.State].
func (m *Modal) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	return m.lti.recordModes(dst, src, first, m)
}

// recordStates is mix of positions behind a state, or from the beginning if that is nil.
// It returns src, or a copy if it was overwritten, and the state after it.
func (l *lti) recordStates(dst, src tensor.Seq, first *seqmix.State) (tensor.Seq, *seqmix.State, error) {
	tensor.CheckMix(l.names.segment, dst, src, l.dim)
	first.Check(l.names.segment, 0, l.statesOf(src.Batch))
	if l.bidirectional {
		return src, nil, fmt.Errorf("%s of both directions has no state: %w", l.names.kind, errors.ErrUnsupported)
	}
	kept := keep(dst, src)
	s := new(LTIStream)
	s.begin(l, l.tables().forward, src.Batch)
	return kept, modes.Record(s, dst, src, first), nil
}

// statesOf returns the shape of the states of so many sequences.
func (l *lti) statesOf(batch int) []int { return append([]int{batch, l.dim}, l.stateShape...) }

// A modalMixer is an LTI mixer whose states are modes.
type modalMixer interface {
	addModeGrads(channels [][]modes.Mode, grads seqmix.Grads)
	addSkipGrads(d []float32, grads seqmix.Grads)
	respond(past, future tensor.Mat, grads seqmix.Grads)
}

// recordModes is recordStates with a tape.
func (l *lti) recordModes(dst, src tensor.Seq, first *seqmix.State, m modalMixer) (seqmix.SegmentTape, *seqmix.State, error) {
	kept, last, err := l.recordStates(dst, src, first)
	if err != nil {
		return nil, nil, err
	}
	return l.modesTape(l.names.segment, kept, first, m), last, nil
}

func (l *lti) modesTape(op string, src tensor.Seq, first *seqmix.State, m modalMixer) *modes.Tape {
	t := l.tables()
	return &modes.Tape{
		Op: op, Src: src, First: first, Shape: l.statesOf(src.Batch),
		Alone: &ltiTape{lti: l, src: src, respond: m.respond}, System: t.system,
		Transpose: func(dsrc, ddst tensor.Seq) { t.convolution(ddst.Len).Transpose(dsrc, ddst) },
		AddGrads:  m.addModeGrads, AddSkip: m.addSkipGrads,
	}
}

// modes returns the discretised system: b of it is B times what the discretisation makes
// of the input, and c is 2·C.
func (m *S4D) modes() modes.System {
	s := modes.System{Channels: make([][]modes.Mode, m.cfg.DModel)}
	if !m.cfg.Real {
		s.Pairs = m.cfg.modes()
	}
	eachChannel(m.cfg.DModel, func(ch int) {
		d := m.params.system(m.cfg, 0, ch)
		for n, a := range d.a {
			distance, input := m.cfg.Disc.step(a, d.dt[n], m.cfg.LMax)
			s.Channels[ch] = append(s.Channels[ch], modes.Mode{Pole: 1 + distance, B: d.b[n] * input, C: 2 * d.c[n]})
		}
	})
	return s
}

// addModeGrads adds the gradients of modes to those of the parameters.
func (m *S4D) addModeGrads(channels [][]modes.Mode, grads seqmix.Grads) {
	sums := make([]channelGrad, m.cfg.DModel)
	eachChannel(m.cfg.DModel, func(ch int) {
		g, d := newChannelGrad(m.cfg.modes()), m.params.system(m.cfg, 0, ch)
		for n, a := range d.a {
			mode := channels[ch][n]
			_, input := m.cfg.Disc.step(a, d.dt[n], m.cfg.LMax)
			if !m.limited(0, ch, n) {
				g.c[n] = 2 * mode.C
			}
			g.b[n] = cmplx.Conj(input) * mode.B
			g.a[n], g.dt[n] = m.cfg.Disc.back(a, d.dt[n], m.cfg.LMax, mode.Pole, cmplx.Conj(d.b[n])*mode.B)
		}
		sums[ch] = g
	})
	m.params.addGrads(m.cfg, 0, sums, grads)
}

func (m *S4D) addSkipGrads(d []float32, grads seqmix.Grads) { addRow(grads, m.d, d) }

func (m *Modal) addSkipGrads(d []float32, grads seqmix.Grads) { addRow(grads, m.d, d) }

// modes returns pairs and then real poles, of which each state takes the input as it is.
func (m *Modal) modes() modes.System {
	s := modes.System{Pairs: m.cfg.Pairs, Channels: make([][]modes.Mode, m.cfg.DModel)}
	for ch := range s.Channels {
		for _, part := range m.parts() {
			residues := numbers(part.residue, ch*part.n, part.n, part.pairs)
			for n, d := range numbers(part.decay, ch*part.n, part.n, part.pairs) {
				s.Channels[ch] = append(s.Channels[ch], modes.Mode{Pole: 1 - d, B: 1, C: part.times * residues[n]})
			}
		}
	}
	return s
}

// modalPart is the parameters of the pairs or of the real poles of a Modal.
type modalPart struct {
	decay, residue *tensor.Tensor
	n              int // poles of a channel
	pairs          bool
	times          complex128 // how often a residue counts
}

func (m *Modal) parts() []modalPart {
	return []modalPart{{m.decay, m.residue, m.cfg.Pairs, true, 2}, {m.realDecay, m.realResidue, m.cfg.Reals, false, 1}}
}

// addModeGrads adds the gradients of modes to those of the parameters.
func (m *Modal) addModeGrads(channels [][]modes.Mode, grads seqmix.Grads) {
	for ch, list := range channels {
		for _, part := range m.parts() {
			for n, mode := range list[:part.n] {
				addNumbers(gradOf(grads, part.decay), ch*part.n+n, []complex128{-mode.Pole}, part.pairs)
				addNumbers(gradOf(grads, part.residue), ch*part.n+n, []complex128{part.times * mode.C}, part.pairs)
			}
			list = list[part.n:]
		}
	}
}

// RecordSegment is Record of the next positions of sequences, see [seqmix.RecordSegment].
// The state is that of [LTIStream.State]. The error wraps errors.ErrUnsupported if the
// mixer is bidirectional.
//
// The way back of a segment that has a state before it, or a gradient behind it, is that
// of [S4.StateBackward]: O(N) numbers for each position, channel and sequence, where
// Record's is O(N) for each position and channel of all sequences together. It does not
// grow with what came before; but where kernel.l_kernel is not 0, that many steps are
// added for every channel, as in Record's.
func (m *S4) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	kept, last, err := m.lti.recordStates(dst, src, first)
	if err != nil {
		return nil, nil, err
	}
	return &s4Segment{mixer: m, src: kept, first: first}, last, nil
}

type s4Segment struct {
	mixer *S4
	src   tensor.Seq
	first *seqmix.State
}

func (t *s4Segment) BackwardSegment(dsrc, ddst tensor.Seq, dlast *seqmix.State, grads seqmix.Grads) *seqmix.State {
	m := t.mixer
	shape := m.lti.statesOf(t.src.Batch)
	dlast.Check(m.lti.names.segment, 0, shape)
	if t.first == nil && dlast == nil {
		(&ltiTape{lti: &m.lti, src: t.src, respond: m.respond}).Backward(dsrc, ddst, grads)
		return nil
	}
	state, dstate := tensor.New(shape...), tensor.New(shape...)
	if t.first != nil {
		state = t.first.Tensors[0]
	}
	if dlast != nil {
		dstate.SetFloat32s(dlast.Tensors[0].Float32s())
	}
	m.StateBackward(dsrc, ddst, t.src, state, dstate, grads)
	if t.first == nil {
		return nil
	}
	return &seqmix.State{Tensors: []*tensor.Tensor{dstate}}
}
