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

// An MLPConfig describes an [MLP]. Its JSON keys are those of Hugging Face
// configurations.
type MLPConfig struct {
	Dim        int        `json:"hidden_size"`
	Hidden     int        `json:"intermediate_size"` // 0 stands for 4·Dim
	Activation Activation `json:"hidden_act"`
	Bias       bool       `json:"mlp_bias"`
}

// An MLP is the feed-forward network of GPT-2, Hyena and others at every position:
//
//	y = Down(act(Up(x)))
//
// The parameters are called "fc1." (Up) and "fc2." (Down) and the names that
// [Linear] gives them.
type MLP struct {
	Up, Down   *Linear
	Activation Activation
}

// NewMLP returns an MLP of zeros.
func NewMLP(cfg MLPConfig) (*MLP, error) {
	if cfg.Hidden == 0 {
		cfg.Hidden = 4 * cfg.Dim
	}
	if err := checkWidths("MLP", cfg.Dim, cfg.Hidden, cfg.Activation); err != nil {
		return nil, err
	}
	return &MLP{
		Up:         NewLinear(cfg.Dim, cfg.Hidden, cfg.Bias),
		Down:       NewLinear(cfg.Hidden, cfg.Dim, cfg.Bias),
		Activation: cfg.Activation,
	}, nil
}

func checkWidths(kind string, dim, hidden int, act Activation) error {
	if dim < 1 || hidden < 1 {
		return fmt.Errorf("nn: %s with hidden_size %d and intermediate_size %d; both must be positive", kind, dim, hidden)
	}
	if act >= activations {
		return fmt.Errorf("nn: %s with %v", kind, act)
	}
	return nil
}

// Init draws the parameters of both layers, see [Linear.Init].
func (m *MLP) Init(r *rand.Rand) {
	m.Up.Init(r)
	m.Down.Init(r)
}

// Dim returns the width of the input and output.
func (m *MLP) Dim() int { return m.Up.In() }

// Mix computes the network at every position.
func (m *MLP) Mix(dst, src tensor.Seq) { mix(m, dst, src) }

func (m *MLP) mix(dst, src tensor.Seq, s *tensor.Scratch) {
	tensor.CheckMix("nn.MLP.Mix", dst, src, m.Dim())
	width := m.Up.Out()
	rows := blockRows(src, width)
	buffer := s.Take(rows * width)
	eachBlock(dst, src, rows, func(dst, src tensor.Mat) {
		h := tensor.MatOf(buffer[:src.Rows*width], src.Rows, width)
		m.Up.ApplyMat(h, src)
		activate(m.Activation, h)
		m.Down.ApplyMat(dst, h)
	})
}

// hiddenElements bounds the memory for what is between the layers of a feed-forward
// network, if that leaves enough rows for the matrix products to be fast.
const (
	hiddenElements = 1 << 19
	minBlockRows   = 96
)

// blockRows returns how many positions of src are computed at a time in a network
// with so many hidden elements at each.
func blockRows(src tensor.Seq, hidden int) int {
	return min(src.Batch*src.Len, max(hiddenElements/hidden/minBlockRows, 1)*minBlockRows)
}

// eachBlock calls f for blocks of at most rows positions.
func eachBlock(dst, src tensor.Seq, rows int, f func(dst, src tensor.Mat)) {
	if dst.Contiguous() && src.Contiguous() {
		dst, src = oneSequence(dst), oneSequence(src)
	}
	for b := range src.Batch {
		for i := 0; i < src.Len; i += rows {
			n := min(rows, src.Len-i)
			f(positions(dst, b, i, n), positions(src, b, i, n))
		}
	}
}

// Params yields the parameters of Up and Down.
func (m *MLP) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(slices.Concat(m.Up.weightAndBias("fc1"), m.Down.weightAndBias("fc2"))...)
}

// NewStream returns a stream, which carries no state.
func (m *MLP) NewStream(batch int) (seqmix.Stream, error) { return newStream(m, batch, "nn.MLP"), nil }

// Record is Mix that keeps what Backward needs: the input and the hidden elements
// before the activation.
func (m *MLP) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("nn.MLP.Record", dst, src, m.Dim())
	t := &mlpTape{mlp: m, src: keep(dst, src), hidden: tensor.GetSeq(src.Batch, src.Len, m.Up.Out())}
	m.Up.Apply(t.hidden, src)
	s := tensor.GetScratch()
	h := t.activated(s)
	m.Down.Apply(dst, h)
	tensor.PutScratch(s)
	return t, nil
}

type mlpTape struct {
	mlp    *MLP
	src    tensor.Seq
	hidden tensor.Seq // before the activation
}

// Release gives back what the tape keeps.
func (t *mlpTape) Release() {
	tensor.PutSeq(t.hidden)
	*t = mlpTape{}
}

func (t *mlpTape) activated(s *tensor.Scratch) tensor.Seq {
	h := s.TakeSeq(t.hidden.Batch, t.hidden.Len, t.hidden.Dim)
	overRows(t.mlp.Activation, h, t.hidden)
	return h
}

func (t *mlpTape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	checkBackward("nn.MLP.Backward", dsrc, ddst, t.src, t.mlp.Dim())
	s := tensor.GetScratch()
	h := t.activated(s)
	dh := s.TakeSeq(h.Batch, h.Len, h.Dim)
	t.mlp.Down.Backward(dh, ddst, h, grads)
	tensor.Copy(h, t.hidden)
	activationGrad(t.mlp.Activation, h, dh)
	t.mlp.Up.Backward(dsrc, h, t.src, grads)
	tensor.PutScratch(s)
}
