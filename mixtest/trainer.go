package mixtest

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// record records src in new memory.
func (t *tester) record(src tensor.Seq) (dst tensor.Seq, tape seqmix.Tape) {
	dst = like(src)
	tape, err := seqmix.Record(t.m, dst, src)
	if err != nil {
		panic(err)
	}
	return dst, tape
}

// cotangent returns a random gradient of the output.
func (t *tester) cotangent() tensor.Seq {
	g := t.random(t.Batch, t.Len)
	for i := range g.Data {
		g.Data[i] /= float32(t.Scale)
	}
	return g
}

// newGrads returns zero gradients of all parameters, constants too.
func (t *tester) newGrads() seqmix.Grads {
	g := seqmix.NewGrads(t.m)
	for _, p := range t.params() {
		if g[p.param] == nil {
			g[p.param] = tensor.New(p.param.Shape()...)
		}
	}
	return g
}

// backward records src and computes all gradients.
func (t *tester) backward(src, ddst tensor.Seq) (tensor.Seq, seqmix.Grads) {
	_, tape := t.record(src)
	dsrc, grads := like(src), t.newGrads()
	tape.Backward(dsrc, ddst, grads)
	return dsrc, grads
}

func checkRecord(t *tester) error {
	src := clone(t.src)
	before := t.values()
	dst, _ := t.record(src)
	errs := []error{
		explain(near(dst, t.want, t.Tol), "Record does not compute what Mix does"),
		explain(same(src, t.src), "Record changed src"),
	}
	framedSrc, framedDst := frame(t.src, float32(math.NaN())), frame(like(t.src), -12345.5)
	if _, err := seqmix.Record(t.m, framedDst.Seq, framedSrc.Seq); err != nil {
		return err
	}
	errs = append(errs,
		explain(framedDst.intact(), "outside dst"),
		explain(near(framedDst.Seq, t.want, t.Tol), "dst and src are parts of longer sequences"),
		explain(t.unchanged(before), "Record"))
	for name, pair := range t.wrongShapes() {
		errs = append(errs, shapePanic(name, func() { seqmix.Record(t.m, pair[0], pair[1]) }))
	}
	return errors.Join(append(errs, t.recordInPlace())...)
}

// recordInPlace records with dst for src.
func (t *tester) recordInPlace() error {
	ddst := t.cotangent()
	want, wantGrads := t.backward(t.src, ddst)
	x := clone(t.src)
	tape, err := seqmix.Record(t.m, x, x)
	if err != nil {
		return err
	}
	if err := near(x, t.want, t.Tol); err != nil {
		return fmt.Errorf("dst is src: %w", err)
	}
	for i := range x.Data {
		x.Data[i] = float32(math.NaN()) // what is needed of src was to be copied
	}
	dsrc, grads := like(t.src), t.newGrads()
	tape.Backward(dsrc, ddst, grads)
	return explain(t.nearGrads(dsrc, grads, want, wantGrads, 1), "recorded with dst for src")
}

// nearGrads compares gradients; those of parameters are to be times as large.
func (t *tester) nearGrads(dsrc tensor.Seq, grads seqmix.Grads, want tensor.Seq, wantGrads seqmix.Grads, times float32) error {
	errs := []error{explain(near(dsrc, want, 10*t.Tol), "gradient of src")}
	for _, p := range t.params() {
		w := slices.Clone(wantGrads.Of(p.param))
		for i := range w {
			w[i] *= times
		}
		errs = append(errs, explain(near(vector(grads.Of(p.param)), vector(w), 10*t.Tol), "gradient of %s", p.name))
	}
	return errors.Join(errs...)
}

// vector describes values as one position, to compare them.
func vector(v []float32) tensor.Seq { return tensor.SeqOf(v, 1, 1, len(v)) }

// values returns copies of all parameters.
func (t *tester) values() [][]float32 {
	var v [][]float32
	for _, p := range t.params() {
		v = append(v, slices.Clone(p.param.Float32s()))
	}
	return v
}

func (t *tester) unchanged(before [][]float32) error {
	for i, p := range t.params() {
		if err := sameValues(p.param.Float32s(), before[i]); err != nil {
			return fmt.Errorf("changed %s: %w", p.name, err)
		}
	}
	return nil
}

