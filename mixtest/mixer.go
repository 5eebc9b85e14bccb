package mixtest

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/seqmix/seqmix/tensor"
)

func checkOutput(t *tester) error {
	zero := true
	for b := range t.want.Batch {
		for i := range t.want.Len {
			for c, v := range t.want.At(b, i) {
				if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
					return fmt.Errorf("sequence %d, position %d, channel %d is %v", b, i, c, v)
				}
				zero = zero && v == 0
			}
		}
	}
	if zero {
		return errors.New("it is zero everywhere, which shows nothing: give the mixer random parameters")
	}
	return nil
}

// wrongShapes are pairs of dst and src that must not be accepted.
func (t *tester) wrongShapes() map[string][2]tensor.Seq {
	seq := tensor.NewSeq
	b, l, d := t.Batch, t.Len, t.m.Dim()
	short := seq(b, l, d)
	short.Data = short.Data[:len(short.Data)-1]
	return map[string][2]tensor.Seq{
		"src and dst too wide":     {seq(b, l, d+1), seq(b, l, d+1)},
		"src and dst too narrow":   {seq(b, l, d-1), seq(b, l, d-1)},
		"src too wide":             {seq(b, l, d), seq(b, l, d+1)},
		"dst too wide":             {seq(b, l, d+1), seq(b, l, d)},
		"dst too long":             {seq(b, l+1, d), seq(b, l, d)},
		"dst too short":            {seq(b, l, d), seq(b, l+1, d)},
		"dst of a larger batch":    {seq(b+1, l, d), seq(b, l, d)},
		"dst of a smaller batch":   {seq(b, l, d), seq(b+1, l, d)},
		"dst with too little Data": {short, seq(b, l, d)},
		"src with too little Data": {seq(b, l, d), short},
	}
}

func checkShapes(t *tester) error {
	var errs []error
	for name, pair := range t.wrongShapes() {
		errs = append(errs, shapePanic(name, func() { t.m.Mix(pair[0], pair[1]) }))
	}
	return errors.Join(append(errs, t.overlaps(t.m.Mix))...)
}

// overlaps passes a dst and a src that overlap without being the same.
func (t *tester) overlaps(mix func(dst, src tensor.Seq)) error {
	if t.Len < 2 {
		return nil
	}
	long := t.random(t.Batch, t.Len+1)
	if p := panicOf(func() { mix(long.Slice(1, t.Len+1), long.Slice(0, t.Len)) }); p == nil {
		return errors.New("dst and src overlap by all but one position: no panic")
	}
	return nil
}

// shapePanic returns an error unless f panics with a *tensor.ShapeError.
func shapePanic(name string, f func()) error {
	p := panicOf(f)
	if p == nil {
		return fmt.Errorf("%s: no panic", name)
	}
	var shape *tensor.ShapeError
	if err, ok := p.(error); !ok || !errors.As(err, &shape) {
		return fmt.Errorf("%s: panic with %T (%v), want a *tensor.ShapeError", name, p, p)
	}
	return nil
}

func panicOf(f func()) (p any) {
	defer func() { p = recover() }()
	f()
	return nil
}

func checkEmpty(t *tester) error {
	empty := t.random(t.Batch, 0)
	t.m.Mix(empty, empty)
	return nil
}

func checkInPlace(t *tester) error {
	x := clone(t.src)
	t.m.Mix(x, x)
	return explain(near(x, t.want, t.Tol), "dst is src")
}

func checkOutside(t *tester) error { return t.outside(t.m.Mix) }

// outside runs mix on parts of longer sequences, with NaN around src so that it
// shows if that is read.
func (t *tester) outside(mix func(dst, src tensor.Seq)) error {
	src := frame(t.src, float32(math.NaN()))
	dst := frame(like(t.src), -12345.5)
	mix(dst.Seq, src.Seq)
	return errors.Join(
		explain(dst.intact(), "outside dst"),
		explain(src.intact(), "outside src"),
		explain(same(src.Seq, t.src), "src was changed"),
		explain(near(dst.Seq, t.want, t.Tol), "dst and src are parts of longer sequences"),
	)
}

