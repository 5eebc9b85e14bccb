package main

import (
	"math"

	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/tensor"
	"gonum.org/v1/gonum/mat"
)

// A profile is what can be taken over from a layer of attention by mixers that have no
// softmax and no rotations: with inputs u, its heads see
//
//	score of position j for position i ≈ a(i-j) + (u_i - ū)ᵀ·M·(u_j - ū) + what depends on u_i only
//
// where a is about the distance and M about the contents. The softmax does not see what
// depends on u_i only.
type profile struct {
	value, out *mat.Dense    // W_v and W_o, (d, d)
	mean       []float64     // ū
	covariance *mat.TriDense // its Cholesky factor: of the inputs around ū
	moment     *mat.TriDense // that of the inputs around 0
	heads      []headProfile
}

// A headProfile is that of one head.
type headProfile struct {
	// weights are how much of the attention goes to each distance, in the mean. They add
	// up to 1.
	weights []float64

	// form is M: what W_qᵀ·R(j-i)·W_k/√D, with the rotations R, is in the mean over the
	// distances that the head looks at.
	form *mat.Dense
}

// newProfile looks at a layer and its inputs.
func newProfile(m *attention.MultiHead, in tensor.Seq) (*profile, error) {
	w := map[string]*mat.Dense{}
	for name, p := range m.Params() {
		w[name] = dense(p)
	}
	c := m.Config()
	// Heads that share keys and values have copies of their own.
	shared := func(name string, h int) mat.Matrix {
		h = h * c.KVHeads / c.Heads
		return w[name].Slice(h*c.HeadDim, (h+1)*c.HeadDim, 0, c.Dim)
	}
	p := &profile{value: mat.NewDense(c.Heads*c.HeadDim, c.Dim, nil), out: w["o_proj.weight"]}
	p.mean = mean(in)
	p.covariance = spread(in, p.mean)
	p.moment = spread(in, make([]float64, in.Dim))
	turns, err := newTurns(c, in.Len)
	if err != nil {
		return nil, err
	}
	for h := range c.Heads {
		rows := func(a *mat.Dense) *mat.Dense {
			return a.Slice(h*c.HeadDim, (h+1)*c.HeadDim, 0, c.Dim).(*mat.Dense)
		}
		rows(p.value).Copy(shared("v_proj.weight", h))
		q, k := rows(w["q_proj.weight"]), shared("k_proj.weight", h)
		weights := turns.weights(q, k, in, float64(c.Scale))
		var form mat.Dense
		form.Product(q.T(), turns.mean(weights), k)
		form.Scale(float64(c.Scale), &form)
		p.heads = append(p.heads, headProfile{weights: weights, form: &form})
	}
	return p, nil
}

// reach returns the mean distance that the head looks back.
func (h *headProfile) reach() float64 {
	sum := 0.0
	for d, w := range h.weights {
		sum += float64(d) * w
	}
	return sum
}

// mean returns the mean of the inputs.
func mean(in tensor.Seq) []float64 {
	m := make([]float64, in.Dim)
	for b := range in.Batch {
		for i := range in.Len {
			for c, v := range in.At(b, i) {
				m[c] += float64(v) / float64(in.Batch*in.Len)
			}
		}
	}
	return m
}

// spread returns the Cholesky factor L of the mean of (u-around)·(u-around)ᵀ = L·Lᵀ, which
// is made a little larger in all directions so that there is one.
func spread(in tensor.Seq, around []float64) *mat.TriDense {
	d := in.Dim
	s, x := mat.NewSymDense(d, nil), mat.NewVecDense(d, nil)
	for b := range in.Batch {
		for i := range in.Len {
			for c, v := range in.At(b, i) {
				x.SetVec(c, float64(v)-around[c])
			}
			s.SymRankOne(s, 1/float64(in.Batch*in.Len), x)
		}
	}
	ridge := 1e-3*mat.Trace(s)/float64(d) + 1e-12
	for c := range d {
		s.SetSym(c, c, s.At(c, c)+ridge)
	}
	var chol mat.Cholesky
	chol.Factorize(s)
	root := new(mat.TriDense)
	chol.LTo(root)
	return root
}

