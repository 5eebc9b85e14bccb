package attention

import (
	"fmt"
	"math"
	"slices"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// A RoPEConfig describes a [RoPE]. The zero value is that of Llama.
type RoPEConfig struct {
	// Base is the number whose powers are the wavelengths; 10000 by default.
	Base float64 `json:"rope_theta,omitempty"`

	// Dim is how many of the dimensions of a head are rotated, the first ones; the
	// others pass. The default is all of them. An odd number r is what flash-attention
	// makes of it: (r+1)/2 pairs, with r in the exponents of the frequencies.
	Dim int `json:"rotary_dim,omitempty"`

	// Interleaved pairs neighbouring dimensions, (2i, 2i+1), as GPT-J and the first
	// Llama did. The default pairs the halves, (i, i+r/2), as GPT-NeoX and the
	// checkpoints of Hugging Face do.
	Interleaved bool `json:"interleaved,omitempty"`

	// Scaling stretches the positions or frequencies for sequences longer than those
	// of training.
	Scaling *Scaling `json:"rope_scaling,omitempty"`

	// Frequencies are the angles per position, one for each pair, where a checkpoint
	// stores them ("inv_freq"). They replace Base and Scaling.
	Frequencies []float64 `json:"inv_freq,omitempty"`
}

// A RoPE is a rotary position embedding (arXiv:2104.09864). At position t it turns
// pair i of the first r dimensions of a head by an angle t·f[i],
//
//	(a, b) → (a·cos - b·sin, b·cos + a·sin),   f[i] = base^(-2i/r)
//
// so that the product of a query and a key depends on their distance. The angles are
// computed in float64, and remain exact far into a sequence.
type RoPE struct {
	frequencies []float64
	amplitude   float64
	interleaved bool
	headDim     int
}

// NewRoPE returns the embedding for heads of headDim dimensions.
func NewRoPE(cfg RoPEConfig, headDim int) (*RoPE, error) {
	r := &RoPE{amplitude: 1, interleaved: cfg.Interleaved, headDim: headDim}
	if headDim < 1 {
		return nil, fmt.Errorf("attention: rotary embedding of heads of %d dimensions", headDim)
	}
	if cfg.Dim < 0 || (cfg.Dim+1)/2*2 > headDim {
		return nil, fmt.Errorf("attention: rotary_dim %d of heads of %d dimensions", cfg.Dim, headDim)
	}
	dim := cfg.Dim
	if dim == 0 {
		dim = headDim / 2 * 2
	}
	if cfg.Frequencies != nil {
		if err := r.setFrequencies(cfg.Frequencies, cfg.Dim); err != nil {
			return nil, err
		}
		return r, nil
	}
	base := cfg.Base
	if base == 0 {
		base = 10000
	}
	if !(base > 1) || math.IsInf(base, 0) {
		return nil, fmt.Errorf("attention: rope_theta %v, want more than 1", base)
	}
	f, amplitude, err := cfg.Scaling.frequencies(base, dim)
	if err != nil {
		return nil, err
	}
	r.frequencies, r.amplitude = f, amplitude
	return r, nil
}

// setFrequencies takes stored frequencies. dim is what the configuration says of
// their number, or 0.
func (r *RoPE) setFrequencies(f []float64, dim int) error {
	if len(f) == 0 || 2*len(f) > r.headDim || dim != 0 && len(f) != (dim+1)/2 {
		return fmt.Errorf("attention: %d stored frequencies for rotary_dim %d of heads of %d dimensions", len(f), dim, r.headDim)
	}
	for i, v := range f {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("attention: stored frequency %d is %v", i, v)
		}
	}
	r.frequencies = slices.Clone(f)
	return nil
}

// powers returns base^(-2i/dim) for each pair.
func powers(base float64, dim int) []float64 {
	f := make([]float64, (dim+1)/2)
	for i := range f {
		f[i] = math.Pow(base, -float64(2*i)/float64(dim))
	}
	return f
}

// Pairs returns the number of pairs that are rotated.
func (r *RoPE) Pairs() int { return len(r.frequencies) }

