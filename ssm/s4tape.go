package ssm

import (
	"math/cmplx"

	"gonum.org/v1/gonum/mat"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps the input for Backward. The gradient of kernel.l_kernel, a
// length, is zero.
func (m *S4) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	return m.lti.record(dst, src, m.respond)
}

func (m *S4) respond(past, future tensor.Mat, grads seqmix.Grads) {
	addRow(grads, m.d, past.Row(0))
	m.addKernelGrads(0, past, 0, grads)
	if future.Rows > 0 {
		m.addKernelGrads(1, future, 1, grads)
	}
}

// addKernelGrads adds what the gradients of the impulse responses of a direction, from
// row first on, give for the parameters.
func (m *S4) addKernelGrads(direction int, dk tensor.Mat, first int, grads seqmix.Grads) {
	c := m.cfg.diagonal()
	n := m.cfg.DState / 2
	channels := make([]channelGrad, m.cfg.DModel)
	ranks := make([][][]complex128, m.cfg.DModel)
	eachChannel(len(channels), func(ch int) {
		s := m.params.system(c, direction, ch)
		var p [][]complex128
		for j := range m.cfg.Rank {
			p = append(p, numbers(m.p, (j*m.cfg.NSSM+ch%m.cfg.NSSM)*n, n, true))
		}
		k := column(dk, ch, first)
		channels[ch], ranks[ch] = systemBack(s, p, m.kernelLength(), func(g *dplrGrad) { g.response(k) })
	})
	m.params.addGrads(c, direction, channels, grads)
	m.addRankGrads(ranks, grads)
}

// addRankGrads adds the gradients of P of all channels.
func (m *S4) addRankGrads(ranks [][][]complex128, grads seqmix.Grads) {
	g := grads.Of(m.p)
	if g == nil {
		return
	}
	for ch, dp := range ranks {
		for j := range dp {
			addNumbers(g, (j*m.cfg.NSSM+ch%m.cfg.NSSM)*m.cfg.DState/2, dp[j], true)
		}
	}
}

// systemBack takes the gradient of a discretised system, which back computes, back to the
// system and its low rank. length is that which C is stored for.
func systemBack(s diagonalSystem, p [][]complex128, length int, back func(*dplrGrad)) (channelGrad, [][]complex128) {
	d := newDPLR(s.a, s.b, s.c, p, s.dt[0])
	if length > 0 {
		c, err := d.retune(s.c, length, 0)
		if err != nil {
			c = make([]complex128, len(s.c))
			for i := range c {
				c[i] = cmplx.NaN()
			}
		}
		d.c = c
	}
	g := newDPLRGrad(d)
	back(g)
	if length > 0 {
		g.retuned(length)
	}
	out := newChannelGrad(len(s.a))
	copy(out.c, g.c)
	return out, g.discretized(s, p, &out)
}

// A dplrGrad is the gradient of a dplrSystem.
type dplrGrad struct {
	*dplrSystem
	dg, db, c []complex128
	dp, dw    [][]complex128
}

func newDPLRGrad(s *dplrSystem) *dplrGrad {
	n := len(s.g)
	g := &dplrGrad{dplrSystem: s, dg: make([]complex128, n), db: make([]complex128, n), c: make([]complex128, n)}
	for range s.p {
		g.dp, g.dw = append(g.dp, make([]complex128, n)), append(g.dw, make([]complex128, n))
	}
	return g
}

// response takes the gradient of the impulse response back, with the states of the way
// forth.
func (g *dplrGrad) response(dk []float64) {
	n := len(g.g)
	states := make([]complex128, (len(dk)+1)*n)
	for t := range dk {
		h := states[(t+1)*n : (t+2)*n]
		copy(h, states[t*n:])
		g.step(h, impulse(t))
	}
	grad := make([]complex128, n)
	for t := len(dk) - 1; t >= 0; t-- {
		for i, h := range states[(t+1)*n : (t+2)*n] {
			g.c[i] += complex(2*dk[t], 0) * cmplx.Conj(h)
			grad[i] += complex(2*dk[t], 0) * cmplx.Conj(g.dplrSystem.c[i])
		}
		g.stepBack(grad, states[t*n:(t+1)*n], impulse(t))
	}
}

func impulse(t int) float64 {
	if t == 0 {
		return 1
	}
	return 0
}

// stepBack takes grad from behind a step with the input u to in front of it, where the
// state was h.
func (g *dplrGrad) stepBack(grad, h []complex128, u float64) {
	dsigma := make([]float64, len(g.p))
	for j, w := range g.w {
		var sigma float64
		for i, v := range h {
			sigma += real(w[i])*real(v) - imag(w[i])*imag(v)
		}
		for i, d := range grad {
			dsigma[j] -= real(cmplx.Conj(g.p[j][i]) * d)
			g.dp[j][i] -= complex(sigma, 0) * d
		}
		for i, v := range h {
			g.dw[j][i] += complex(dsigma[j], 0) * cmplx.Conj(v)
		}
	}
	for i, d := range grad {
		g.dg[i] += cmplx.Conj(h[i]) * d
		g.db[i] += complex(u, 0) * d
		d += cmplx.Conj(g.g[i]) * d
		for j := range dsigma {
			d += complex(dsigma[j], 0) * cmplx.Conj(g.w[j][i])
		}
		grad[i] = d
	}
}

