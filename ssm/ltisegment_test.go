package ssm_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// segmented are mixers that carry recurrent states from segment to segment.
func segmented(t testing.TB) map[string]seqmix.SegmentTrainer {
	h3 := func(cfg ssm.H3Config) *ssm.H3 {
		m, err := ssm.NewH3(cfg)
		if err != nil {
			t.Fatal(err)
		}
		m.Init(newRand(1))
		return m
	}
	return map[string]seqmix.SegmentTrainer{
		"S4D":               newS4D(t, ssm.S4DConfig{DModel: 19, DState: 8, Layout: ssm.StateSpacesS4, NSSM: 1}, 1),
		"S4D, real":         newS4D(t, s4dConfigs["real with B"], 1),
		"S4D, dss":          newS4D(t, s4dConfigs["dss"], 1),
		"S4D, limited":      newS4D(t, s4dConfigs["limited"], 1),
		"S4D, untied":       newS4D(t, s4dConfigs["s4, untied"], 1),
		"Modal":             newModal(t, ssm.ModalConfig{DModel: 17, Pairs: 3, Reals: 2}, 1),
		"Modal, real":       newModal(t, ssm.ModalConfig{DModel: 2, Reals: 3}, 1),
		"Shift":             newShift(t, shifts["odd"], 1),
		"H3":                h3(ssm.H3Config{DModel: 6, DState: 8}),
		"H3, heads of 2":    h3(ssm.H3Config{DModel: 6, DState: 8, HeadDim: 2}),
		"S4, modes":         newS4(t, s4Configs["modes, random low rank"], 1),
		"S4, states":        newS4(t, ssm.S4Config{DModel: 3, DState: 16}, 1),
		"S4Block":           newS4Block(t, ssm.S4BlockConfig{DModel: 6, S4: ssm.S4Config{DModel: 4, DState: 8}}, 1),
		"S4Block, diagonal": newS4Block(t, ssm.S4BlockConfig{DModel: 6, S4D: &ssm.S4DConfig{DState: 8}}, 1),
		"GatedS4":           newGatedS4(t, ssm.GatedS4Config{DModel: 4, SSM: ssm.S4BlockConfig{S4D: &ssm.S4DConfig{DState: 8}}}, 1),
	}
}

// inSegments records src in segments and takes ddst back through them.
func inSegments(t *testing.T, m seqmix.Mixer, src, ddst tensor.Seq, lengths ...int) (dst, dsrc tensor.Seq, grads seqmix.Grads, last *seqmix.State) {
	t.Helper()
	dst, dsrc, grads = like(src), like(src), seqmix.NewGrads(m)
	tapes, last := recordSegments(t, m, dst, src, lengths, nil)
	backSegments(tapes, dsrc, ddst, lengths, nil, grads)
	return dst, dsrc, grads, last
}

// stateTensors returns what the State of a stream tells.
func stateTensors(s seqmix.Stream) []*tensor.Tensor {
	switch s := s.(type) {
	case interface{ State() *tensor.Tensor }:
		return []*tensor.Tensor{s.State()}
	case interface{ State() (a, b *tensor.Tensor) }:
		a, b := s.State()
		return []*tensor.Tensor{a, b}
	case *ssm.S4BlockStream:
		return []*tensor.Tensor{s.Layer().State()}
	}
	panic("no state")
}

// Gradients of segments are those of the whole, however short the segments are, and the
// state between them is that of a stream.
func TestLTISegments(t *testing.T) {
	const batch, length = 2, 90
	for name, m := range segmented(t) {
		r := newRand(1)
		src, ddst := randomSeq(r, batch, length, m.Dim()), randomSeq(r, batch, length, m.Dim())
		want, wantGrads, whole := like(src), seqmix.NewGrads(m), like(src)
		tape, err := m.Record(whole, src)
		if err != nil {
			t.Fatal(err)
		}
		tape.Backward(want, ddst, wantGrads)
		stream := newStream[seqmix.Stream](t, m.(seqmix.Streamer), batch)
		stream.Mix(like(src), src)
		states := stateTensors(stream)
		for _, lengths := range [][]int{{90}, {1, 89}, {40, 1, 1, 48}, {89, 1}, {17, 0, 33, 40}, slices.Repeat([]int{9}, 10), slices.Repeat([]int{1}, 90)} {
			dst, dsrc, grads, last := inSegments(t, m, src, ddst, lengths...)
			what := fmt.Sprintf("%s in %d segments, first %d", name, len(lengths), lengths[0])
			wantClose(t, what+": dst", dst.Data, whole.Data, 5e-6)
			wantClose(t, what+": dsrc", dsrc.Data, want.Data, 1e-5)
			for p, param := range m.Params() {
				wantClose(t, what+": "+p, grads.Of(param), wantGrads.Of(param), 1e-5)
			}
			for i, s := range states {
				wantClose(t, fmt.Sprint(what, ": state ", i), last.Tensors[i].Data(), s.Data(), 5e-6)
			}
		}
	}
}

// The bits do not depend on the number of cores.
func TestLTISegmentCores(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for name, m := range segmented(t) {
		r := newRand(1)
		src, ddst := randomSeq(r, 3, 70, m.Dim()), randomSeq(r, 3, 70, m.Dim())
		runtime.GOMAXPROCS(1)
		dst, dsrc, grads, _ := inSegments(t, m, src, ddst, 30, 1, 39)
		runtime.GOMAXPROCS(2)
		dst2, dsrc2, grads2, _ := inSegments(t, m, src, ddst, 30, 1, 39)
		wantSame(t, name+": dst", dst2.Data, dst.Data)
		wantSame(t, name+": dsrc", dsrc2.Data, dsrc.Data)
		for p, param := range m.Params() {
			if g := grads.Of(param); g != nil {
				wantSame(t, name+": "+p, grads2.Of(param), g)
			}
		}
	}
}

// A batch may be empty.
func TestLTISegmentsOfNoSequences(t *testing.T) {
	for name, m := range segmented(t) {
		x := tensor.NewSeq(0, 5, m.Dim())
		tapes, last := recordSegments(t, m, x, x, []int{3, 2}, nil)
		backSegments(tapes, x, x, []int{3, 2}, last, seqmix.NewGrads(m))
		if last.Position != 5 || last.Tensors[0].Dim(0) != 0 {
			t.Errorf("%s: a state behind %d positions, of shape %v", name, last.Position, last.Tensors[0].Shape())
		}
	}
}

// Systems of both directions have no segments, and states have shapes.
func TestLTISegmentErrors(t *testing.T) {
	for _, m := range []seqmix.Mixer{newS4D(t, s4dConfigs["both ways"], 1), newS4(t, s4Configs["modes, both ways"], 1)} {
		src := randomSeq(newRand(1), 1, 3, m.Dim())
		if _, _, err := seqmix.RecordSegment(m, like(src), src, nil); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%T of both directions: %v", m, err)
		}
	}
	for name, m := range segmented(t) {
		func() {
			defer func() {
				if _, ok := recover().(*tensor.ShapeError); !ok {
					t.Errorf("%s took a state of another shape", name)
				}
			}()
			src := randomSeq(newRand(1), 1, 3, m.Dim())
			_, _, _ = m.RecordSegment(like(src), src, &seqmix.State{Tensors: []*tensor.Tensor{tensor.New(1, m.Dim())}})
		}()
	}
}
