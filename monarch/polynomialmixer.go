package monarch

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/memo"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A PolynomialConfig describes a [PolynomialMixer].
type PolynomialConfig struct {
	Dim  int `json:"d_model"`
	LMax int `json:"l_max"` // positions of the longest sequence
}

// A PolynomialMixer is a learnable causal Monarch convolution of every channel, see
// [NewPolynomialConvolution]: with a filter k of its own for each channel and three bases for
// all of them,
//
//	dst = M0⁻¹ (M1·k ⊙ M2·src)
//
// Unlike that of a filter alone, the matrix that maps src to dst is not one of Toeplitz. It
// costs O(√n) for each position and channel, n being LMax rounded up to b²/2 for an even b.
// No sequence can be longer than LMax: Mix panics with a *tensor.ShapeError. There is no
// stream: a position takes as long as all of them. For a mixer of Monarch matrices that
// streams see [CausalMixer].
//
// Its parameters are kernel (LMax, Dim) and the [Basis] of M0, M1 and M2: output.lambda (b, b),
// output.rho (b, b, b), kernel.lambda, kernel.rho, input.lambda and input.rho. This mixer is
// this library's own and in no public checkpoint.
type PolynomialMixer struct {
	cfg    PolynomialConfig
	b      int
	kernel *tensor.Tensor
	bases  [3]Basis // of the output, the kernel and the input
	tables memo.Memo[*polynomialTables]
}

// NewPolynomialMixer returns a mixer with the bases of powers and a kernel of zeros, which is
// ready to be loaded; see [PolynomialMixer.Init].
func NewPolynomialMixer(cfg PolynomialConfig) (*PolynomialMixer, error) {
	if cfg.Dim < 1 || cfg.Dim > maxSize || cfg.LMax < 1 || cfg.LMax > 1<<19 {
		return nil, fmt.Errorf("monarch: a mixer of width %d for sequences of %d positions", cfg.Dim, cfg.LMax)
	}
	b := 2
	for b*b/2 < cfg.LMax {
		b += 2
	}
	m := &PolynomialMixer{cfg: cfg, b: b, kernel: tensor.New(cfg.LMax, cfg.Dim)}
	for i := range m.bases {
		m.bases[i] = NewBasis(b)
	}
	return m, nil
}

// Config returns the configuration.
func (m *PolynomialMixer) Config() PolynomialConfig { return m.cfg }

// Dim returns the width of the vectors.
func (m *PolynomialMixer) Dim() int { return m.cfg.Dim }

// Init draws the kernel from a normal distribution of deviation 1/√LMax, and moves the
// bases a little away from the powers, so that their values remain about one: what is used
// of them beside the ones is drawn evenly from ±1/(4b).
func (m *PolynomialMixer) Init(r *rand.Rand) {
	nn.Normal(m.kernel, r, 1/math.Sqrt(float64(m.cfg.LMax)))
	for _, p := range m.bases {
		for _, w := range []*tensor.Tensor{p.Lambda, p.Rho} {
			nn.Uniform(w, r, 1/float64(4*m.b))
			for i := range w.Len() {
				if row, col := i/m.b%m.b, i%m.b; row == col {
					w.Data()[i] = 1
				}
			}
		}
	}
}

// Params yields the kernel and the bases.
func (m *PolynomialMixer) Params() iter.Seq2[string, *tensor.Tensor] {
	list := []paramlist.Named{paramlist.Of("kernel", m.kernel)}
	for i, name := range []string{"output", "kernel", "input"} {
		list = append(list, paramlist.Of(name+".lambda", m.bases[i].Lambda), paramlist.Of(name+".rho", m.bases[i].Rho))
	}
	return paramlist.Yield(list...)
}

// polynomialTables is what Mix reads instead of parameters. A mixer whose basis has no
// inverse has an error instead.
type polynomialTables struct {
	conv   *Convolution
	values tensor.Mat // M1·k
	err    error
}

func (m *PolynomialMixer) derive() *polynomialTables {
	t := new(polynomialTables)
	if t.conv, t.err = NewPolynomialConvolution(m.bases[0], m.bases[1], m.bases[2]); t.err != nil {
		return t
	}
	n, d := t.conv.Len(), m.cfg.Dim
	k := tensor.MatOf(make([]float32, n*d), n, d)
	copy(k.Data, m.kernel.Data())
	rows := t.conv.kernel.out
	t.values = tensor.MatOf(make([]float32, rows*d), rows, d)
	t.conv.kernel.ApplyColumns(t.values, k)
	return t
}

// Convolution returns the convolution with the present bases, without the kernel. It is an
// error if that of the output has no inverse.
func (m *PolynomialMixer) Convolution() (*Convolution, error) {
	t := m.current()
	return t.conv, t.err
}

func (m *PolynomialMixer) current() *polynomialTables {
	params := []*tensor.Tensor{m.kernel}
	for _, p := range m.bases {
		params = append(params, p.Lambda, p.Rho)
	}
	return m.tables.Get(m.derive, params...)
}

// Mix computes whole sequences. It panics with a *tensor.ShapeError if they have more than
// LMax positions, and if the basis of the output has no inverse.
func (m *PolynomialMixer) Mix(dst, src tensor.Seq) {
	const op = "monarch.PolynomialMixer.Mix"
	tensor.CheckMix(op, dst, src, m.Dim())
	checkLen(op, src, m.cfg.LMax)
	if src.Len == 0 || src.Batch == 0 {
		return
	}
	t := m.current()
	if t.err != nil {
		panic(t.err)
	}
	p := polynomialLoops.Get().(*polynomialLoop)
	*p = polynomialLoop{t, dst, src}
	par.Do(src.Batch*p.strips(), 1, p)
	*p = polynomialLoop{}
	polynomialLoops.Put(p)
}

// A polynomialLoop is one call of Mix, which goes through strips of channels.
type polynomialLoop struct {
	tables   *polynomialTables
	dst, src tensor.Seq
}

var polynomialLoops = sync.Pool{New: func() any { return new(polynomialLoop) }}

func (p *polynomialLoop) strips() int { return (p.src.Dim + lanes - 1) / lanes }

// Run computes strips lo to hi-1, those of sequence 0 first.
func (p *polynomialLoop) Run(lo, hi int) {
	s := tensor.GetScratch()
	for i := lo; i < hi; i++ {
		first := i % p.strips() * lanes
		p.strip(i/p.strips(), first, min(first+lanes, p.src.Dim), s)
	}
	tensor.PutScratch(s)
}

// strip computes channels from to to-1 of sequence b.
func (p *polynomialLoop) strip(b, from, to int, s *tensor.Scratch) {
	c := p.tables.conv
	n, width := c.Len(), to-from
	s.Reset()
	x := tensor.MatOf(s.Take(n*width), n, width)
	for t := range p.src.Len {
		copy(x.Row(t), p.src.At(b, t)[from:to])
	}
	clear(x.Data[p.src.Len*width:])
	c.apply("monarch.PolynomialMixer.Mix", x, x, p.tables.values.Slice(from, to), s)
	for t := range p.src.Len {
		copy(p.dst.At(b, t)[from:to], x.Row(t))
	}
}

// NewStream returns an error that wraps errors.ErrUnsupported.
func (m *PolynomialMixer) NewStream(int) (seqmix.Stream, error) {
	return nil, fmt.Errorf("monarch: a stream of a convolution in a basis of polynomials: %w", errors.ErrUnsupported)
}
