package mixtest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// checkSegments compares segments that hand on states and gradients of states with the
// whole, and gradients of a first state with finite differences.
func checkSegments(t *tester) error {
	if _, _, err := seqmix.RecordSegment(t.m, like(t.src), t.src, nil); errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	ddst := t.cotangent()
	want, wantGrads := t.backward(t.src, ddst)
	half := t.half()
	for _, lengths := range [][]int{{t.Len}, {half, t.Len - half}, {1, 0, t.Len - 1}, repeated(max(t.Len/4, 1), t.Len)} {
		dst, dsrc, grads := like(t.src), like(t.src), t.newGrads()
		if err := t.segments(dst, dsrc, ddst, grads, lengths); err != nil {
			return err
		}
		if err := errors.Join(near(dst, t.want, t.Tol), t.nearGrads(dsrc, grads, want, wantGrads, 1)); err != nil {
			return fmt.Errorf("segments of %v: %w", brief(lengths), err)
		}
	}
	return t.stateGradient(half)
}

// segments records t.src in pieces and goes back through them. The last one's dsrc is its
// ddst.
func (t *tester) segments(dst, dsrc, ddst tensor.Seq, grads seqmix.Grads, lengths []int) error {
	tensor.Copy(dsrc, ddst)
	tapes := make([]seqmix.SegmentTape, len(lengths))
	var state *seqmix.State
	at := 0
	for i, n := range lengths {
		var err error
		before := flat(state)
		first := state
		if tapes[i], state, err = seqmix.RecordSegment(t.m, dst.Slice(at, at+n), t.src.Slice(at, at+n), first); err != nil {
			return err
		}
		if err := sameValues(flat(first), before); err != nil {
			return fmt.Errorf("RecordSegment changed the first state: %w", err)
		}
		if at += n; state.At() != at {
			return fmt.Errorf("the state after %d positions says that it is after %d", at, state.At())
		}
	}
	var dstate *seqmix.State
	for i := len(lengths) - 1; i >= 0; i-- {
		at -= lengths[i]
		d := dsrc.Slice(at, at+lengths[i])
		before := flat(dstate)
		dlast := dstate
		dstate = tapes[i].BackwardSegment(d, d, dlast, grads)
		if err := sameValues(flat(dlast), before); err != nil {
			return fmt.Errorf("BackwardSegment changed the gradient of the last state: %w", err)
		}
	}
	if dstate != nil {
		return errors.New("there is a gradient of the beginning of sequences")
	}
	return nil
}

// stateReach is how many positions a state is looked at through: it is recorded often.
const stateReach = 24

// stateGradient compares the gradient of the state after n positions, of a loss that has
// the outputs and the last state in it, with finite differences.
func (t *tester) stateGradient(n int) error {
	_, first, err := seqmix.RecordSegment(t.m, like(t.src.Slice(0, n)), t.src.Slice(0, n), nil)
	if err != nil {
		return err
	}
	rest := clone(t.src.Slice(n, min(t.Len, n+stateReach)))
	ddst := t.random(t.Batch, rest.Len)
	output := func(x []float32) (seqmix.SegmentTape, *seqmix.State, []float32) {
		dst := like(rest)
		tape, last, err := seqmix.RecordSegment(t.m, dst, rest, withValues(first, x))
		if err != nil {
			panic(err)
		}
		return tape, last, append(dst.Data, flat(last)...)
	}
	at := flat(first)
	tape, last, _ := output(at)
	dlast := withValues(last, nil)
	for _, p := range tensorsOf(dlast) {
		for i := range p.Data() {
			p.Data()[i] = float32(t.rand.NormFloat64())
		}
	}
	gradient := flat(tape.BackwardSegment(like(rest), ddst, dlast, nil))
	if len(gradient) != len(at) {
		return fmt.Errorf("the gradient of a state of %d elements has %d", len(at), len(gradient))
	}
	weights := append(slices.Clone(ddst.Data), flat(dlast)...)
	from := 0
	for i, p := range tensorsOf(first) {
		part := func(all []float32) []float32 { return all[from : from+p.Len()] }
		err := t.slopes(part(gradient), part(at), weights, 1, 1, func(x []float32) []float32 {
			moved := slices.Clone(at)
			copy(part(moved), x)
			_, _, y := output(moved)
			return y
		})
		if err != nil {
			return fmt.Errorf("gradient of tensor %d of the state: %w", i, err)
		}
		from += p.Len()
	}
	return nil
}

// tensorsOf returns all tensors of a state and its parts.
func tensorsOf(s *seqmix.State) []*tensor.Tensor {
	if s == nil {
		return nil
	}
	list := slices.Clone(s.Tensors)
	for _, p := range s.Parts {
		list = append(list, tensorsOf(p)...)
	}
	return list
}

// flat returns the elements of all tensors of a state.
func flat(s *seqmix.State) []float32 {
	var v []float32
	for _, p := range tensorsOf(s) {
		v = append(v, p.Data()...)
	}
	return v
}

// withValues returns a state like s with other values, or with zeros.
func withValues(s *seqmix.State, values []float32) *seqmix.State {
	var copied func(s *seqmix.State) *seqmix.State
	copied = func(s *seqmix.State) *seqmix.State {
		c := &seqmix.State{Position: s.Position}
		for _, p := range s.Tensors {
			q := tensor.New(p.Shape()...)
			values = values[copy(q.Data(), values):]
			c.Tensors = append(c.Tensors, q)
		}
		for _, p := range s.Parts {
			c.Parts = append(c.Parts, copied(p))
		}
		return c
	}
	return copied(s)
}
