package mixtest

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/seqmix/seqmix/tensor"
)

// rounds is how many inputs may be tried for a gradient. One that is wrong is wrong
// again with the next input; what fails only once is a difference across a kink, as
// that of a ReLU, that is too near to be seen.
const rounds = 3

func checkGradients(t *tester) error {
	failed := t.differences(t.src, nil)
	for r := 1; r < rounds && len(failed) > 0; r++ {
		again := t.differences(t.random(t.Batch, t.Len), failed)
		maps.DeleteFunc(failed, func(name string, _ error) bool { return again[name] == nil })
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		errs = append(errs, fmt.Errorf("gradient of %s: %w", name, failed[name]))
	}
	return errors.Join(errs...)
}

// differences compares the gradients of the loss
//
//	f = Σ ddst·Mix(src)
//
// with finite differences, along random directions and along single coordinates. It
// returns the errors by the names of the parameters, or "src". If only is not nil, it
// compares those in it.
func (t *tester) differences(src tensor.Seq, only map[string]error) map[string]error {
	failed := map[string]error{}
	ddst := t.cotangent()
	compare := func(name string, gradient, at []float32, x tensor.Seq, set func([]float32)) {
		if only != nil && only[name] == nil {
			return
		}
		if err := t.slopes(gradient, at, ddst.Data, directions, coordinates, func(v []float32) []float32 { set(v); return t.mix(x).Data }); err != nil {
			failed[name] = err
		}
	}
	dsrc, grads := t.backward(src, ddst)
	x := clone(src)
	compare("src", dsrc.Data, slices.Clone(x.Data), x, func(v []float32) { copy(x.Data, v) })
	for _, p := range t.params() {
		if p.param.DType() != tensor.Float32 {
			continue
		}
		before := slices.Clone(p.param.Float32s())
		compare(p.name, grads.Of(p.param), before, src, p.param.SetFloat32s)
		p.param.SetFloat32s(before)
	}
	return failed
}

// The numbers of random directions and of random coordinates.
const (
	directions  = 3
	coordinates = 3
)

// slopes compares the gradient of the loss Σ weights·output(x) at a point with finite
// differences, along so many random directions and for so many coordinates beside that of
// the largest element.
func (t *tester) slopes(gradient, at, weights []float32, directions, coordinates int, output func(x []float32) []float32) error {
	if len(at) == 0 {
		return nil
	}
	for i, g := range gradient {
		if math.IsNaN(float64(g)) || math.IsInf(float64(g), 0) {
			return fmt.Errorf("element %d is %v", i, g)
		}
	}
	l := &loss{at: at, weights: weights, output: output, size: rootMeanSquare(at), tol: t.GradTol}
	for range directions {
		if err := l.compare(gradient, t.direction(len(at))); err != nil {
			return fmt.Errorf("along a random direction: %w", err)
		}
	}
	for _, i := range t.sample(gradient, coordinates) {
		v := make([]float64, len(at))
		v[i] = 1
		if err := l.compare(gradient, v); err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
	return nil
}

// direction returns a random corner of a cube of n dimensions.
func (t *tester) direction(n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = float64(2*t.rand.IntN(2) - 1)
	}
	return v
}

// sample returns the place of the largest element and some random ones.
func (t *tester) sample(gradient []float32, coordinates int) []int {
	largest := 0
	for i, g := range gradient {
		if math.Abs(float64(g)) > math.Abs(float64(gradient[largest])) {
			largest = i
		}
	}
	list := []int{largest}
	for range coordinates {
		list = append(list, t.rand.IntN(len(gradient)))
	}
	return list
}

// rootMeanSquare returns the size of the elements, or 1 if all are zero.
func rootMeanSquare(v []float32) float64 {
	var s float64
	for _, x := range v {
		s += float64(x) * float64(x)
	}
	if s == 0 {
		return 1
	}
	return math.Sqrt(s / float64(len(v)))
}

// loss is f as a function of the input, of one parameter or of a state.
type loss struct {
	at      []float32
	size    float64 // of an element of at
	weights []float32
	output  func([]float32) []float32
	tol     float64
}

// value returns f at the point h·v from at, and the size of its terms.
func (l *loss) value(h float64, v []float64) (f, terms float64) {
	moved := make([]float32, len(l.at))
	for i := range moved {
		moved[i] = float32(float64(l.at[i]) + h*v[i])
	}
	for i, y := range l.output(moved) {
		term := float64(y) * float64(l.weights[i])
		f += term
		terms += term * term
	}
	return f, math.Sqrt(terms)
}

// slope returns the slope of f along v by central differences of fourth order with
// steps of h, and how far it may be off: by rounding in Mix, and by bends and kinks
// of f, which show in the distance from differences of second order.
func (l *loss) slope(h float64, v []float64) (slope, doubt float64) {
	a, terms := l.value(h, v)
	b, _ := l.value(-h, v)
	c, _ := l.value(2*h, v)
	d, _ := l.value(-2*h, v)
	slope = (8*(a-b) - (c - d)) / (12 * h)
	const unit = 1.0 / (1 << 24) // rounding of a float32
	return slope, 2*unit*terms/h + math.Abs(slope-(a-b)/(2*h))
}

// steps are tried in units of the size of the elements: long ones suffer least from
// rounding, short ones least from bends and kinks.
var steps = []float64{1. / 8192, 1. / 1024, 1. / 256, 1. / 64, 1. / 16}

// best returns the slope with the step that leaves the least doubt. What changes
// with the next smaller step is in doubt, too.
func (l *loss) best(v []float64) (slope, doubt float64) {
	smaller, doubt := l.slope(steps[0]*l.size, v)
	slope = smaller
	for _, h := range steps[1:] {
		s, d := l.slope(h*l.size, v)
		if d += math.Abs(s - smaller); d < doubt {
			slope, doubt = s, d
		}
		smaller = s
	}
	return slope, doubt
}

// compare returns an error unless the gradient agrees with the slope along v, with
// the step that leaves the least doubt.
func (l *loss) compare(gradient []float32, v []float64) error {
	// along is what the gradient says, size what that would be if its terms did not
	// cancel.
	var along, square, largest float64
	for i, g := range gradient {
		along += float64(g) * v[i]
		square += float64(g) * v[i] * float64(g) * v[i]
		largest = max(largest, math.Abs(float64(g)))
	}
	size := max(math.Sqrt(square), largest)
	slope, doubt := l.best(v)
	allowed := l.tol*max(size, math.Abs(slope)) + doubt
	if math.Abs(slope-along) <= allowed {
		return nil
	}
	return fmt.Errorf("it is %.6g, by finite differences %.6g (allowed difference %.2g)", along, slope, allowed)
}
