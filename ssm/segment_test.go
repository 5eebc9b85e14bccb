package ssm_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// recurrents are mixers whose segments hand on states, in all the ways they have.
func recurrents(t testing.TB) map[string]seqmix.SegmentTrainer {
	return map[string]seqmix.SegmentTrainer{
		"Mamba":                        newMamba(t, mambas["odd"], 1),
		"Mamba, two strips":            newMamba(t, mambas["two strips"], 1),
		"Mamba with inner norms":       newMamba(t, mambas["Jamba"], 1),
		"Mamba-2":                      newMamba2(t, mamba2s["groups"], 1),
		"Mamba-2 with initial states":  newMamba2(t, mamba2s["initial states"], 1),
		"Mamba-2 with a strong decay":  newMamba2(t, mamba2s["strong decay"], 1),
		"Mamba-3":                      newMamba3(t, mamba3s["groups"], 1),
		"Mamba-3 with several ranks":   newMamba3(t, mamba3s["MIMO of rank 3"], 1),
		"Mamba-3 with every turn in S": newMamba3(t, mamba3s["MIMO of rank 1"], 1),
	}
}

// recordSegments records the segments of src of these lengths.
func recordSegments(t *testing.T, m seqmix.Mixer, dst, src tensor.Seq, lengths []int, state *seqmix.State) ([]seqmix.SegmentTape, *seqmix.State) {
	t.Helper()
	tapes := make([]seqmix.SegmentTape, len(lengths))
	at := 0
	for i, n := range lengths {
		var err error
		if tapes[i], state, err = seqmix.RecordSegment(m, dst.Slice(at, at+n), src.Slice(at, at+n), state); err != nil {
			t.Fatal(err)
		}
		at += n
	}
	return tapes, state
}

// backSegments goes back through segments.
func backSegments(tapes []seqmix.SegmentTape, dsrc, ddst tensor.Seq, lengths []int, d *seqmix.State, grads seqmix.Grads) *seqmix.State {
	at := ddst.Len
	for i, tape := range slices.Backward(tapes) {
		n := lengths[i]
		d = tape.BackwardSegment(dsrc.Slice(at-n, at), ddst.Slice(at-n, at), d, grads)
		at -= n
	}
	return d
}

// randomState returns a state, or a gradient of one, like s.
func randomState(seed uint64, s *seqmix.State) *seqmix.State {
	d := new(seqmix.State)
	for i, x := range s.Tensors {
		d.Tensors = append(d.Tensors, randomTensor(seed+uint64(i), x.Shape()...))
	}
	return d
}

// Segments of any lengths, from the beginning or from any state, are the whole: many
// sequences, which are not all computed together, single positions, segments that are
// shorter than the convolution and those without a position.
func TestSelectiveSegmentsAreTheWhole(t *testing.T) {
	const batch, length = 7, 200
	for name, m := range recurrents(t) {
		r := newRand(1)
		src, ddst := randomSeq(r, batch, length, m.Dim()), randomSeq(r, batch, length, m.Dim())
		_, end := recordSegments(t, m, like(src), src, []int{length}, nil)
		dlast := randomState(1, end)
		for _, first := range []*seqmix.State{nil, randomState(100, end)} {
			run := func(lengths []int) (map[string][]float32, seqmix.Grads) {
				dst, dsrc, grads := like(src), like(src), seqmix.NewGrads(m)
				tapes, last := recordSegments(t, m, dst, src, lengths, first)
				dfirst := backSegments(tapes, dsrc, ddst, lengths, dlast, grads)
				got := map[string][]float32{"output": dst.Data, "gradient of src": dsrc.Data}
				for i, x := range last.Tensors {
					got[fmt.Sprint("state ", i)] = x.Data()
				}
				if dfirst == nil {
					return got, grads
				}
				for i, x := range dfirst.Tensors {
					got[fmt.Sprint("gradient of state ", i)] = x.Data()
				}
				return got, grads
			}
			want, wantGrads := run([]int{length})
			for _, lengths := range [][]int{
				{0, length}, {length, 0}, {100, 100}, {1, 1, 1, 2, 0, 3, 5, 1, 32, 64, 65, 25}, {199, 1},
			} {
				got, grads := run(lengths)
				what := fmt.Sprintf("%s in segments of %v from a state: %v: ", name, lengths, first != nil)
				for part, w := range want {
					wantClose(t, what+part, got[part], w, 2e-5)
				}
				for p, param := range m.Params() {
					wantClose(t, what+"gradient of "+p, grads.Of(param), wantGrads.Of(param), 2e-5)
				}
			}
		}
	}
}