func checkBackwardAgain(t *tester) error {
	ddst := t.cotangent()
	want, wantGrads := t.backward(t.src, ddst)
	_, tape := t.record(t.src)
	grads := t.newGrads()
	for range 2 {
		dsrc := like(t.src)
		tape.Backward(dsrc, ddst, grads)
		if err := near(dsrc, want, t.Tol); err != nil {
			return fmt.Errorf("gradient of src: %w", err)
		}
	}
	return explain(t.nearGrads(want, grads, want, wantGrads, 2), "after two calls that are to add up")
}

func checkBackwardInPlace(t *tester) error {
	ddst := t.cotangent()
	want, wantGrads := t.backward(t.src, ddst)
	_, tape := t.record(t.src)
	grads := t.newGrads()
	tape.Backward(ddst, ddst, grads)
	return explain(t.nearGrads(ddst, grads, want, wantGrads, 1), "dsrc is ddst")
}

func checkBackwardOutside(t *tester) error {
	given := t.cotangent()
	want, _ := t.backward(t.src, clone(given))
	src, before := frame(t.src, float32(math.NaN())), t.values()
	ddst := frame(given, float32(math.NaN()))
	dsrc := frame(like(t.src), -12345.5)
	_, tape := t.record(src.Seq)
	tape.Backward(dsrc.Seq, ddst.Seq, t.newGrads())
	errs := []error{
		explain(dsrc.intact(), "outside dsrc"),
		explain(same(ddst.Seq, given), "ddst was changed"),
		explain(same(src.Seq, t.src), "src was changed"),
		explain(near(dsrc.Seq, want, 10*t.Tol), "dsrc, ddst and src are parts of longer sequences"),
		explain(t.unchanged(before), "Backward"),
	}
	wrong := tensor.NewSeq(t.Batch, t.Len+1, t.m.Dim())
	errs = append(errs,
		shapePanic("ddst too long", func() { tape.Backward(like(t.src), wrong, nil) }),
		shapePanic("dsrc too long", func() { tape.Backward(wrong, given, nil) }))
	return errors.Join(errs...)
}

func checkFrozen(t *tester) error {
	ddst := t.cotangent()
	want, wantGrads := t.backward(t.src, ddst)
	params := t.params()
	_, tape := t.record(t.src)
	dsrc := like(t.src)
	tape.Backward(dsrc, ddst, seqmix.Grads{})
	if err := near(dsrc, want, t.Tol); err != nil {
		return fmt.Errorf("all frozen: gradient of src: %w", err)
	}
	for _, p := range params {
		grads := seqmix.Grads{p.param: tensor.New(p.param.Shape()...)}
		tape.Backward(dsrc, ddst, grads)
		if len(grads) != 1 {
			return fmt.Errorf("all but %s frozen: Backward put %d entries into the map", p.name, len(grads)-1)
		}
		if err := near(vector(grads.Of(p.param)), vector(wantGrads.Of(p.param)), t.Tol); err != nil {
			return fmt.Errorf("all but %s frozen: its gradient: %w", p.name, err)
		}
	}
	return nil
}

func checkConcurrentRecord(t *tester) error {
	ddst := t.cotangent()
	want, wantGrads := t.backward(t.src, ddst)
	return concurrently(func(int) error {
		dsrc, grads := t.backward(t.src, ddst)
		return t.sameGrads(dsrc, grads, want, wantGrads)
	})
}

func (t *tester) sameGrads(dsrc tensor.Seq, grads seqmix.Grads, want tensor.Seq, wantGrads seqmix.Grads) error {
	errs := []error{explain(same(dsrc, want), "gradient of src")}
	for _, p := range t.params() {
		errs = append(errs, explain(sameValues(grads.Of(p.param), wantGrads.Of(p.param)), "gradient of %s", p.name))
	}
	return errors.Join(errs...)
}

func checkGradientCores(t *tester) error {
	ddst := t.cotangent()
	want, wantGrads := t.backward(t.src, ddst)
	return onCores(func(int) error {
		dsrc, grads := t.backward(t.src, ddst)
		return t.sameGrads(dsrc, grads, want, wantGrads)
	})
}
