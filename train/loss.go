package train

import (
	"math"
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// Ignore is the label of positions that do not count. Any negative label is one.
const Ignore = -100

// A Score says how well logits fit labels.
type Score struct {
	Loss    float64 // sum of the losses of the labels that count
	Count   int     // number of these
	Correct int     // how many of them have the largest logit
}

// Add adds t to s.
func (s *Score) Add(t Score) {
	s.Loss += t.Loss
	s.Count += t.Count
	s.Correct += t.Correct
}

// Mean returns the mean loss, in nats, or NaN if no label counts.
func (s Score) Mean() float64 { return s.Loss / float64(s.Count) }

// Accuracy returns the share of the labels that have the largest logit, or NaN if none
// counts.
func (s Score) Accuracy() float64 { return float64(s.Correct) / float64(s.Count) }

// CrossEntropy scores logits, one row for each label, by
//
//	loss = log Σ_j exp(logits[i][j]) - logits[i][label[i]]
//
// and makes them, in place, the gradient of scale times the sum of the losses,
//
//	scale · (softmax(logits[i]) - onehot(label[i]))
//
// which is 0 for rows whose label is negative. With scale 1/(number of labels that
// count) it is the gradient of the mean loss; scale 0 asks for no gradient and leaves
// the logits as they are. It panics with a *tensor.ShapeError if there is another number
// of labels than of rows, and if a label is not less than the number of columns.
func CrossEntropy(logits tensor.Mat, labels []int, scale float32) Score {
	if len(labels) != logits.Rows {
		panic(&tensor.ShapeError{Op: "train.CrossEntropy", Got: []int{len(labels)}, Want: []int{logits.Rows}})
	}
	for _, l := range labels {
		if l >= logits.Cols {
			panic(&tensor.ShapeError{Op: "train.CrossEntropy: label", Got: []int{l}, Want: []int{logits.Cols - 1}})
		}
	}
	c := crossEntropies.Get().(*crossEntropy)
	c.logits, c.labels, c.scale = logits, labels, scale
	if cap(c.rows) < logits.Rows {
		c.rows = make([]Score, logits.Rows)
	}
	c.rows = c.rows[:logits.Rows]
	const grain = 1 << 14 // logits: some microseconds
	par.Do(logits.Rows, grain/max(logits.Cols, 1)+1, c)
	var s Score
	for _, r := range c.rows { // in order, however they were divided
		s.Add(r)
	}
	c.logits, c.labels = tensor.Mat{}, nil
	crossEntropies.Put(c)
	return s
}

// crossEntropy computes rows.
type crossEntropy struct {
	logits tensor.Mat
	labels []int
	scale  float32
	rows   []Score
}

var crossEntropies = sync.Pool{New: func() any { return new(crossEntropy) }}

// Run computes rows lo to hi-1.
func (c *crossEntropy) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		c.rows[i] = c.row(c.logits.Row(i), c.labels[i])
	}
}

func (c *crossEntropy) row(x []float32, label int) Score {
	if label < 0 {
		if c.scale != 0 {
			clear(x)
		}
		return Score{}
	}
	top, logit := tensor.Max(x), x[label]
	s := Score{Count: 1}
	if logit == top {
		s.Correct = 1
	}
	sum := expSum(x, top, c.scale != 0)
	s.Loss = float64(top) + math.Log(sum) - float64(logit)
	if c.scale != 0 {
		tensor.Scale(x, float32(float64(c.scale)/sum), x)
		x[label] -= c.scale
	}
	return s
}

// expSum returns the sum of e^(x-top), and makes x these numbers if keep is set.
func expSum(x []float32, top float32, keep bool) float64 {
	var buffer [256]float32
	sum := 0.0
	for len(x) > 0 {
		n := min(len(x), len(buffer))
		dst := buffer[:n]
		if keep {
			dst = x[:n]
		}
		sum += float64(kernel.ExpSubSum(dst, x[:n], top))
		x = x[n:]
	}
	return sum
}

// MeanSquare returns the mean of (x-y)² over all elements and, unless dx is nil, writes
// its gradient with respect to x, 2(x-y)/n, to dx, which may be x or y. Slices must have
// one length.
func MeanSquare(dx, x, y []float32) float64 {
	if len(x) != len(y) || dx != nil && len(dx) != len(x) {
		panic(&tensor.ShapeError{Op: "train.MeanSquare", Got: []int{len(y)}, Want: []int{len(x)}})
	}
	sum := 0.0
	scale := 2 / float32(len(x))
	for i := range x {
		d := x[i] - y[i]
		sum += float64(d) * float64(d)
		if dx != nil {
			dx[i] = scale * d
		}
	}
	return sum / float64(len(x))
}
