package ssm

import (
	"math"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// scanComplex takes channels from to to-1 of sequence b through the block.
func (r *scanRun) scanComplex(b, from, to int) {
	size := 2 * r.n
	for e := from; e < to; e++ {
		at := (b*r.e + e) * size
		r.channel(b, e, r.A.Data()[e*size:(e+1)*size], r.tables.states[at:at+size])
	}
	if !r.hasGate() {
		return
	}
	for t := range r.delta.Len {
		y := r.dst.At(b, r.t+t)[from:to]
		kernel.SiLUMul(y, r.Z.At(b, r.t+t)[from:to], y)
	}
}

// channel takes channel e through the block, but for the gate.
func (r *scanRun) channel(b, e int, a, h []float32) {
	var d float32
	if r.D != nil {
		d = r.D.Data()[e]
	}
	for t := range r.delta.Len {
		u, delta := r.src.At(b, r.t+t)[e], r.delta.At(b, t)[e]
		in := r.complexRow(r.ConstB, r.b, r.bGroups, b, t, e)
		out := r.complexRow(r.ConstC, r.c, r.cGroups, b, t, e)
		sum := float32(0)
		for n := 0; n < 2*r.n; n += 2 {
			decay := math.Exp(float64(delta) * float64(a[n]))
			sin, cos := math.Sincos(float64(delta) * float64(a[n+1]))
			re, im := float32(decay*cos), float32(decay*sin)
			hr := re*h[n] - im*h[n+1] + delta*u*in[n]
			hi := re*h[n+1] + im*h[n] + delta*u*in[n+1]
			h[n], h[n+1] = hr, hi
			sum += out[n]*hr - out[n+1]*hi
		}
		r.dst.At(b, r.t+t)[e] = 2*sum + d*u
	}
}

// complexRow returns B or C of channel e at position t of the block.
func (r *scanRun) complexRow(constant *tensor.Tensor, s tensor.Seq, groups, b, t, e int) []float32 {
	if constant != nil {
		return constant.Data()[e*2*r.n : (e+1)*2*r.n]
	}
	g := e / (r.e / groups)
	return s.At(b, t)[g*2*r.n : (g+1)*2*r.n]
}
