package mixtest

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/seqmix/seqmix/tensor"
)

// checkGradients compares the gradients of the loss
//
//	f = Σ ddst·Mix(src)
//
// with finite differences, along random directions and along single coordinates.
func checkGradients(t *tester) error {
	ddst := t.cotangent()
	dsrc, grads := t.backward(t.src, ddst)
	x := clone(t.src)
	errs := []error{t.slopes("src", dsrc.Data, slices.Clone(x.Data), ddst, x, func(v []float32) { copy(x.Data, v) })}
	for _, p := range t.params() {
		if p.param.DType() != tensor.Float32 {
			continue
		}
		before := slices.Clone(p.param.Float32s())
		errs = append(errs, t.slopes(p.name, grads.Of(p.param), before, ddst, t.src, p.param.SetFloat32s))
		p.param.SetFloat32s(before)
	}
	return errors.Join(errs...)
}

// The numbers of random directions and of random coordinates, and how many
// directions may be drawn for one that agrees: between the points of a difference
// there may be a kink, as that of a ReLU, but not in every direction.
const (
	directions  = 3
	attempts    = 4
	coordinates = 3
)

// slopes compares the gradient of what set sets, whose value is at, with finite
// differences.
func (t *tester) slopes(name string, gradient, at []float32, ddst, src tensor.Seq, set func([]float32)) error {
	if len(at) == 0 {
		return nil
	}
	for i, g := range gradient {
		if math.IsNaN(float64(g)) || math.IsInf(float64(g), 0) {
			return fmt.Errorf("gradient of %s: element %d is %v", name, i, g)
		}
	}
	l := &loss{t: t, at: at, ddst: ddst, src: src, set: set, size: rootMeanSquare(at)}
	for range directions {
		if err := l.compareRandom(gradient); err != nil {
			return fmt.Errorf("gradient of %s: along a random direction: %w", name, err)
		}
	}
	for _, i := range t.sample(gradient) {
		v := make([]float64, len(at))
		v[i] = 1
		if err := l.compare(gradient, v); err != nil {
			return fmt.Errorf("gradient of %s: element %d: %w", name, i, err)
		}
	}
	return nil
}

// sample returns the place of the largest element and some random ones.
func (t *tester) sample(gradient []float32) []int {
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

// loss is f as a function of the input or of one parameter.
type loss struct {
	t         *tester
	at        []float32
	size      float64 // of an element of at
	ddst, src tensor.Seq
	set       func([]float32)
}

// value returns f at the point h·v from at, and the size of its terms.
func (l *loss) value(h float64, v []float64) (f, terms float64) {
	moved := make([]float32, len(l.at))
	for i := range moved {
		moved[i] = float32(float64(l.at[i]) + h*v[i])
	}
	l.set(moved)
	y := l.t.mix(l.src)
	for i := range y.Data {
		term := float64(y.Data[i]) * float64(l.ddst.Data[i])
		f += term
		terms += term * term
	}
	return f, math.Sqrt(terms)
}

// slope returns the slope of f along v by central differences of fourth order with
// steps of h, and how far rounding in Mix may put it off.
func (l *loss) slope(h float64, v []float64) (slope, noise float64) {
	a, terms := l.value(h, v)
	b, _ := l.value(-h, v)
	c, _ := l.value(2*h, v)
	d, _ := l.value(-2*h, v)
	const unit = 1.0 / (1 << 24) // rounding of a float32
	return (8*(a-b) - (c - d)) / (12 * h), 6 * unit * terms / h
}

// steps are tried one after the other, in units of the size of the elements: long
// ones suffer least from rounding, short ones least from bends and kinks.
var steps = []float64{1. / 32, 1. / 256, 1. / 2048, 1. / 8192}

// compareRandom is compare for random directions.
func (l *loss) compareRandom(gradient []float32) (first error) {
	v := make([]float64, len(gradient))
	for range attempts {
		for i := range v {
			v[i] = float64(2*l.t.rand.IntN(2) - 1)
		}
		err := l.compare(gradient, v)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// compare returns an error unless the gradient agrees with the slope along v for one
// of the steps.
func (l *loss) compare(gradient []float32, v []float64) error {
	// along is what the gradient says; size what it would be of if the elements
	// were of one size and of random sign.
	var along, square, largest float64
	for i, g := range gradient {
		along += float64(g) * v[i]
		square += float64(g) * v[i] * float64(g) * v[i]
		largest = max(largest, math.Abs(float64(g)))
	}
	size := max(math.Sqrt(square), largest)
	var slope, allowed float64
	for _, h := range steps {
		var noise float64
		slope, noise = l.slope(h*l.size, v)
		allowed = l.t.GradTol*max(size, math.Abs(slope)) + noise
		if math.Abs(slope-along) <= allowed {
			return nil
		}
	}
	return fmt.Errorf("it is %.6g, by finite differences %.6g (allowed difference %.2g)", along, slope, allowed)
}
