package ssm

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// A responder adds the gradients of the parameters, given those of the impulse responses,
// D among them at lag 0: a row for each lag and a column for each channel. future is that
// of the responses from the future, of which the first row is not used.
type responder func(past, future tensor.Mat, grads seqmix.Grads)

// record is mix that keeps what the way back needs.
func (l *lti) record(dst, src tensor.Seq, respond responder) (seqmix.Tape, error) {
	t := &ltiTape{lti: l, src: keep(dst, src), respond: respond}
	l.mix(dst, src)
	return t, nil
}

// ltiTape is the memory of a record: the input.
type ltiTape struct {
	*lti
	src     tensor.Seq
	respond responder
}

// Backward computes the gradients. That of the input is the convolution with the
// impulse responses turned around, those of the responses are correlations with the
// input; the parameters get theirs from these, once for all sequences.
func (t *ltiTape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	tensor.CheckSeq(t.names.mix, ddst, t.src.Batch, t.src.Len, t.dim)
	tensor.CheckMix(t.names.mix, dsrc, ddst, t.dim)
	if ddst.Len == 0 || ddst.Batch == 0 {
		return
	}
	var past, future tensor.Mat
	if len(grads) > 0 {
		past = tensor.MatOf(make([]float32, ddst.Len*t.dim), ddst.Len, t.dim)
		if t.bidirectional {
			future = tensor.MatOf(make([]float32, ddst.Len*t.dim), ddst.Len, t.dim)
		}
	}
	t.tables().convolution(ddst.Len).Backward(dsrc, ddst, t.src, past, future)
	if past.Rows > 0 {
		t.respond(past, future, grads)
	}
}

// addRow adds a row to the gradient of a parameter, unless it is frozen.
func addRow(grads seqmix.Grads, p *tensor.Tensor, row []float32) {
	if g := gradOf(grads, p); g != nil {
		for i, v := range row {
			g[i] += v
		}
	}
}

// column returns column i of m from row first on.
func column(m tensor.Mat, i, first int) []float64 {
	v := make([]float64, max(m.Rows-first, 0))
	for t := range v {
		v[t] = float64(m.Row(first + t)[i])
	}
	return v
}

// powerGrads returns Σ_t dk[t]·z^t and the derivative of it.
func powerGrads(dk []float64, z complex128) (sum, slope complex128) {
	for t := len(dk) - 1; t >= 0; t-- {
		slope = slope*z + sum
		sum = sum*z + complex(dk[t], 0)
	}
	return sum, slope
}

// A channelGrad is the gradient of a [diagonalSystem]. That of a complex number is that
// of its real part plus i times that of its imaginary part: through a function f that
// is holomorphic, it goes back by a product with the conjugate of f'.
type channelGrad struct {
	a, b, c []complex128
	dt      []float64
}

func newChannelGrad(n int) channelGrad {
	return channelGrad{a: make([]complex128, n), b: make([]complex128, n), c: make([]complex128, n), dt: make([]float64, n)}
}

// eachChannel calls f for all channels, on all cores.
func eachChannel(n int, f func(channel int)) {
	par.Do(n, 1, par.Func(func(lo, hi int) {
		for ch := lo; ch < hi; ch++ {
			f(ch)
		}
	}))
}

// addGrads adds the gradients of the systems of all channels to those of the
// parameters. Copies of a system are added one after the other.
func (p diagonalParams) addGrads(c S4DConfig, direction int, channels []channelGrad, grads seqmix.Grads) {
	n := c.modes()
	for ch, g := range channels {
		copyOf := ch % c.NSSM
		addNumbers(gradOf(grads, p.b), copyOf*n, g.b, !c.Real)
		addNumbers(gradOf(grads, p.c), (direction*c.DModel+ch)*n, g.c, !c.Real)
		p.addRateGrads(c, copyOf*n, g, grads)
		steps := gradOf(grads, p.dt)
		if steps == nil {
			continue
		}
		for k, d := range g.dt {
			at := ch
			if c.DTUntied {
				at = ch*n + k
			}
			steps[at] += float32(d * c.Rate * c.DTTransform.slope(float64(p.dt.Data()[at])))
		}
	}
}

// addRateGrads adds the gradients of A of a channel, whose parameters begin at first.
func (p diagonalParams) addRateGrads(c S4DConfig, first int, g channelGrad, grads seqmix.Grads) {
	sign := 1.0
	if c.Layout == StateSpacesS4 {
		sign = -1
	}
	re, im := gradOf(grads, p.re), gradOf(grads, p.im)
	for k, d := range g.a {
		at := first + k
		if re != nil {
			re[at] -= float32(real(d) * c.RealTransform.slope(float64(p.re.Data()[at])))
		}
		if im != nil {
			im[at] += float32(sign * imag(d) * c.ImagTransform.slope(float64(p.im.Data()[at])))
		}
	}
}

// addNumbers adds complex numbers to elements of a gradient from the i-th on: to pairs
// if pairs is set, else their real parts.
func addNumbers(grad []float32, i int, z []complex128, pairs bool) {
	if grad == nil {
		return
	}
	for k, v := range z {
		if pairs {
			grad[2*(i+k)] += float32(real(v))
			grad[2*(i+k)+1] += float32(imag(v))
		} else {
			grad[i+k] += float32(real(v))
		}
	}
}