// Without a state in front and a gradient behind, a segment is what Record makes of it,
// bit for bit.
func TestSelectiveSegmentIsRecord(t *testing.T) {
	for name, m := range recurrents(t) {
		r := newRand(2)
		src, ddst := randomSeq(r, 3, 70, m.Dim()), randomSeq(r, 3, 70, m.Dim())
		want, dwant, wantGrads := like(src), like(src), seqmix.NewGrads(m)
		tape, err := m.Record(want, src)
		if err != nil {
			t.Fatal(err)
		}
		tape.Backward(dwant, ddst, wantGrads)
		got, dgot, grads := like(src), like(src), seqmix.NewGrads(m)
		tapes, _ := recordSegments(t, m, got, src, []int{70}, nil)
		if d := backSegments(tapes, dgot, ddst, []int{70}, nil, grads); d != nil {
			t.Errorf("%s: there is a gradient of the beginning", name)
		}
		wantSame(t, name+": output", got.Data, want.Data)
		wantSame(t, name+": gradient of src", dgot.Data, dwant.Data)
		for p, param := range m.Params() {
			wantSame(t, name+": gradient of "+p, grads.Of(param), wantGrads.Of(param))
		}
	}
}

// The number of cores does not change a bit.
func TestSelectiveSegmentCores(t *testing.T) {
	for name, m := range recurrents(t) {
		r := newRand(3)
		src, ddst := randomSeq(r, 3, 300, m.Dim()), randomSeq(r, 3, 300, m.Dim())
		_, begin := recordSegments(t, m, tensor.NewSeq(3, 0, m.Dim()), tensor.NewSeq(3, 0, m.Dim()), []int{0}, nil)
		run := func(cores int) []float32 {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
			dst, dsrc, grads := like(src), like(src), seqmix.NewGrads(m)
			lengths := []int{130, 170}
			tapes, last := recordSegments(t, m, dst, src, lengths, randomState(5, begin))
			dfirst := backSegments(tapes, dsrc, ddst, lengths, randomState(6, last), grads)
			all := slices.Concat(dst.Data, dsrc.Data)
			for _, x := range slices.Concat(last.Tensors, dfirst.Tensors) {
				all = append(all, x.Data()...)
			}
			for _, param := range m.Params() {
				all = append(all, grads.Of(param)...)
			}
			return all
		}
		wantSame(t, name, run(2), run(1))
	}
}

// The state is that of a stream, however long the past: neither it nor what a segment
// computes grows.
func TestSelectiveSegmentState(t *testing.T) {
	const batch = 2
	for name, m := range recurrents(t) {
		src := randomSeq(newRand(4), batch, 900, m.Dim())
		s, err := m.(seqmix.Streamer).NewStream(batch)
		if err != nil {
			t.Fatal(err)
		}
		var state *seqmix.State
		at := 0
		for _, n := range []int{1, 2, 97, 800} {
			part := src.Slice(at, at+n)
			dst, streamed := like(part), like(part)
			s.Mix(streamed, part)
			_, state = recordSegments(t, m, dst, part, []int{n}, state)
			if at += n; state.Position != at {
				t.Errorf("%s: the state is behind %d positions, and says %d", name, at, state.Position)
			}
			wantClose(t, fmt.Sprint(name, ": output up to ", at), dst.Data, streamed.Data, 1e-5)
			var want []*tensor.Tensor
			switch s := s.(type) {
			case *ssm.MambaStream:
				conv, h := s.State()
				want = []*tensor.Tensor{conv, h}
			case *ssm.Mamba2Stream:
				conv, h := s.State()
				want = []*tensor.Tensor{conv, h}
			case *ssm.Mamba3Stream:
				now := s.State()
				want = []*tensor.Tensor{now.Angle, now.SSM, now.K, now.V}
			}
			if len(state.Tensors) != len(want) {
				t.Fatalf("%s: a state of %d tensors, want %d", name, len(state.Tensors), len(want))
			}
			for i, x := range state.Tensors {
				if !slices.Equal(x.Shape(), want[i].Shape()) {
					t.Errorf("%s: tensor %d of the state behind %d positions is %v, want %v", name, i, at, x.Shape(), want[i].Shape())
				}
				wantClose(t, fmt.Sprint(name, ": tensor ", i, " of the state behind ", at), x.Data(), want[i].Data(), 1e-5)
			}
		}
	}
}

