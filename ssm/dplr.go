package ssm

import (
	"math"
	"math/cmplx"

	"gonum.org/v1/gonum/mat"

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
	r := mat.NewDense(rank, rank, nil)
	input := make([]float64, rank)
	for j := range rank {
		for k := range rank {
			r.Set(j, k, 2*overlap(p[j], p[k], f))
		}
		r.Set(j, j, 1+r.At(j, j))
		input[j] = 4 * overlap(p[j], b, f)
	}
	var inverse mat.Dense
	// A matrix that is singular gives infinities, which the result then shows.
	_ = inverse.Inverse(r)
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

// A dplr is the recurrence of dplrSystems in float32. The state of a channel is its
// kept states, in pairs of real and imaginary part.
type dplr struct {
	dim, n, rank int
	rows         []float32 // for each channel g, b, c and the p and w of each rank, n pairs each
	d            []float32
}

func newDPLRRecurrence(systems []*dplrSystem, d []float32) *dplr {
	r := &dplr{dim: len(systems), n: len(systems[0].g), rank: len(systems[0].p), d: d}
	for _, s := range systems {
		rows := append([][]complex128{s.g, s.b, s.c}, s.p...)
		for _, z := range append(rows, s.w...) {
			r.rows = append(r.rows, make([]float32, 2*r.n)...)
			setComplexes(r.rows[len(r.rows)-2*r.n:], z)
		}
	}
	return r
}

func (r *dplr) channels() int { return r.dim }

func (r *dplr) stateLen() int { return r.dim * 2 * r.n }

func (r *dplr) cost() float64 { return float64(r.n) * (4 + 4*float64(r.rank)) }

func (r *dplr) exportState(dst, h []float32) { copy(dst, h) }

func (r *dplr) importState(h, src []float32) { copy(h, src) }

func (r *dplr) run(dst, src tensor.Mat, h []float32, lo, hi int) {
	for c := lo * ltiBlock; c < min(hi*ltiBlock, r.dim); c++ {
		r.channel(c, dst, src, h[c*2*r.n:(c+1)*2*r.n])
	}
}

func (r *dplr) channel(c int, dst, src tensor.Mat, h []float32) {
	size := 2 * r.n
	rows := r.rows[c*(3+2*r.rank)*size : (c+1)*(3+2*r.rank)*size]
	g, b, out := rows[:size], rows[size:2*size], rows[2*size:3*size]
	p, w := rows[3*size:(3+r.rank)*size], rows[(3+r.rank)*size:]
	var d float32
	if r.d != nil {
		d = r.d[c]
	}
	for t := range src.Rows {
		u := src.Data[t*src.Stride+c]
		y := float32(0)
		if r.rank == 1 {
			y = dplrStep(h, g, b, out, p, w, u)
		} else {
			y = dplrStepOfRank(r.rank, h, g, b, out, p, w, u)
		}
		dst.Data[t*dst.Stride+c] = y + d*u
	}
	flush(h)
}

// dplrStep takes the state h of a system of rank 1 through a position.
func dplrStep(h, g, b, out, p, w []float32, u float32) float32 {
	n := len(h) / 2 * 2
	h, g, b, out, p, w = h[:n], g[:n], b[:n], out[:n], p[:n], w[:n]
	sigma := dplrSigma(h, w)
	var y0, y1 float32
	for i := 0; i < n-1; i += 2 {
		re, im := h[i], h[i+1]
		r := re + (g[i]*re - g[i+1]*im + b[i]*u - p[i]*sigma)
		m := im + (g[i]*im + g[i+1]*re + b[i+1]*u - p[i+1]*sigma)
		h[i], h[i+1] = r, m
		y0 += out[i] * r
		y1 += out[i+1] * m
	}
	return 2 * (y0 - y1)
}

// dplrSigma returns Re(Σ w·h), added up in four parts that do not wait for each other.
func dplrSigma(h, w []float32) float32 {
	var s [4]float32
	i := 0
	for ; i+4 <= len(h); i += 4 {
		s[0] += w[i] * h[i]
		s[1] += w[i+1] * h[i+1]
		s[2] += w[i+2] * h[i+2]
		s[3] += w[i+3] * h[i+3]
	}
	for ; i < len(h); i += 2 {
		s[0] += w[i] * h[i]
		s[1] += w[i+1] * h[i+1]
	}
	return s[0] + s[2] - (s[1] + s[3])
}

// maxRank bounds the rank of an S4.
const maxRank = 16

// dplrStepOfRank is dplrStep for any rank.
func dplrStepOfRank(rank int, h, g, b, out, p, w []float32, u float32) float32 {
	var sigma [maxRank]float32
	n := len(h)
	for j := range rank {
		sigma[j] = dplrSigma(h, w[j*n:(j+1)*n])
	}
	var y float32
	for i := 0; i < n; i += 2 {
		re, im := h[i], h[i+1]
		r := g[i]*re - g[i+1]*im + b[i]*u
		m := g[i]*im + g[i+1]*re + b[i+1]*u
		for j := range rank {
			r -= p[j*n+i] * sigma[j]
			m -= p[j*n+i+1] * sigma[j]
		}
		h[i], h[i+1] = re+r, im+m
		y += out[i]*h[i] - out[i+1]*h[i+1]
	}
	return 2 * y
}

// flush makes zero what has decayed to almost nothing: arithmetic with the denormal
// numbers that it would become is far slower.
func flush(h []float32) {
	const least = 0x1p-126
	for i, v := range h {
		if v < least && v > -least {
			h[i] = 0
		}
	}
}