// turns are the cosines and sines by which rotary embeddings turn pairs of elements, for
// each distance. Without rotations there are no pairs.
type turns struct {
	width       int // of a head
	interleaved bool
	cos, sin    [][]float32
}

// pair returns the elements that are turned together.
func (t *turns) pair(p int) (i, j int) {
	if t.interleaved {
		return 2 * p, 2*p + 1
	}
	return p, p + len(t.cos[0]) // halves are paired
}

func newTurns(c attention.MultiHeadConfig, length int) (*turns, error) {
	t := &turns{width: c.HeadDim, cos: make([][]float32, length), sin: make([][]float32, length)}
	if c.RoPE == nil {
		return t, nil
	}
	rope, err := attention.NewRoPE(*c.RoPE, c.HeadDim)
	if err != nil {
		return nil, err
	}
	t.interleaved = c.RoPE.Interleaved
	for d := range length {
		t.cos[d], t.sin[d] = make([]float32, rope.Pairs()), make([]float32, rope.Pairs())
		rope.Table(t.cos[d], t.sin[d], d)
	}
	return t, nil
}

// mean returns the matrix R̄ for which qᵀ·R̄·k is the product of a query with a key that is
// turned back by the distance, in the weighted mean over distances.
func (t *turns) mean(weights []float64) *mat.Dense {
	r := mat.NewDense(t.width, t.width, nil)
	for i := range t.width {
		r.Set(i, i, 1)
	}
	for p := range t.cos[0] {
		c, s := 0.0, 0.0
		amplitude := float64(t.cos[0][p]) // of queries and of keys
		for d, w := range weights {
			c += w * amplitude * float64(t.cos[d][p])
			s += w * amplitude * float64(t.sin[d][p])
		}
		i, j := t.pair(p)
		r.Set(i, i, c)
		r.Set(j, j, c)
		r.Set(i, j, s)
		r.Set(j, i, -s)
	}
	return r
}

// weights returns how much of the attention of a head goes to each distance, in the mean
// over the second halves of the sequences.
func (t *turns) weights(q, k mat.Matrix, in tensor.Seq, scale float64) []float64 {
	sum, count := make([]float64, in.Len), 0
	scores := make([]float64, in.Len)
	for b := range in.Batch {
		x := mat.NewDense(in.Len, in.Dim, nil)
		for i := range in.Len {
			for c, v := range in.At(b, i) {
				x.Set(i, c, float64(v))
			}
		}
		var queries, keys mat.Dense
		queries.Mul(x, q.T())
		keys.Mul(x, k.T())
		t.turn(&queries)
		t.turn(&keys)
		for i := in.Len / 2; i < in.Len; i++ {
			softmaxScores(scores[:i+1], queries.RawRowView(i), &keys, scale)
			for j, w := range scores[:i+1] {
				sum[i-j] += w
			}
			count++
		}
	}
	for d := range sum {
		sum[d] /= float64(count)
	}
	return sum
}

// turn rotates row i by i positions.
func (t *turns) turn(x *mat.Dense) {
	n, _ := x.Dims()
	for i := range n {
		row := x.RawRowView(i)
		for p, c := range t.cos[i] {
			cos, sin := float64(c), float64(t.sin[i][p])
			k, l := t.pair(p)
			a, b := row[k], row[l]
			row[k], row[l] = a*cos-b*sin, b*cos+a*sin
		}
	}
}

// softmaxScores computes the weights of the first keys for a query.
func softmaxScores(dst, q []float64, keys *mat.Dense, scale float64) {
	most := math.Inf(-1)
	for j := range dst {
		s := 0.0
		for c, v := range keys.RawRowView(j) {
			s += q[c] * v
		}
		dst[j] = s * scale
		most = max(most, dst[j])
	}
	sum := 0.0
	for j, s := range dst {
		dst[j] = math.Exp(s - most)
		sum += dst[j]
	}
	for j := range dst {
		dst[j] /= sum
	}
}

// dense returns a matrix in float64.
func dense(p *tensor.Tensor) *mat.Dense {
	x := make([]float64, p.Len())
	for i, v := range p.Float32s() {
		x[i] = float64(v)
	}
	return mat.NewDense(p.Dim(0), p.Len()/p.Dim(0), x)
}
