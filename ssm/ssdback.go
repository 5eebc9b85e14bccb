package ssm

import (
	"math"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// An ssdBack takes some sequences back through the heads of a Mamba-2. Row i·length+t of
// the matrices is position t of sequence i.
type ssdBack struct {
	headSizes
	sequences, length int
	starts            [][]int // for each sequence, positions at which others begin; nil for none
	ssdSteps
	skip ssdSkip

	x, b, c, dy tensor.Mat
	dx, ddelta  tensor.Mat // dx may be dy
	db, dc      tensor.Mat
	initial     []float32  // (sequences, heads, p, n), or nil for zeros
	repeated    bool       // initial is one state for all sequences
	dlast       []float32  // likewise
	dinitial    []float32  // added to, or nil
	da          []float64  // (sequences, heads)
	dd          tensor.Mat // a row of all channels for each sequence
	keyGrads    tensor.Mat // what the bundles add to db and dc
}

// ssdBundle is the number of heads that add to the same rows of the gradients for keys
// and queries. It is fixed, so that sums do not depend on the number of cores.
const ssdBundle = 4

// bundles returns the number of bundles of a group.
func (k *ssdBack) bundles() int { return (k.heads/k.groups + ssdBundle - 1) / ssdBundle }

// run computes the gradients.
func (k *ssdBack) run(s *tensor.Scratch) {
	rows, all := k.sequences*k.length, k.groups*k.bundles()
	k.keyGrads = takeMat(s, k.sequences*all*k.length, 2*k.n)
	k.da = make([]float64, k.sequences*k.heads)
	k.dd = takeMat(s, k.sequences, k.heads*k.p)
	par.Do(k.sequences*all, 1, k)
	eachRow(rows, all*2*k.n, func(i int) {
		sequence, t := i/k.length, i%k.length
		for g := range k.groups {
			db, dc := k.db.Row(i)[g*k.n:(g+1)*k.n], k.dc.Row(i)[g*k.n:(g+1)*k.n]
			clear(db)
			clear(dc)
			for bundle := range k.bundles() {
				part := k.keyGrads.Row((sequence*all+g*k.bundles()+bundle)*k.length + t)
				kernel.Add(db, db, part[:k.n])
				kernel.Add(dc, dc, part[k.n:])
			}
		}
	})
}

// Run computes bundles lo to hi-1, those of the first sequence first.
func (k *ssdBack) Run(lo, hi int) {
	s := tensor.GetScratch()
	h := ssdHeadBack{ssdBack: k}
	for i := lo; i < hi; i++ {
		parts := k.keyGrads.SliceRows(i*k.length, (i+1)*k.length)
		for t := range k.length {
			clear(parts.Row(t))
		}
		sequence, bundle := i/(k.groups*k.bundles()), i%(k.groups*k.bundles())
		group, size := bundle/k.bundles(), k.heads/k.groups
		from := bundle % k.bundles() * ssdBundle
		for head := from; head < min(from+ssdBundle, size); head++ {
			s.Reset()
			h.run(sequence, group, group*size+head, parts, s)
		}
	}
	tensor.PutScratch(s)
}

// ssdHeadBack takes single heads back.
type ssdHeadBack struct {
	*ssdBack
	grad         decayedGrad
	head         decayedHead
	logs, dlogs  []float64
	steps, slope []float32 // Δ, and the derivative of what makes it
}

func (h *ssdHeadBack) run(sequence, group, head int, keyGrads tensor.Mat, s *tensor.Scratch) {
	rows := func(m tensor.Mat, from, width int) tensor.Mat {
		return m.SliceRows(sequence*h.length, (sequence+1)*h.length).Slice(from, from+width)
	}
	h.readSteps(sequence, head, s)
	if len(h.logs) < h.length {
		h.logs, h.dlogs = make([]float64, h.length), make([]float64, h.length)
	}
	for t, delta := range h.steps {
		h.logs[t] = float64(delta) * h.rates[head]
	}
	x, dy, dx := rows(h.x, head*h.p, h.p), rows(h.dy, head*h.p, h.p), rows(h.dx, head*h.p, h.p)
	v, dv := takeMat(s, h.length, h.p), takeMat(s, h.length, h.p)
	for t, delta := range h.steps {
		kernel.Scale(v.Row(t), delta, x.Row(t))
	}
	h.head = decayedHead{
		length: h.length, rank: 1, p: h.p, n: h.n, logs: h.logs, dlogs: h.dlogs,
		v: v, k: rows(h.b, group*h.n, h.n), q: rows(h.c, group*h.n, h.n), dy: dy,
		dv: dv, dk: keyGrads.Slice(0, h.n), dq: keyGrads.Slice(h.n, 2*h.n),
		dlast: h.stateOf(h.dlast, sequence, head), dinitial: h.stateOf(h.dinitial, sequence, head),
	}
	if h.repeated {
		h.head.initial = h.stateOf(h.initial, 0, head)
	} else {
		h.head.initial = h.stateOf(h.initial, sequence, head)
	}
	if h.starts != nil {
		h.head.starts = h.starts[sequence]
	}
	h.grad.run(&h.head, s)
	h.collect(sequence, head, x, dy, dx, dv)
}

// stateOf returns the state of a head.
func (k *ssdBack) stateOf(states []float32, sequence, head int) []float32 {
	if states == nil {
		return nil
	}
	size := k.p * k.n
	at := (sequence*k.heads + head) * size
	return states[at : at+size]
}

// readSteps computes the steps of a head and their derivatives.
func (h *ssdHeadBack) readSteps(sequence, head int, s *tensor.Scratch) {
	h.steps, h.slope = s.Take(h.length), s.Take(h.length)
	k := ssdBlock{length: h.length, ssdSteps: h.ssdSteps}
	k.softplus, k.limit = false, Limit{Min: math.Inf(-1)}
	k.steps(h.steps, sequence, head)
	for t := range h.slope {
		h.slope[t] = 1
	}
	if h.softplus {
		kernel.SoftplusGrad(h.slope, h.steps, h.slope)
		kernel.Softplus(h.steps, h.steps)
	}
	before := s.Take(h.length)
	copy(before, h.steps)
	h.limit.apply(h.steps)
	for t, v := range before {
		if v != h.steps[t] {
			h.slope[t] = 0
		}
	}
}

// collect computes what is left when the gradients for the values are known.
func (h *ssdHeadBack) collect(sequence, head int, x, dy, dx, dv tensor.Mat) {
	dd := h.dd.Row(sequence)[head*h.p : (head+1)*h.p]
	clear(dd)
	var da float64
	for t, delta := range h.steps {
		kernel.MulAdd(dd, dy.Row(t), x.Row(t))
		direct := float64(kernel.Dot(dv.Row(t), x.Row(t)))
		da += float64(delta) * h.dlogs[t]
		h.ddelta.Row(sequence*h.length + t)[head] = float32(direct+h.rates[head]*h.dlogs[t]) * h.slope[t]
		h.skip.back(dx.Row(t), dy.Row(t), dv.Row(t), delta, head, head*h.p)
	}
	h.da[sequence*h.heads+head] = da
}

// back computes dx = delta·dv + D·dy for channels of a head, the first of which is
// given. It overwrites dv.
func (k *ssdSkip) back(dx, dy, dv []float32, delta float32, head, first int) {
	switch {
	case k.head != nil:
		kernel.Scale(dv, delta, dv)
		kernel.AddScaled(dx, dv, k.head[head], dy)
	case k.channel != nil:
		kernel.Mul(dx, dy, k.channel[first:first+len(dx)])
		kernel.Axpy(delta, dv, dx)
	default:
		kernel.Scale(dx, delta, dv)
	}
}

// addSkipGrads adds the gradient of D, which has one element for each head or for each
// channel.
func (k *ssdBack) addSkipGrads(grad []float32) {
	if grad == nil {
		return
	}
	for i := range k.sequences {
		dd := k.dd.Row(i)
		if len(grad) == len(dd) {
			kernel.Add(grad, grad, dd)
			continue
		}
		for h := range grad {
			grad[h] += kernel.Sum(dd[h*k.p : (h+1)*k.p])
		}
	}
}

// addRateGrads adds the gradient of A, multiplied by a factor for each head, or none.
func (k *ssdBack) addRateGrads(grad []float32, factors []float64) {
	if grad == nil {
		return
	}
	for h := range grad {
		var sum float64
		for i := range k.sequences {
			sum += k.da[i*k.heads+h]
		}
		if factors != nil {
			sum *= factors[h]
		}
		grad[h] += float32(sum)
	}
}
