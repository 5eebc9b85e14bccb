package monarch

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A LinearConfig describes a [Linear] or a [BlockDiag]. Its JSON keys are the arguments
// of the classes in HazyResearch/fly.
type LinearConfig struct {
	In      int   `json:"in_features"`
	Out     int   `json:"out_features"`
	Blocks  int   `json:"nblocks,omitempty"` // 4 by default
	Bias    *bool `json:"bias,omitempty"`    // true by default
	Shuffle bool  `json:"shuffle,omitempty"` // of a BlockDiag: transpose the input first
}

// withDefaults also checks the configuration.
func (c LinearConfig) withDefaults() (LinearConfig, error) {
	if c.Blocks == 0 {
		c.Blocks = 4
	}
	if c.Bias == nil {
		c.Bias = new(true)
	}
	if c.In < 1 || c.Out < 1 || c.Blocks < 1 || max(c.In, c.Out, c.Blocks) > maxSize/2 {
		return c, fmt.Errorf("monarch: a linear layer from %d to %d elements in %d blocks", c.In, c.Out, c.Blocks)
	}
	return c, nil
}

// layer is what the linear layers have in common: a matrix and a bias.
type layer struct {
	cfg    LinearConfig
	matrix *Matrix
	bias   *tensor.Tensor
}

func newLayer(cfg LinearConfig, stages ...stage) layer {
	l := layer{cfg: cfg, matrix: newMatrix(cfg.In, cfg.Out, false, stages...)}
	if *cfg.Bias {
		l.bias = tensor.New(cfg.Out)
	}
	return l
}

// Config returns the configuration with all fields filled in.
func (l *layer) Config() LinearConfig { return l.cfg }

// In returns the width of the input.
func (l *layer) In() int { return l.cfg.In }

// Out returns the width of the output.
func (l *layer) Out() int { return l.cfg.Out }

// Dim returns the width of the input.
func (l *layer) Dim() int { return l.cfg.In }

// Matrix returns the matrix of the layer, without the bias. It shares the parameters.
func (l *layer) Matrix() *Matrix { return l.matrix }

// apply computes dst = M·src + bias for every row. dst may be src.
func (l *layer) apply(op string, dst, src tensor.Mat) {
	checkMat(op, src, src.Rows, l.cfg.In)
	checkMat(op, dst, src.Rows, l.cfg.Out)
	var bias []float32
	if l.bias != nil {
		bias = l.bias.Data()
	}
	l.matrix.multiply(operand{dst.Data, dst.Stride, 1}, operand{src.Data, src.Stride, 1}, src.Rows, bias)
}

// ApplyMat computes dst = M·src + b for every row. src has In columns, dst Out. dst may
// be src if these are the same, and must not overlap it otherwise. It panics with a
// *tensor.ShapeError if they do not fit.
func (l *layer) ApplyMat(dst, src tensor.Mat) { l.apply("monarch: ApplyMat", dst, src) }

// applySeq is apply for every position.
func (l *layer) applySeq(op string, dst, src tensor.Seq) {
	tensor.CheckSeq(op, src, -1, -1, l.cfg.In)
	tensor.CheckSeq(op, dst, src.Batch, src.Len, l.cfg.Out)
	if dst.Contiguous() && src.Contiguous() {
		l.apply(op, dst.Mat(), src.Mat())
		return
	}
	for b := range src.Batch {
		l.apply(op, dst.Sequence(b).Mat(), src.Sequence(b).Mat())
	}
}

// mix is applySeq for a layer that is a mixer.
func (l *layer) mix(op string, dst, src tensor.Seq) {
	if l.cfg.In != l.cfg.Out {
		panic(&tensor.ShapeError{Op: op, Got: []int{l.cfg.Out}, Want: []int{l.cfg.In}})
	}
	tensor.CheckMix(op, dst, src, l.cfg.In)
	l.applySeq(op, dst, src)
}

func (l *layer) newStream(m seqmix.Mixer, batch int, kind string) (seqmix.Stream, error) {
	if l.cfg.In != l.cfg.Out {
		return nil, fmt.Errorf("monarch: a stream of a layer from %d to %d elements", l.cfg.In, l.cfg.Out)
	}
	return seqmix.NewStatelessStream(m, batch, kind), nil
}

