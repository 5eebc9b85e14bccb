package monarch

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"sync"

	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A CausalConfig describes a [CausalMixer].
type CausalConfig struct {
	Dim   int `json:"d_model"`
	LMax  int `json:"l_max"` // positions of the longest sequence
	Block int `json:"block"` // positions of a chunk; 0 stands for ⌈√LMax⌉
}

func (c CausalConfig) withDefaults() (CausalConfig, error) {
	if c.Block == 0 {
		c.Block = int(math.Ceil(math.Sqrt(float64(max(c.LMax, 0)))))
	}
	if c.Dim < 1 || c.Dim > maxSize || c.LMax < 1 || c.LMax > maxSize || c.Block < 1 || c.Block > c.LMax {
		return c, fmt.Errorf("monarch: a causal mixer of width %d for sequences of %d positions in chunks of %d", c.Dim, c.LMax, c.Block)
	}
	if n := c.chunks(); n > 1<<30/c.Block/max(c.Block, n) {
		return c, fmt.Errorf("monarch: a causal mixer for sequences of %d positions in chunks of %d has too many parameters", c.LMax, c.Block)
	}
	return c, nil
}

// chunks returns the number of chunks that the longest sequence is divided into.
func (c *CausalConfig) chunks() int { return (c.LMax + c.Block - 1) / c.Block }

// A CausalMixer mixes the positions of every channel by the same matrix, a Monarch matrix
// that is made lower triangular, so that it streams. Positions are divided into C chunks of
// b. Position c·b+o gets
//
//	dst[c·b+o] = Σ_{i≤o} A[c][o][i]·src[c·b+i] + Σ_{k<c} W2[o][c][k]·z[k][o]
//	z[k][o]    = Σ_i W1[k][o][i]·src[k·b+i]
//
// A Monarch matrix has no block of W1 that is triangular for its own chunk and dense for
// later ones, which is why its own chunk has the factor A. Every element of the triangle can
// be other than zero. The time is that of one and a half Monarch matrices: O(√n) for each
// position and channel.
//
// Its parameters are A (C, b, b), W1 (C, b, b) and W2 (b, C, C). What is above the diagonals of
// A, and on or above those of W2, is not used, nor what belongs to positions from LMax on. This
// mixer is this library's own and in no public checkpoint.
//
// A stream remembers the chunk that it is in, and z for each chunk that is done: LMax numbers
// for each channel. A position takes O(√n), one at the end of a chunk b times as long.
type CausalMixer struct {
	cfg       CausalConfig
	a, w1, w2 *tensor.Tensor
}

// NewCausalMixer returns a mixer of zeros.
func NewCausalMixer(cfg CausalConfig) (*CausalMixer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	b, n := cfg.Block, cfg.chunks()
	return &CausalMixer{cfg, tensor.New(n, b, b), tensor.New(n, b, b), tensor.New(b, n, n)}, nil
}

// Config returns the configuration with all fields filled in.
func (m *CausalMixer) Config() CausalConfig { return m.cfg }

// Dim returns the width of the vectors.
func (m *CausalMixer) Dim() int { return m.cfg.Dim }

// Init draws each parameter evenly from ±1/√(its last dimension).
func (m *CausalMixer) Init(r *rand.Rand) {
	for _, w := range []*tensor.Tensor{m.a, m.w1, m.w2} {
		nn.Uniform(w, r, 1/math.Sqrt(float64(w.Dim(2))))
	}
}

// Params yields A, W1 and W2.
func (m *CausalMixer) Params() iter.Seq2[string, *tensor.Tensor] {
	return paramlist.Yield(paramlist.Of("A", m.a), paramlist.Of("W1", m.w1), paramlist.Of("W2", m.w2))
}

// Dense returns the matrix that mixes the positions, of shape (LMax, LMax).
func (m *CausalMixer) Dense() *tensor.Tensor {
	n := m.cfg.LMax
	unit, dense := tensor.NewSeq(1, n, n), tensor.New(n, n)
	for i := range n {
		unit.At(0, i)[i] = 1
	}
	wide := *m
	wide.cfg.Dim = n
	wide.Mix(tensor.SeqOf(dense.Data(), 1, n, n), unit)
	return dense
}

// Mix computes whole sequences. It panics with a *tensor.ShapeError if they have more than
// LMax positions.
func (m *CausalMixer) Mix(dst, src tensor.Seq) {
	const op = "monarch.CausalMixer.Mix"
	tensor.CheckMix(op, dst, src, m.Dim())
	checkLen(op, src, m.cfg.LMax)
	s := causalStreams.Get().(*CausalStream)
	s.begin(m, src.Batch)
	s.run(dst, src)
	s.mixer = nil
	causalStreams.Put(s)
}

// causalStreams holds the streams that whole sequences are computed with.
var causalStreams = sync.Pool{New: func() any { return new(CausalStream) }}