// The gradient of a first state of Mamba is the slope of the definition, in float64.
func TestMambaStateGradient(t *testing.T) {
	const length, step = 9, 1e-5
	for name, cfg := range map[string]ssm.MambaConfig{
		"plain": {DModel: 3, DInner: 5, DState: 3, DTRank: 2, Bias: true},
		"norms": {DModel: 2, DInner: 18, DState: 2, DConv: 3, InnerNorm: ssm.WeightedNorm, NormEps: 1e-5},
	} {
		m := newMamba(t, cfg, 1)
		r := newRand(5)
		src, ddst := randomSeq(r, 1, length, m.Dim()), randomSeq(r, 1, length, m.Dim())
		_, first, err := m.RecordSegment(like(src), src, nil)
		if err != nil {
			t.Fatal(err)
		}
		dst := like(src)
		tape, last, err := m.RecordSegment(dst, src, first)
		if err != nil {
			t.Fatal(err)
		}
		dlast := randomState(6, last)
		dfirst := tape.BackwardSegment(like(src), ddst, dlast, nil)
		conv, h := float64s(first.Tensors[0].Data()), float64s(first.Tensors[1].Data())
		y, convAfter, hAfter := naiveMambaBehind(m, float64s(src.Data), conv, h)
		wantClose(t, name+": output", dst.Data, y, 1e-5)
		wantClose(t, name+": inputs of the convolution", last.Tensors[0].Data(), convAfter, 1e-5)
		wantClose(t, name+": h", last.Tensors[1].Data(), hAfter, 1e-5)
		loss := func() (sum float64) {
			y, convAfter, hAfter := naiveMambaBehind(m, float64s(src.Data), conv, h)
			for _, x := range []struct {
				value []float64
				grad  []float32
			}{{y, ddst.Data}, {convAfter, dlast.Tensors[0].Data()}, {hAfter, dlast.Tensors[1].Data()}} {
				for i, v := range x.value {
					sum += v * float64(x.grad[i])
				}
			}
			return sum
		}
		for i, x := range [][]float64{conv, h} {
			var slopes []float64
			for j, v := range x {
				x[j] = v + step
				up := loss()
				x[j] = v - step
				slopes = append(slopes, (up-loss())/(2*step))
				x[j] = v
			}
			wantClose(t, fmt.Sprint(name, ": gradient of tensor ", i, " of the state"), dfirst.Tensors[i].Data(), slopes, 1e-5)
		}
	}
}

// States go through stacks of blocks.
func TestSelectiveSegmentsOfStacks(t *testing.T) {
	const dim = 12
	block := func(m seqmix.Mixer) seqmix.Mixer { return &seqmix.Residual{Norm: nn.NewRMSNorm(dim, 1e-5), Mixer: m} }
	for name, m := range map[string]seqmix.Stack{
		"Mamba":            {block(newMamba(t, ssm.MambaConfig{DModel: dim}, 1)), block(newMamba(t, ssm.MambaConfig{DModel: dim, DConv: 2}, 2))},
		"Mamba-2":          {block(newMamba2(t, mamba2s["groups"], 1)), block(newMamba2(t, mamba2s["initial states"], 2))},
		"Mamba-3":          {block(newMamba3(t, mamba3s["groups"], 1)), block(newMamba3(t, mamba3s["MIMO"], 2))},
		"Mamba-3 on Mamba": {block(newMamba(t, ssm.MambaConfig{DModel: dim}, 1)), block(newMamba3(t, mamba3s["groups"], 1))},
	} {
		if testing.Short() && name != "Mamba-3 on Mamba" {
			continue
		}
		for _, o := range short.First([]mixtest.Options{{Len: 20}, {Batch: 1, Len: 1}}) {
			if err := mixtest.TestTrainer(m, o); err != nil {
				t.Errorf("%s, length %d: %v", name, o.Len, err)
			}
		}
	}
}

