package monarch

import (
	"fmt"
	"iter"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// Project returns the factors of the Monarch matrix of a shape that is nearest to a
// dense matrix of shape (L·S, K·P), and their distance: the Frobenius norm of the
// difference.
//
// A block k of W1 and a block l of W2 meet in the elements (s·L+l, k·P+p) of the product,
// and in no others. These make an S×P matrix of rank at most ρ, the number of a with
// a div Q = k and a mod L = l. Its best approximation is that of its ρ largest singular
// values (the truncated SVD), and all of them together are the best of all Monarch
// matrices, since the blocks do not overlap. Every singular value is divided evenly
// between the factors, whose products alone are determined.
//
// With this, and with [NewLinear] for the shape, a dense layer becomes a Monarch layer
// ("dense to sparse" in arXiv:2204.00595); HazyResearch/fly has the square case of rank
// one. The time is that of K·L decompositions of S×P matrices. It is an error if the
// shapes do not fit, or if a decomposition fails, as of NaNs.
func Project(dense *tensor.Tensor, s Shape) (w1, w2 *tensor.Tensor, distance float64, err error) {
	if err := s.validate(); err != nil {
		return nil, nil, 0, err
	}
	if d := dense.Shape(); len(d) != 2 || d[0] != s.Out() || d[1] != s.In() {
		return nil, nil, 0, fmt.Errorf("monarch: the projection of %v on a matrix of %d×%d", dense, s.Out(), s.In())
	}
	p := &projection{
		Shape: s, dense: dense.Float32s(),
		w1: tensor.New(s.K, s.Q, s.P), w2: tensor.New(s.L, s.S, s.R),
		lost: make([]float64, s.K*s.L),
	}
	par.Do(s.K*s.L, 1, p)
	if distance, err = p.lost.distance(); err != nil {
		return nil, nil, 0, err
	}
	return p.w1, p.w2, distance, nil
}

type projection struct {
	Shape
	dense  []float32
	w1, w2 *tensor.Tensor
	lost   losses
}

// losses are the squared distances of all blocks, NaN where a decomposition failed.
type losses []float64

func (l losses) distance() (float64, error) {
	sum := 0.0
	for _, v := range l {
		sum += v
	}
	if math.IsNaN(sum) {
		return 0, fmt.Errorf("monarch: a block has no singular value decomposition")
	}
	return math.Sqrt(sum), nil
}

// Run projects blocks lo to hi-1, the one of k and l being k·L+l.
func (p *projection) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		p.lost[i] = p.block(i/p.L, i%p.L)
	}
}

// block projects the elements that blocks k and l of the factors make, and returns the
// sum of the squares of the singular values that are left out.
func (p *projection) block(k, l int) (lost float64) {
	a := mat.NewDense(p.S, p.P, nil)
	for i := range p.S {
		for j := range p.P {
			a.Set(i, j, float64(p.dense[(i*p.L+l)*p.In()+k*p.P+j]))
		}
	}
	var svd mat.SVD
	if !finite(a) || !svd.Factorize(a, mat.SVDThin) {
		return math.NaN()
	}
	var u, v mat.Dense
	svd.UTo(&u)
	svd.VTo(&v)
	values := svd.Values(nil)
	rank := 0
	for at := range p.places(k, l) {
		if rank < len(values) {
			p.store(k, l, at, math.Sqrt(values[rank]), u.ColView(rank), v.ColView(rank))
		}
		rank++
	}
	for _, s := range values[min(rank, len(values)):] {
		lost += s * s
	}
	return lost
}

// store makes a pair of singular vectors, each times root, the column and the row of the
// factors that meet in element at.
func (p *projection) store(k, l, at int, root float64, u, v mat.Vector) {
	w1, w2 := p.w1.Data(), p.w2.Data()
	for j := range p.P {
		w1[at*p.P+j] = float32(root * v.AtVec(j))
	}
	for i := range p.S {
		w2[(l*p.S+i)*p.R+at/p.L] = float32(root * u.AtVec(i))
	}
}

func finite(a *mat.Dense) bool {
	for _, v := range a.RawMatrix().Data {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}

// places yields the elements between the factors in which blocks k and l meet: those with
// a div Q = k and a mod L = l.
func (s Shape) places(k, l int) iter.Seq[int] {
	return func(yield func(int) bool) {
		first := k*s.Q + ((l-k*s.Q)%s.L+s.L)%s.L
		for at := first; at < (k+1)*s.Q && yield(at); at += s.L {
		}
	}
}