// initBias draws the bias as upstream does, from ±1/√Out.
func (l *layer) initBias(r *rand.Rand) {
	if l.bias != nil {
		nn.Uniform(l.bias, r, 1/math.Sqrt(float64(l.cfg.Out)))
	}
}

// A Linear is a linear layer with a Monarch matrix of order two and as many blocks in
// both factors (MonarchLinear of HazyResearch/fly): y = M·x + b, where x is padded with
// zeros to a multiple of the number of blocks and y is cut off.
//
// With i = ⌈In/Blocks⌉ and o = ⌈Out/Blocks⌉ its parameters are blkdiag1
// (Blocks, min(i, o), i), blkdiag2 (Blocks, o, min(i, o)) and, if there is one, bias (Out).
//
// A Linear whose output is as wide as its input is a seqmix.Mixer; others are used by
// Apply.
type Linear struct {
	layer
	w1, w2 *tensor.Tensor
}

// NewLinear returns a layer of zeros.
func NewLinear(cfg LinearConfig) (*Linear, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Shuffle {
		return nil, fmt.Errorf("monarch: a Monarch layer does not shuffle")
	}
	s := cfg.shape()
	w1, w2 := tensor.New(s.K, s.Q, s.P), tensor.New(s.L, s.S, s.R)
	return &Linear{newLayer(cfg, s.stages(w1, w2)...), w1, w2}, nil
}

// shape returns the shape of the Monarch matrix.
func (c LinearConfig) shape() Shape {
	n := c.Blocks
	in, out := (c.In+n-1)/n, (c.Out+n-1)/n
	return Shape{K: n, Q: min(in, out), P: in, L: n, S: out, R: min(in, out)}
}

// Init draws the parameters as upstream does: each factor evenly from ±1/√(its last
// dimension), the bias from ±1/√Out.
func (l *Linear) Init(r *rand.Rand) {
	for _, w := range []*tensor.Tensor{l.w1, l.w2} {
		nn.Uniform(w, r, 1/math.Sqrt(float64(w.Dim(2))))
	}
	l.initBias(r)
}

// Project sets the parameters to those of the layer that is nearest to a dense one, with
// a weight of shape (Out, In) and a bias that is nil if the layer has none, and returns
// the distance of the matrices: see [Project].
func (l *Linear) Project(weight, bias *tensor.Tensor) (distance float64, err error) {
	if d := weight.Shape(); len(d) != 2 || d[0] != l.cfg.Out || d[1] != l.cfg.In {
		return 0, fmt.Errorf("monarch: the projection of %v on a layer from %d to %d elements", weight, l.cfg.In, l.cfg.Out)
	}
	if (bias == nil) != (l.bias == nil) || bias != nil && bias.Len() != l.cfg.Out {
		return 0, fmt.Errorf("monarch: the projection on a layer with another bias")
	}
	s := l.cfg.shape()
	padded := tensor.New(s.Out(), s.In())
	for i, values := 0, weight.Float32s(); i < l.cfg.Out; i++ {
		copy(padded.Data()[i*s.In():], values[i*l.cfg.In:(i+1)*l.cfg.In])
	}
	w1, w2, distance, err := Project(padded, s)
	if err != nil {
		return 0, err
	}
	l.w1.SetFloat32s(w1.Data())
	l.w2.SetFloat32s(w2.Data())
	if bias != nil {
		l.bias.SetFloat32s(bias.Float32s())
	}
	return distance, nil
}

// Apply computes dst = M·src + b at every position. src is In wide, dst Out. dst may be
// src if these are the same, and must not overlap it otherwise. It panics with a
// *tensor.ShapeError if they do not fit.
func (l *Linear) Apply(dst, src tensor.Seq) { l.applySeq("monarch.Linear.Apply", dst, src) }

// Mix computes dst = M·src + b at every position. It panics with a *tensor.ShapeError
// unless In, Out and the width of src and dst are the same.
func (l *Linear) Mix(dst, src tensor.Seq) { l.mix("monarch.Linear.Mix", dst, src) }

// Params yields the factors and the bias.
func (l *Linear) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(paramlist.Of("blkdiag1", l.w1), paramlist.Of("blkdiag2", l.w2), paramlist.Of("bias", l.bias))
}

// NewStream returns a stream, which carries no state. It is an error if the output is
// not as wide as the input.
func (l *Linear) NewStream(batch int) (seqmix.Stream, error) {
	return l.newStream(l, batch, "monarch.Linear")
}
