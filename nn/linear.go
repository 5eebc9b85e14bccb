package nn

import (
	"fmt"
	"iter"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// A Linear maps every vector x to
//
//	y = W x + b
//
// with Weight W of shape (out, in), in any storage format and order, and Bias b of
// shape (out), nil if there is none. Its parameters are called "weight" and "bias".
//
// A Linear whose output is as wide as its input is a Mixer; others are used by
// [Linear.Apply].
type Linear struct {
	Weight *tensor.Tensor
	Bias   *tensor.Tensor
}

// NewLinear returns a Linear of zeros. It panics with a *tensor.ShapeError if in or
// out is negative.
func NewLinear(in, out int, bias bool) *Linear {
	l := &Linear{Weight: tensor.NewWeight(out, in)}
	if bias {
		l.Bias = tensor.New(out)
	}
	return l
}

// Init draws the weight and the bias evenly from ±1/√in, as PyTorch's Linear does.
func (l *Linear) Init(r *rand.Rand) { initFanIn(r, l.Weight, l.Bias, l.In()) }

// In returns the width of the input.
func (l *Linear) In() int { return l.Weight.Dim(-1) }

// Out returns the width of the output.
func (l *Linear) Out() int { return l.Weight.Dim(0) }

// Apply computes dst = W src + b at every position. src is In wide, dst Out. dst
// must not overlap src. It panics with a *tensor.ShapeError if they do not fit.
func (l *Linear) Apply(dst, src tensor.Seq) {
	tensor.Linear(dst, src, l.Weight, paramlist.Data(l.Bias))
}

// ApplyMat computes dst = W src + b for every row. src has In columns, dst Out. dst
// must not overlap src. It panics with a *tensor.ShapeError if they do not fit.
func (l *Linear) ApplyMat(dst, src tensor.Mat) {
	tensor.MatMulT(dst, src, l.Weight)
	l.addBias(dst, 0)
}

// ApplyPart computes the part of W src + b for the rows of p from the given one on and
// the outputs from first on that dst has room for. p is [tensor.PartsOf] src and the
// Weight; first is a multiple of [tensor.PartUnit].
func (l *Linear) ApplyPart(dst tensor.Mat, p *tensor.Parts, row, first int) {
	p.MatMulT(dst, row, first)
	l.addBias(dst, first)
}

// addBias adds the bias of output first and the ones after it to the columns of dst.
func (l *Linear) addBias(dst tensor.Mat, first int) {
	if l.Bias == nil {
		return
	}
	bias := l.Bias.Data()[first : first+dst.Cols]
	for i := range dst.Rows {
		row := dst.Row(i)
		kernel.Add(row, row, bias)
	}
}

// Backward computes, from the gradient ddst of a loss with respect to the result of
// Apply on src, the gradient dsrc with respect to src, and adds those with respect
// to the parameters to grads. dsrc must not overlap ddst, unless In is Out and dsrc
// is ddst. It panics with a *tensor.ShapeError if the shapes do not fit.
func (l *Linear) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	l.checkBackward("nn.Linear.Backward", dsrc, ddst, src)
	l.addGrads(ddst, src, grads)
	if !dsrc.SameMemory(ddst) {
		eachMat(dsrc, ddst, l.inputGrad)
		return
	}
	s := tensor.GetScratch()
	c := s.TakeSeq(ddst.Batch, ddst.Len, ddst.Dim)
	tensor.Copy(c, ddst)
	eachMat(dsrc, c, l.inputGrad)
	tensor.PutScratch(s)
}

func (l *Linear) checkBackward(op string, dsrc, ddst, src tensor.Seq) {
	tensor.CheckSeq(op, src, -1, -1, l.In())
	tensor.CheckSeq(op, ddst, src.Batch, src.Len, l.Out())
	tensor.CheckSeq(op, dsrc, src.Batch, src.Len, l.In())
}

// BackwardAdd is Backward that adds the gradient with respect to src to dsrc, which must
// not overlap ddst: for several layers with one input.
func (l *Linear) BackwardAdd(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	l.checkBackward("nn.Linear.BackwardAdd", dsrc, ddst, src)
	l.addGrads(ddst, src, grads)
	eachMat(dsrc, ddst, l.addInputGrad)
}

func (l *Linear) addInputGrad(dsrc, ddst tensor.Mat) { tensor.MatMulAdd(dsrc, ddst, l.Weight) }

func (l *Linear) inputGrad(dsrc, ddst tensor.Mat) { tensor.MatMul(dsrc, ddst, l.Weight) }

// addGrads adds the gradients of the parameters that are not frozen.
func (l *Linear) addGrads(ddst, src tensor.Seq, grads seqmix.Grads) {
	if g := grads.Of(l.Weight); g != nil {
		dw := tensor.MatOf(g, l.Out(), l.In())
		eachMat(ddst, src, func(dy, x tensor.Mat) { tensor.MatMulTN(dw, dy, x) })
	}
	if l.Bias == nil {
		return
	}
	if db := grads.Of(l.Bias); db != nil {
		for b := range ddst.Batch {
			kernel.ColumnSums(db, ddst.Sequence(b).Data, ddst.Dim, ddst.Len, ddst.Dim)
		}
	}
}

// eachMat calls f for all positions of a and b as the rows of matrices: once if
// both are contiguous, else once for each sequence.
func eachMat(a, b tensor.Seq, f func(a, b tensor.Mat)) {
	if a.Contiguous() && b.Contiguous() {
		f(a.Mat(), b.Mat())
		return
	}
	for i := range a.Batch {
		f(a.Sequence(i).Mat(), b.Sequence(i).Mat())
	}
}

// Dim returns the width of the input.
func (l *Linear) Dim() int { return l.In() }

// Mix computes dst = W src + b at every position. It panics with a
// *tensor.ShapeError unless In, Out and the width of src and dst are the same.
func (l *Linear) Mix(dst, src tensor.Seq) { mix(l, dst, src) }

func (l *Linear) mix(dst, src tensor.Seq, s *tensor.Scratch) {
	l.checkMixer("nn.Linear.Mix")
	tensor.CheckMix("nn.Linear.Mix", dst, src, l.In())
	if dst.SameMemory(src) {
		c := s.TakeSeq(src.Batch, src.Len, src.Dim)
		tensor.Copy(c, src)
		src = c
	}
	l.Apply(dst, src)
}

func (l *Linear) checkMixer(op string) {
	if l.In() != l.Out() {
		panic(&tensor.ShapeError{Op: op, Got: l.Weight.Shape(), Want: []int{l.In(), l.In()}})
	}
}

// Params yields the weight and the bias.
func (l *Linear) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(paramlist.Of("weight", l.Weight), paramlist.Of("bias", l.Bias))
}

// NewStream returns a stream, which carries no state. It is an error if the output
// is not as wide as the input.
func (l *Linear) NewStream(batch int) (seqmix.Stream, error) {
	if l.In() != l.Out() {
		return nil, fmt.Errorf("nn: a stream of a Linear from %d to %d channels", l.In(), l.Out())
	}
	return newStream(l, batch, "nn.Linear"), nil
}

// Record is Mix that keeps what Backward needs.
func (l *Linear) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	l.checkMixer("nn.Linear.Record")
	tensor.CheckMix("nn.Linear.Record", dst, src, l.In())
	return record(l, dst, src)
}