// Table writes the cosine and the sine of the angle of each pair at position pos to
// cos and sin, which have [RoPE.Pairs] elements. Where the scaling changes the
// amplitude (YaRN), they are multiplied by it.
func (r *RoPE) Table(cos, sin []float32, pos int) {
	for i, f := range r.frequencies {
		s, c := math.Sincos(float64(pos) * f)
		cos[i], sin[i] = float32(c*r.amplitude), float32(s*r.amplitude)
	}
}

// Rotate rotates each of the heads of src, positions first, first+1, … of every
// sequence. dst may be src. It panics with a *tensor.ShapeError if src is not a whole
// number of heads wide or dst has another shape.
func (r *RoPE) Rotate(dst, src tensor.Seq, first int) {
	r.rotate("attention.RoPE.Rotate", dst, src, first, false)
}

// Backward computes, from the gradient ddst of a loss with respect to the result of
// Rotate, the gradient with respect to its input: it rotates back, with the same
// amplitude. dsrc may be ddst.
func (r *RoPE) Backward(dsrc, ddst tensor.Seq, first int) {
	r.rotate("attention.RoPE.Backward", dsrc, ddst, first, true)
}

func (r *RoPE) rotate(op string, dst, src tensor.Seq, first int, back bool) {
	if src.Dim%r.headDim != 0 {
		panic(&tensor.ShapeError{Op: op, Got: []int{src.Batch, src.Len, src.Dim}, Want: []int{src.Batch, src.Len, src.Dim / r.headDim * r.headDim}})
	}
	tensor.CheckMix(op, dst, src, src.Dim)
	if !dst.SameMemory(src) {
		tensor.Copy(dst, src)
	}
	r.rotateRows(rowsOf(dst), dst.Batch, dst.Len, dst.Dim/r.headDim, first, back)
}

// rotateRows rotates heads in place.
func (r *RoPE) rotateRows(x rows, batch, length, heads, first int, back bool) {
	s := tensor.GetScratch()
	n := length * r.tableLen()
	par.Do(length, rotateGrain(batch*heads*r.headDim), &rotation{
		rope: r, x: x, batch: batch, heads: heads, first: first, back: back,
		cos: s.Take(n), sin: s.Take(n),
	})
	tensor.PutScratch(s)
}

// rotateGrain is the number of positions of width elements that one core rotates
// at least.
func rotateGrain(width int) int { return 8192/max(width, 1) + 1 }

// rotation rotates heads in place. Its tables have a row for each position.
type rotation struct {
	rope     *RoPE
	x        rows
	batch    int
	heads    int
	first    int  // position of row 0
	back     bool // the other way round
	cos, sin []float32
}

// tableLen is the length of a row of the tables of a rotation: kernel.RotatePairs
// reads every number twice.
func (r *RoPE) tableLen() int {
	if r.interleaved {
		return 2 * r.Pairs()
	}
	return r.Pairs()
}

// Run rotates positions lo to hi-1 of all sequences.
func (t *rotation) Run(lo, hi int) {
	r, n := t.rope, t.rope.tableLen()
	for i := lo; i < hi; i++ {
		cos, sin := t.cos[i*n:(i+1)*n], t.sin[i*n:(i+1)*n]
		r.Table(cos, sin, t.first+i)
		if t.back {
			kernel.Scale(sin[:r.Pairs()], -1, sin[:r.Pairs()])
		}
		if r.interleaved {
			spread(cos, sin, r.Pairs())
		}
		for b := range t.batch {
			x := t.x.at(b, i, 0, t.heads*r.headDim)
			if r.interleaved {
				kernel.RotatePairs(x, r.headDim, cos, sin)
			} else {
				kernel.RotateHalves(x, r.headDim, cos, sin)
			}
		}
	}
}

// spread makes c, c of every cosine and -s, s of every sine, from the last to the
// first.
func spread(cos, sin []float32, pairs int) {
	for i := pairs - 1; i >= 0; i-- {
		c, s := cos[i], sin[i]
		cos[2*i], cos[2*i+1] = c, c
		sin[2*i], sin[2*i+1] = -s, s
	}
}
