package nn

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// A GLULayout says how checkpoints name the matrices of a [GLU], and whether those
// of the gate and of the value are one.
type GLULayout uint8

// The layouts.
const (
	GateUpDown GLULayout = iota // gate_proj, up_proj, down_proj: Llama, Mistral
	W1W2W3                      // w1 is Gate, w2 is Down, w3 is Up: Llama as first published
	L1L2L3                      // l1 is Gate, l2 is Up, l3 is Down: StripedHyena, Evo
	FC1FC2                      // fc1 is Up above Gate, fc2 is Down: Mamba, Based
	GateUp                      // gate_up_proj is Gate above Up, down_proj is Down: Phi-3
	gluLayouts
)

// gluNames are the names of the matrices, in the order of Params. A fused layout
// has no up.
var gluNames = [gluLayouts]struct{ gate, up, down string }{
	GateUpDown: {"gate_proj", "up_proj", "down_proj"},
	W1W2W3:     {"w1", "w3", "w2"},
	L1L2L3:     {"l1", "l2", "l3"},
	FC1FC2:     {"fc1", "", "fc2"},
	GateUp:     {"gate_up_proj", "", "down_proj"},
}

// Fused reports whether the matrices of the gate and of the value are one.
func (l GLULayout) Fused() bool { return gluNames[l].up == "" }

// A GLUConfig describes a [GLU]. Its JSON keys are those of Hugging Face
// configurations.
type GLUConfig struct {
	Dim        int        `json:"hidden_size"`
	Hidden     int        `json:"intermediate_size"`
	Activation Activation `json:"hidden_act"`
	Bias       bool       `json:"mlp_bias"`
	Layout     GLULayout  `json:"-"`
}

// A GLU is a feed-forward network with a gate at every position (arXiv:2002.05202):
//
//	y = Down(act(Gate(x)) · Up(x))
//
// With SiLU it is called SwiGLU, with GELU GeGLU, with ReLU ReGLU, with Sigmoid GLU,
// and with Identity it is bilinear.
//
// In a fused layout, Gate is one matrix that holds those of the gate and of the
// value, one above the other, and Up is nil. The parameters are called as
// [GLULayout] says, with the names that [Linear] gives them.
type GLU struct {
	Gate, Up, Down *Linear
	Activation     Activation
	Layout         GLULayout
}

// NewGLU returns a GLU of zeros.
func NewGLU(cfg GLUConfig) (*GLU, error) {
	if err := checkWidths("GLU", cfg.Dim, cfg.Hidden, cfg.Activation); err != nil {
		return nil, err
	}
	if cfg.Layout >= gluLayouts {
		return nil, fmt.Errorf("nn: GLU with unknown layout %d", cfg.Layout)
	}
	m := &GLU{Activation: cfg.Activation, Layout: cfg.Layout}
	if cfg.Layout.Fused() {
		m.Gate = NewLinear(cfg.Dim, 2*cfg.Hidden, cfg.Bias)
	} else {
		m.Gate = NewLinear(cfg.Dim, cfg.Hidden, cfg.Bias)
		m.Up = NewLinear(cfg.Dim, cfg.Hidden, cfg.Bias)
	}
	m.Down = NewLinear(cfg.Hidden, cfg.Dim, cfg.Bias)
	return m, nil
}

// Init draws the parameters of all layers, see [Linear.Init].
func (m *GLU) Init(r *rand.Rand) {
	m.Gate.Init(r)
	if m.Up != nil {
		m.Up.Init(r)
	}
	m.Down.Init(r)
}

// Dim returns the width of the input and output.
func (m *GLU) Dim() int { return m.Gate.In() }

// Mix computes the network at every position.
func (m *GLU) Mix(dst, src tensor.Seq) { mix(m, dst, src) }