// retuned takes the gradient of C back to what is stored for a length: with Ā for the
// discretised matrix, C = C'·(I-Ā^L)⁻¹. For the gradient x of C and y = (I-Ā^L)⁻¹·x that of
// C' is y, and that of Ā what C·Ā^L·y, the output after L steps from the state y, gives.
func (g *dplrGrad) retuned(length int) {
	n := len(g.g)
	x := make([]complex128, n)
	for i, v := range g.c {
		x[i] = cmplx.Conj(v) // what C is multiplied by: Re(C·h) has the gradient conj(h)
	}
	var y mat.VecDense
	_ = y.SolveVec(without(g.dense(), length), realVector(x)) // singular ones give no numbers, as on the way forth
	states := make([]complex128, (length+1)*n)
	copy(states, complexVector(&y))
	for t := range length {
		h := states[(t+1)*n : (t+2)*n]
		copy(h, states[t*n:])
		g.step(h, 0)
	}
	grad := make([]complex128, n)
	for i := range grad {
		grad[i] = cmplx.Conj(g.dplrSystem.c[i])
		g.c[i] = cmplx.Conj(states[i])
	}
	for t := length - 1; t >= 0; t-- {
		g.stepBack(grad, states[t*n:(t+1)*n], 0)
	}
}

// discretized takes the gradients back through newDPLR: to the system, in out, and to
// the low rank, which it returns.
func (g *dplrGrad) discretized(s diagonalSystem, p [][]complex128, out *channelGrad) [][]complex128 {
	n, rank, dt := len(s.a), len(p), s.dt[0]
	f, df := make([]complex128, n), make([]complex128, n)
	for i, a := range s.a {
		f[i] = 1 / (complex(2/dt, 0) - a)
	}
	inverse, input := lowRank(p, s.b, f)
	v, dv := make([]float64, rank), make([]float64, rank)
	dinverse, dp := mat.NewDense(rank, rank, nil), make([][]complex128, rank)
	var dscale float64
	scale := 8 / dt
	for j := range rank {
		dp[j] = make([]complex128, n)
		for k := range rank {
			v[j] += inverse.At(j, k) * input[k]
		}
	}
	// b = 2·f·B - Σ_j p[j]·v[j]
	for i, d := range g.db {
		df[i] += cmplx.Conj(2*s.b[i]) * d
		out.b[i] += cmplx.Conj(2*f[i]) * d
		for j := range rank {
			g.dp[j][i] -= complex(v[j], 0) * d
			dv[j] -= real(cmplx.Conj(g.p[j][i]) * d)
		}
	}
	// w[j] = Σ_k scale·R⁻¹[j][k]·conj(P[k])·f
	for j := range rank {
		for k := range rank {
			weight := inverse.At(j, k)
			var through float64
			for i, d := range g.dw[j] {
				through += real(p[k][i] * cmplx.Conj(f[i]) * d)
				df[i] += complex(scale*weight, 0) * p[k][i] * d
				dp[k][i] += complex(scale*weight, 0) * f[i] * cmplx.Conj(d)
			}
			dinverse.Set(j, k, dinverse.At(j, k)+scale*through+dv[j]*input[k])
			dscale += weight * through
		}
	}
	// input[j] = 4·Re(conj(P[j])·f·B)
	for j := range rank {
		var dinput float64
		for k := range rank {
			dinput += inverse.At(k, j) * dv[k]
		}
		addOverlapGrads(complex(4*dinput, 0), p[j], s.b, f, dp[j], out.b, df)
	}
	// R = I + 2·Re(Pᴴ·diag(f)·P)
	var dr mat.Dense
	dr.Product(inverse.T(), dinverse, inverse.T())
	for j := range rank {
		for k := range rank {
			addOverlapGrads(complex(-2*dr.At(j, k), 0), p[j], p[k], f, dp[j], dp[k], df)
		}
	}
	for i, a := range s.a {
		for j := range rank { // p[j] = f·P[j]
			df[i] += cmplx.Conj(p[j][i]) * g.dp[j][i]
			dp[j][i] += cmplx.Conj(f[i]) * g.dp[j][i]
		}
		df[i] += cmplx.Conj(2*a) * g.dg[i] // g = 2·Λ·f
		out.a[i] += cmplx.Conj(2*f[i])*g.dg[i] + cmplx.Conj(f[i]*f[i])*df[i]
		out.dt[0] += real(cmplx.Conj(f[i]*f[i]*complex(2/(dt*dt), 0)) * df[i])
	}
	out.dt[0] -= dscale * 8 / (dt * dt)
	return dp
}

// addOverlapGrads adds the gradients of Re(Σ conj(p)·f·q), times d.
func addOverlapGrads(d complex128, p, q, f, dp, dq, df []complex128) {
	for i := range p {
		dp[i] += d * f[i] * q[i]
		dq[i] += d * p[i] * cmplx.Conj(f[i])
		df[i] += d * p[i] * cmplx.Conj(q[i])
	}
}

// lowRank returns the inverse of R and what B comes to in it, see dplrSystem.
func lowRank(p [][]complex128, b, f []complex128) (inverse *mat.Dense, input []float64) {
	rank := len(p)
	r := mat.NewDense(rank, rank, nil)
	input = make([]float64, rank)
	for j := range rank {
		for k := range rank {
			r.Set(j, k, 2*overlap(p[j], p[k], f))
		}
		r.Set(j, j, 1+r.At(j, j))
		input[j] = 4 * overlap(p[j], b, f)
	}
	inverse = new(mat.Dense)
	// A matrix that is singular gives infinities, which the result then shows.
	_ = inverse.Inverse(r)
	return inverse, input
}
