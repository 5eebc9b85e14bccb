package hyena

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// segmented are mixers that carry recurrent states from segment to segment.
func segmented(t *testing.T) map[string]seqmix.SegmentTrainer {
	list := map[string]seqmix.SegmentTrainer{}
	for name, cfg := range modals {
		list["modal, "+name] = newModal(t, cfg, 1)
	}
	for name, cfg := range stripeds {
		list["striped, "+name] = newStriped(t, cfg, 1)
	}
	d, _ := distilled(t, newHyena(t, Config{DModel: 5, LMax: 400, FilterOrder: 8, Order: 3}, 1), FitOptions{Order: 6, Growth: 1})
	list["distilled"] = d
	return list
}

// inSegments records src in segments and takes ddst back through them.
func inSegments(t *testing.T, m seqmix.Mixer, src, ddst tensor.Seq, lengths ...int) (dst, dsrc tensor.Seq, grads seqmix.Grads, last *seqmix.State) {
	t.Helper()
	dst, dsrc, grads = like(src), like(src), seqmix.NewGrads(m)
	tapes := make([]seqmix.SegmentTape, len(lengths))
	at := 0
	for i, n := range lengths {
		var err error
		if tapes[i], last, err = seqmix.RecordSegment(m, dst.Slice(at, at+n), src.Slice(at, at+n), last); err != nil {
			t.Fatal(err)
		}
		at += n
	}
	var dstate *seqmix.State
	for i := len(lengths) - 1; i >= 0; i-- {
		at -= lengths[i]
		dstate = tapes[i].BackwardSegment(dsrc.Slice(at, at+lengths[i]), ddst.Slice(at, at+lengths[i]), dstate, grads)
	}
	return dst, dsrc, grads, last
}

// Gradients of segments are those of the whole, however short the segments are.
func TestSegments(t *testing.T) {
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
		for _, lengths := range [][]int{{90}, {1, 89}, {40, 1, 1, 48}, {89, 1}, {17, 0, 33, 40}, slices.Repeat([]int{1}, 90)} {
			dst, dsrc, grads, _ := inSegments(t, m, src, ddst, lengths...)
			what := fmt.Sprintf("%s in %d segments, first %d", name, len(lengths), lengths[0])
			wantClose(t, what+": dst", dst.Data, whole.Data, 5e-6)
			wantClose(t, what+": dsrc", dsrc.Data, want.Data, 1e-5)
			for p, param := range m.Params() {
				wantClose(t, what+": "+p, grads.Of(param), wantGrads.Of(param), 1e-5)
			}
		}
	}
}

// The bits do not depend on the number of cores, and the state does not grow.
func TestSegmentCores(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for name, m := range segmented(t) {
		r := newRand(1)
		src, ddst := randomSeq(r, 3, 270, m.Dim()), randomSeq(r, 3, 270, m.Dim())
		runtime.GOMAXPROCS(1)
		dst, dsrc, grads, last := inSegments(t, m, src, ddst, 130, 1, 139)
		runtime.GOMAXPROCS(2)
		dst2, dsrc2, grads2, _ := inSegments(t, m, src, ddst, 130, 1, 139)
		_, _, _, before := inSegments(t, m, src.Slice(0, 131), ddst.Slice(0, 131), 130, 1)
		if got, want := elements(last), elements(before); got != want {
			t.Errorf("%s: a state of %d numbers, %d at an earlier position", name, got, want)
		}
		if !slices.Equal(dst.Data, dst2.Data) || !slices.Equal(dsrc.Data, dsrc2.Data) {
			t.Errorf("%s: not the same bits on two cores", name)
		}
		for p, param := range m.Params() {
			if !slices.Equal(grads.Of(param), grads2.Of(param)) {
				t.Errorf("%s: not the same gradient of %s on two cores", name, p)
			}
		}
	}
}

// elements returns the number of numbers in a state.
func elements(s *seqmix.State) (n int) {
	for _, x := range s.Tensors {
		n += x.Len()
	}
	for _, p := range s.Parts {
		n += elements(p)
	}
	return n
}