func (m *GLU) mix(dst, src tensor.Seq, s *tensor.Scratch) {
	tensor.CheckMix("nn.GLU.Mix", dst, src, m.Dim())
	width := 2 * m.Down.In()
	rows := blockRows(src, width)
	buffer := s.Take(rows * width)
	eachBlock(dst, src, rows, func(dst, src tensor.Mat) {
		h := tensor.MatOf(buffer[:src.Rows*width], src.Rows, width)
		m.project(h, src)
		gate, up := m.halves(h)
		gateRows(m.Activation, gate, up, gate)
		m.Down.ApplyMat(dst, gate)
	})
}

// project computes the gate and the value side by side.
func (m *GLU) project(h, src tensor.Mat) {
	if m.Layout.Fused() {
		m.Gate.ApplyMat(h, src)
		return
	}
	gate, up := m.halves(h)
	m.Gate.ApplyMat(gate, src)
	m.Up.ApplyMat(up, src)
}

// halves returns the columns of the gate and of the value.
func (m *GLU) halves(h tensor.Mat) (gate, up tensor.Mat) {
	n := m.Down.In()
	first, second := h.Slice(0, n), h.Slice(n, 2*n)
	if m.Layout == FC1FC2 {
		return second, first
	}
	return first, second
}

// Params yields the parameters of the matrices, in the order of the layout's names.
func (m *GLU) Params() iter.Seq2[string, *tensor.Tensor] {
	names := gluNames[m.Layout]
	params := m.Gate.weightAndBias(names.gate)
	if m.Up != nil {
		params = append(params, m.Up.weightAndBias(names.up)...)
	}
	return paramlist.Yield(slices.Concat(params, m.Down.weightAndBias(names.down))...)
}

// NewStream returns a stream, which carries no state.
func (m *GLU) NewStream(batch int) (seqmix.Stream, error) { return newStream(m, batch, "nn.GLU"), nil }

// Record is Mix that keeps what Backward needs: the input, the gate before its
// activation and the value.
func (m *GLU) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("nn.GLU.Record", dst, src, m.Dim())
	t := &gluTape{glu: m, src: keep(dst, src), hidden: tensor.GetSeq(src.Batch, src.Len, 2*m.Down.In())}
	eachMat(t.hidden, src, m.project)
	s := tensor.GetScratch()
	m.Down.Apply(dst, t.gated(s))
	tensor.PutScratch(s)
	return t, nil
}

type gluTape struct {
	glu    *GLU
	src    tensor.Seq
	hidden tensor.Seq // gate and value
}

// Release gives back what the tape keeps.
func (t *gluTape) Release() {
	tensor.PutSeq(t.hidden)
	*t = gluTape{}
}

// gated computes the input of Down.
func (t *gluTape) gated(s *tensor.Scratch) tensor.Seq {
	h := s.TakeSeq(t.hidden.Batch, t.hidden.Len, t.glu.Down.In())
	gate, up := t.glu.halves(t.hidden.Mat())
	gateRows(t.glu.Activation, h.Mat(), up, gate)
	return h
}

func (t *gluTape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	m := t.glu
	checkBackward("nn.GLU.Backward", dsrc, ddst, t.src, m.Dim())
	s := tensor.GetScratch()
	h := t.gated(s)
	dh := s.TakeSeq(h.Batch, h.Len, h.Dim)
	m.Down.Backward(dh, ddst, h, grads)
	gate, up := m.halves(t.hidden.Mat())
	if m.Layout.Fused() {
		dhidden := s.TakeSeq(h.Batch, h.Len, t.hidden.Dim)
		dgate, dup := m.halves(dhidden.Mat())
		gateGrad(m.Activation, dgate, dup, dh.Mat(), gate, up)
		m.Gate.Backward(dsrc, dhidden, t.src, grads)
	} else {
		dgate, dup := s.TakeSeq(h.Batch, h.Len, h.Dim), h
		gateGrad(m.Activation, dgate.Mat(), dup.Mat(), dh.Mat(), gate, up)
		m.Gate.Backward(dsrc, dgate, t.src, grads)
		m.Up.BackwardAdd(dsrc, dup, t.src, grads)
	}
	tensor.PutScratch(s)
}
