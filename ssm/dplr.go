package ssm

import (
	"math"
	"math/cmplx"

	"gonum.org/v1/gonum/mat"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// A dplrSystem is one channel of an S4: a state matrix that is diagonal plus low rank,
// A = diag(Λ, Λ*) - [P; P*]·[P; P*]ᴴ, discretised by the bilinear rule. With
// f = 1/(2/Δ-Λ) the discretised matrix is diagonal plus low rank itself, and a step
// for the kept half of the states is
//
//	σ[j] = Re(Σ_n w[j][n]·h[n])
//	h[n] = h[n] + (g[n]·h[n] + b[n]·u - Σ_j p[j][n]·σ[j])
//	y    = 2·Re(Σ_n c[n]·h[n])
//
// where g = 2·Λ·f, p[j] = f·P[j] and, with R = I + 2·Re(Pᴴ·diag(f)·P) of rank×rank,
// w = R⁻¹·(8/Δ)·conj(P)·f and b = 2·f·B - Σ_j p[j]·(R⁻¹·4·Re(Pᴴ·(f·B)))[j].
type dplrSystem struct {
	g, b, c []complex128
	p, w    [][]complex128 // (rank, n)
}

// newDPLR discretises a system.
func newDPLR(a, b, c []complex128, p [][]complex128, dt float64) *dplrSystem {
	n, rank := len(a), len(p)
	s := &dplrSystem{g: make([]complex128, n), b: make([]complex128, n), c: c}
	f := make([]complex128, n)
	for i := range a {
		f[i] = 1 / (complex(2/dt, 0) - a[i])
		s.g[i] = 2 * a[i] * f[i]
		s.b[i] = 2 * f[i] * b[i]
	}
	inverse, input := lowRank(p, b, f)
	for j := range rank {
		s.p = append(s.p, make([]complex128, n))
		s.w = append(s.w, make([]complex128, n))
		for i := range n {
			s.p[j][i] = f[i] * p[j][i]
			for k := range rank {
				s.w[j][i] += complex(8/dt*inverse.At(j, k), 0) * cmplx.Conj(p[k][i]) * f[i]
			}
		}
	}
	for j := range rank {
		v := 0.0
		for k := range rank {
			v += inverse.At(j, k) * input[k]
		}
		for i := range n {
			s.b[i] -= s.p[j][i] * complex(v, 0)
		}
	}
	return s
}

// overlap returns Re(Σ conj(p)·f·q).
func overlap(p, q, f []complex128) float64 {
	sum := 0.0
	for i := range p {
		sum += real(cmplx.Conj(p[i]) * f[i] * q[i])
	}
	return sum
}

// step takes the state h through a position with the input u.
func (s *dplrSystem) step(h []complex128, u float64) {
	sigma := make([]complex128, len(s.p))
	for j, w := range s.w {
		sum := 0.0
		for i, v := range h {
			sum += real(w[i])*real(v) - imag(w[i])*imag(v)
		}
		sigma[j] = complex(sum, 0)
	}
	for i := range h {
		d := s.g[i]*h[i] + s.b[i]*complex(u, 0)
		for j := range sigma {
			d -= s.p[j][i] * sigma[j]
		}
		h[i] += d
	}
}

// response returns the first n values of the impulse response.
func (s *dplrSystem) response(n int) []float64 {
	k, h, u := make([]float64, n), make([]complex128, len(s.g)), 1.0
	for t := range k {
		s.step(h, u)
		u = 0
		for i, c := range s.c {
			k[t] += 2 * (real(c)*real(h[i]) - imag(c)*imag(h[i]))
		}
	}
	return k
}

// dense returns the step as a real matrix: on the real parts of the kept states and
// then their imaginary parts.
func (s *dplrSystem) dense() *mat.Dense {
	n := len(s.g)
	m, h := mat.NewDense(2*n, 2*n, nil), make([]complex128, n)
	for col := range 2 * n {
		clear(h)
		h[col%n] = 1
		if col >= n {
			h[col%n] = 1i
		}
		s.step(h, 0)
		for i, v := range h {
			m.Set(i, col, real(v))
			m.Set(n+i, col, imag(v))
		}
	}
	return m
}

// realVector returns z as real parts and then imaginary parts.
func realVector(z []complex128) *mat.VecDense {
	v := mat.NewVecDense(2*len(z), nil)
	for i, x := range z {
		v.SetVec(i, real(x))
		v.SetVec(len(z)+i, imag(x))
	}
	return v
}

// complexVector is the inverse of realVector.
func complexVector(v mat.Vector) []complex128 {
	z := make([]complex128, v.Len()/2)
	for i := range z {
		z[i] = complex(v.AtVec(i), v.AtVec(len(z)+i))
	}
	return z
}

// retune returns C for another length: with Ā for the discretised matrix, what is
// stored for the length L is C·(I - Ā^L), and for the length 0 C itself.
func (s *dplrSystem) retune(c []complex128, from, to int) ([]complex128, error) {
	conj := make([]complex128, len(c)) // as a row: y = Σ Re(c)·Re(h) - Im(c)·Im(h)
	for i := range c {
		conj[i] = cmplx.Conj(c[i])
	}
	v, m := realVector(conj), s.dense()
	if from > 0 {
		var x mat.VecDense
		if err := x.SolveVec(without(m, from).T(), v); err != nil {
			if _, poor := err.(mat.Condition); !poor || math.IsInf(float64(err.(mat.Condition)), 1) {
				return nil, err
			}
		}
		v = &x
	}
	if to > 0 {
		var x mat.VecDense
		x.MulVec(without(m, to).T(), v)
		v = &x
	}
	z := complexVector(v)
	for i := range z {
		z[i] = cmplx.Conj(z[i])
	}
	return z, nil
}

// without returns I - m^n.
func without(m *mat.Dense, n int) *mat.Dense {
	var p mat.Dense
	p.Pow(m, n)
	p.Scale(-1, &p)
	for i := range p.RawMatrix().Rows {
		p.Set(i, i, 1+p.At(i, i))
	}
	return &p
}

// A dplr is the recurrence of dplrSystems in float32.
type dplr struct {
	*kernel.DPLRFilter
	dim, n, rank int
}

func newDPLRRecurrence(systems []*dplrSystem, d []float32) *dplr {
	r := &dplr{dim: len(systems), n: len(systems[0].g), rank: len(systems[0].p)}
	r.DPLRFilter = kernel.NewDPLRFilter(r.dim, r.n, r.rank)
	for ch, s := range systems {
		for k := range s.g {
			r.SetState(ch, k, s.g[k], s.b[k], 2*s.c[k])
			for j := range s.p {
				r.SetRank(ch, j, k, s.w[j][k], s.p[j][k])
			}
		}
		if d != nil {
			r.SetSkip(ch, d[ch])
		}
	}
	return r
}

func (r *dplr) channels() int { return r.dim }

func (r *dplr) stateLen() int { return r.StateLen() }

func (r *dplr) run(dst, src tensor.Mat, h []float32, lo, hi int) {
	r.Filter(dst.Data, dst.Stride, src.Data, src.Stride, src.Rows, h, lo, hi)
}

func (r *dplr) cost() float64 { return 0.25 + float64(r.n)*(0.2+0.15*float64(r.rank)) }

func (r *dplr) exportState(dst, h []float32) {
	for i := range r.dim * r.n {
		re, im := r.StateAt(i/r.n, i%r.n)
		dst[2*i], dst[2*i+1] = h[re], h[im]
	}
}

func (r *dplr) importState(h, src []float32) {
	for i := range r.dim * r.n {
		re, im := r.StateAt(i/r.n, i%r.n)
		h[re], h[im] = src[2*i], src[2*i+1]
	}
}
