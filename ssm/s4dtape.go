package ssm

import (
	"math"
	"math/cmplx"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// Record is Mix that keeps the input for Backward.
func (m *S4D) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	return m.lti.record(dst, src, m.respond)
}

func (m *S4D) respond(past, future tensor.Mat, grads seqmix.Grads) {
	addRow(grads, m.d, past.Row(0))
	m.addKernelGrads(0, past, 0, grads)
	if future.Rows > 0 {
		m.addKernelGrads(1, future, 1, grads)
	}
}

// addKernelGrads adds what the gradients of the impulse responses of a direction, from
// row first on, give for the parameters: with K[t] = 2·Re(Σ r·λ^t) and r = C·b,
//
//	dr = 2·Σ_t dK[t]·conj(λ)^t    dλ = 2·conj(r)·Σ_t dK[t]·t·conj(λ)^(t-1)
func (m *S4D) addKernelGrads(direction int, dk tensor.Mat, first int, grads seqmix.Grads) {
	channels := make([]channelGrad, m.cfg.DModel)
	eachChannel(len(channels), func(ch int) {
		g, k := newChannelGrad(m.cfg.modes()), column(dk, ch, first)
		s := m.params.system(m.cfg, direction, ch)
		for n, a := range s.a {
			if m.limited(direction, ch, n) {
				continue
			}
			distance, input := m.cfg.Disc.step(a, s.dt[n], m.cfg.LMax)
			b, c := s.b[n], s.c[n]
			sum, slope := powerGrads(k, cmplx.Conj(1+distance))
			dr, dlambda := 2*sum, 2*cmplx.Conj(c*b*input)*slope
			g.c[n], g.b[n] = cmplx.Conj(b*input)*dr, cmplx.Conj(c*input)*dr
			g.a[n], g.dt[n] = m.cfg.Disc.back(a, s.dt[n], m.cfg.LMax, dlambda, cmplx.Conj(c*b)*dr)
		}
		channels[ch] = g
	})
	m.params.addGrads(m.cfg, direction, channels, grads)
}

// limited reports whether a state turns too fast to count, see S4DConfig.BandLimit.
func (m *S4D) limited(direction, ch, n int) bool {
	if m.cfg.BandLimit <= 0 || m.params.im == nil {
		return false
	}
	s := m.params.system(m.cfg, direction, ch)
	return s.dt[n]/m.cfg.Rate*math.Abs(imag(s.a[n]))/(2*math.Pi) >= m.cfg.BandLimit/2
}

// back takes the gradients of what step returns, of λ and of b/B, back to A and Δ.
func (d Discretization) back(a complex128, dt float64, length int, dlambda, dinput complex128) (da complex128, ddt float64) {
	z, step := complex(dt, 0)*a, complex(dt, 0)
	chain := func(toA, toStep, grad complex128) {
		da += cmplx.Conj(toA) * grad
		ddt += real(cmplx.Conj(toStep) * grad)
	}
	if d == Bilinear {
		f := 1 / (1 - z/2)
		chain(step*f*f, a*f*f, dlambda)
		chain(step*step/2*f*f, f*f, dinput)
		return da, ddt
	}
	e := expm1(z)
	if d == ZOH {
		chain(step*(e+1), a*(e+1), dlambda)
		chain(step*step*growthSlope(z, e), e+1, dinput)
		return da, ddt
	}
	// The input of dss is e·u with u = conj(x)/(x·conj(x)+1e-7), which is not
	// holomorphic.
	l := complex(float64(length), 0)
	power := expm1(z * l)
	x := a * power
	size := real(x)*real(x) + imag(x)*imag(x) + 1e-7
	u := cmplx.Conj(x) / complex(size, 0)
	de := dlambda + cmplx.Conj(u)*dinput
	chain(step*(e+1), a*(e+1), de)
	du := cmplx.Conj(e) * dinput
	dx := cmplx.Conj(-u*u)*du + complex(1e-7/(size*size), 0)*cmplx.Conj(du)
	chain(power+a*step*l*(power+1), a*a*l*(power+1), dx)
	return da, ddt
}

// growthSlope returns the derivative of (exp(z)-1)/z, e being exp(z)-1.
func growthSlope(z, e complex128) complex128 {
	if cmplx.Abs(z) < 1e-2 {
		return 0.5 + z*(1./3+z*(1./8+z*(1./30+z*(1./144+z/840))))
	}
	return (z*(e+1) - e) / (z * z)
}

// slope returns the derivative.
func (t Transform) slope(x float64) float64 {
	switch t {
	case TransformExp:
		return math.Exp(x)
	case TransformReLU:
		if x > 0 {
			return 1
		}
		return 0
	case TransformSigmoid:
		s := 1 / (1 + math.Exp(-x))
		return s * (1 - s)
	case TransformSoftplus:
		return 1 / (1 + math.Exp(-x))
	}
	return 1
}

// Record is Mix that keeps the input for Backward.
func (m *Modal) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	return m.lti.record(dst, src, m.respond)
}

func (m *Modal) respond(past, _ tensor.Mat, grads seqmix.Grads) {
	addRow(grads, m.d, past.Row(0))
	m.addKernelGrads(past, grads)
}

// addKernelGrads adds what the gradients of the impulse responses give for poles and
// residues.
func (m *Modal) addKernelGrads(dk tensor.Mat, grads seqmix.Grads) {
	eachChannel(m.cfg.DModel, func(ch int) {
		k := column(dk, ch, 0)
		for _, p := range m.parts() {
			ddecay, dresidue := make([]complex128, p.n), make([]complex128, p.n)
			residues := numbers(p.residue, ch*p.n, p.n, p.pairs)
			for i, d := range numbers(p.decay, ch*p.n, p.n, p.pairs) {
				sum, slope := powerGrads(k, cmplx.Conj(1-d))
				ddecay[i], dresidue[i] = -p.times*cmplx.Conj(residues[i])*slope, p.times*sum
			}
			addNumbers(gradOf(grads, p.decay), ch*p.n, ddecay, p.pairs)
			addNumbers(gradOf(grads, p.residue), ch*p.n, dresidue, p.pairs)
		}
	})
}