func checkBatch(t *tester) error {
	for b := range t.Batch {
		got := t.mix(clone(t.src.Sequence(b)))
		if err := near(got, t.want.Sequence(b), t.Tol); err != nil {
			return fmt.Errorf("sequence %d of the batch on its own: %w", b, err)
		}
	}
	return nil
}

// goroutines is how many use a mixer at once.
const goroutines = 4

// concurrently runs f on several goroutines and joins their errors.
func concurrently(f func(i int) error) error {
	errs := make([]error, goroutines)
	var wg sync.WaitGroup
	for i := range goroutines {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					errs[i] = fmt.Errorf("panic: %v", p)
				}
			}()
			errs[i] = f(i)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func checkConcurrent(t *tester) error {
	var src, want [goroutines]tensor.Seq
	for i := range src {
		src[i] = t.random(t.Batch, t.Len)
		want[i] = t.mix(src[i])
	}
	return concurrently(func(i int) error {
		for range 4 {
			if err := same(t.mix(src[i]), want[i]); err != nil {
				return fmt.Errorf("%d goroutines at once: %w", goroutines, err)
			}
		}
		return nil
	})
}

// onCores calls f with GOMAXPROCS set to 1, 2 and 4.
func onCores(f func(cores int) error) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, n := range []int{1, 2, 4} {
		runtime.GOMAXPROCS(n)
		if err := f(n); err != nil {
			return fmt.Errorf("GOMAXPROCS(%d): %w", n, err)
		}
	}
	return nil
}

func checkCores(t *tester) error {
	return onCores(func(int) error { return same(t.mix(t.src), t.want) })
}

// namedParam is a parameter with its name.
type namedParam struct {
	name  string
	param *tensor.Tensor
}

func (t *tester) params() []namedParam {
	var list []namedParam
	for name, p := range t.m.Params() {
		list = append(list, namedParam{name, p})
	}
	return list
}

func checkParams(t *tester) error {
	list := t.params()
	seen := map[string]bool{}
	for _, p := range list {
		if p.param == nil {
			return fmt.Errorf("%q is nil", p.name)
		}
		if p.name == "" || seen[p.name] {
			return fmt.Errorf("the name %q is empty or used twice", p.name)
		}
		seen[p.name] = true
	}
	for range 3 {
		if !slices.Equal(t.params(), list) {
			return errors.New("the order, the names or the tensors change from call to call")
		}
	}
	for stop := range list {
		n := 0
		for range t.m.Params() {
			if n++; n > stop {
				break // an iterator that goes on now panics
			}
		}
	}
	return nil
}

// checkPack packs what is not packed, one weight after the other, and the other way
// round. Then it makes what it packed compact.
func checkPack(t *tester) error {
	var flipped []*tensor.Tensor
	defer func() {
		for _, p := range flipped {
			flip(p)
		}
	}()
	for _, p := range t.params() {
		if !p.param.IsWeight() || slices.Contains(flipped, p.param) {
			continue
		}
		before := slices.Clone(p.param.Float32s())
		flip(p.param)
		flipped = append(flipped, p.param)
		err := errors.Join(sameValues(p.param.Float32s(), before), same(t.mix(t.src), t.want))
		if err != nil {
			return fmt.Errorf("%s, packed %v: %w", p.name, p.param.Packed(), err)
		}
	}
	for _, p := range flipped {
		if p.Packed() {
			p.Compact()
		}
	}
	if err := same(t.mix(t.src), t.want); err != nil {
		return fmt.Errorf("with compact weights: %w", err)
	}
	return nil
}

// flip packs a tensor that is not packed and unpacks one that is.
func flip(p *tensor.Tensor) {
	if p.Packed() {
		p.Unpack()
	} else {
		p.Pack()
	}
}