// A batch may be empty.
func TestSelectiveSegmentsOfNoSequences(t *testing.T) {
	for name, m := range recurrents(t) {
		for _, length := range []int{0, 5} {
			x := tensor.NewSeq(0, length, m.Dim())
			tapes, last := recordSegments(t, m, x, tensor.NewSeq(0, length, m.Dim()), []int{length}, nil)
			again, last := recordSegments(t, m, x, tensor.NewSeq(0, length, m.Dim()), []int{length}, last)
			d := backSegments(again, x, x, []int{length}, last, seqmix.NewGrads(m))
			if last.Position != 2*length || len(d.Tensors) != len(last.Tensors) {
				t.Errorf("%s, length %d: a state behind %d positions, and a gradient of %d tensors", name, length, last.Position, len(d.Tensors))
			}
			if backSegments(tapes, x, x, []int{length}, d, seqmix.NewGrads(m)) != nil {
				t.Errorf("%s, length %d: there is a gradient of the beginning", name, length)
			}
		}
	}
}

func TestSelectiveSegmentErrors(t *testing.T) {
	for name, m := range recurrents(t) {
		x := tensor.NewSeq(2, 5, m.Dim())
		tape, last, err := m.RecordSegment(like(x), x, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []func(s *seqmix.State){
			func(s *seqmix.State) { m.RecordSegment(like(x), x, s) },
			func(s *seqmix.State) { tape.BackwardSegment(like(x), x, s, nil) },
		} {
			for _, s := range []*seqmix.State{
				{}, {Tensors: last.Tensors[:1]}, {Tensors: last.Tensors, Parts: []*seqmix.State{nil}},
				{Tensors: append(slices.Clone(last.Tensors[:len(last.Tensors)-1]), tensor.New(2, 1, 1))},
			} {
				func() {
					defer func() {
						err, _ := recover().(error)
						var shape *tensor.ShapeError
						if !errors.As(err, &shape) {
							t.Errorf("%s: %v, not a *tensor.ShapeError", name, err)
						}
					}()
					f(s)
				}()
			}
		}
	}
}

// Without positions, the gradient of the last state is that of the first.
func TestTrapezoidalScanGradOfNothing(t *testing.T) {
	const batch, heads, p, n, turning = 2, 3, 4, 6, 2
	empty := func(dim int) tensor.Seq { return tensor.NewSeq(batch, 0, dim) }
	state := func(seed uint64) *ssm.Mamba3State {
		return &ssm.Mamba3State{
			Angle: randomTensor(seed, batch, heads, turning), SSM: randomTensor(seed+1, batch, heads, p, n),
			K: randomTensor(seed+2, batch, 1, heads, n), V: randomTensor(seed+3, batch, heads, p),
		}
	}
	s := ssm.Trapezoid{
		LogDecay: empty(heads), Delta: empty(heads), Trap: empty(heads), B: empty(n), C: empty(n), Angles: empty(heads * turning),
		BBias: tensor.New(heads, n), CBias: tensor.New(heads, n), State: state(1),
	}
	g := ssm.TrapezoidGrads{LogDecay: empty(heads), Delta: empty(heads), Trap: empty(heads), B: empty(n), C: empty(n), Angles: empty(heads * turning), State: state(10)}
	ssm.TrapezoidalScanGrad(empty(heads*p), empty(heads*p), empty(heads*p), s, g)
	want := state(10)
	wantSame(t, "angles", g.State.Angle.Data(), want.Angle.Data())
	wantSame(t, "states", g.State.SSM.Data(), want.SSM.Data())
	wantSame(t, "keys", g.State.K.Data(), want.K.Data())
	wantSame(t, "values", g.State.V.Data(), want.V.Data())
}
