package ssm

import (
	"math"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// Backward computes, from the gradient ddst of a loss with respect to the result of
// Apply on src and gate, the gradients dsrc and dgate with respect to these, and adds
// that with respect to the weight to grads. Without a gate, gate and dgate are the zero
// Seq. dsrc or dgate may be ddst. It panics with a *tensor.ShapeError if shapes do not
// fit.
//
// With u for the normalised vector, r for what it was multiplied by and σ' for the
// derivative of SiLU,
//
//	g = w·ddst          dx = r·(g - u·mean(g·u))        dw = Σ ddst·u
//	dsrc = dx·SiLU(z)   dgate = dx·src·σ'(z)            the norm after the gate
//
// and, with the norm before it, ddst·SiLU(z) for ddst in the first line, dsrc = dx and
// dgate = ddst·w·u·σ'(z).
func (n *GatedRMSNorm) Backward(dsrc, dgate, ddst, src, gate tensor.Seq, grads seqmix.Grads) {
	const op = "ssm.GatedRMSNorm.Backward"
	tensor.CheckSeq(op, src, -1, -1, n.Dim())
	tensor.CheckSeq(op, ddst, src.Batch, src.Len, n.Dim())
	tensor.CheckSeq(op, dsrc, src.Batch, src.Len, n.Dim())
	gated := gate.Batch != 0 || gate.Len != 0 || gate.Dim != 0
	if gated {
		tensor.CheckSeq(op, gate, src.Batch, src.Len, n.Dim())
		tensor.CheckSeq(op, dgate, src.Batch, src.Len, n.Dim())
	}
	for b := range src.Batch {
		var z, dz tensor.Mat
		if gated {
			z, dz = gate.Sequence(b).Mat(), dgate.Sequence(b).Mat()
		}
		n.backward(dsrc.Sequence(b).Mat(), dz, ddst.Sequence(b).Mat(), src.Sequence(b).Mat(), z, grads)
	}
}

// gradRows is the number of rows whose contributions to the gradients of parameters
// are summed up before they are added to the rest. It is fixed, so that sums do not
// depend on the number of cores.
const gradRows = 64

// backward is Backward for rows; z has none if there is no gate.
func (n *GatedRMSNorm) backward(dx, dz, dy, x, z tensor.Mat, grads seqmix.Grads) {
	s := tensor.GetScratch()
	blocks := (x.Rows + gradRows - 1) / gradRows
	g := &gatedNormGrad{
		GatedRMSNorm: n, dx: dx, dz: dz, dy: dy, x: x, z: z,
		temporary: takeMat(s, 4*blocks, n.Dim()), dw: takeMat(s, blocks, n.Dim()),
	}
	par.Do(blocks, 1, g)
	if dw := grads.Of(n.Weight); dw != nil {
		addRows(dw, g.dw)
	}
	tensor.PutScratch(s)
}

// gatedNormGrad computes the gradients of rows.
type gatedNormGrad struct {
	*GatedRMSNorm
	dx, dz, dy, x, z tensor.Mat
	temporary        tensor.Mat // four rows for each block
	dw               tensor.Mat // a row for each block
}

// Run computes blocks lo to hi-1.
func (g *gatedNormGrad) Run(lo, hi int) {
	for block := lo; block < hi; block++ {
		clear(g.dw.Row(block))
		for i := block * gradRows; i < min((block+1)*gradRows, g.x.Rows); i++ {
			g.row(block, i)
		}
	}
}

func (g *gatedNormGrad) row(block, i int) {
	dy, x, w := g.dy.Row(i), g.x.Row(i), g.Weight.Data()
	gated, unit, slope, d := g.temporary.Row(4*block), g.temporary.Row(4*block+1), g.temporary.Row(4*block+2), g.temporary.Row(4*block+3)
	dw := g.dw.Row(block)
	switch {
	case g.z.Rows == 0:
		g.normalise(unit, x)
		kernel.MulAdd(dw, dy, unit)
		kernel.Mul(d, dy, w)
		g.back(g.dx.Row(i), d, unit, x)
	case g.NormBeforeGate:
		z := g.z.Row(i)
		g.normalise(unit, x)
		kernel.SiLUMul(gated, z, dy)
		kernel.MulAdd(dw, gated, unit)
		kernel.Mul(gated, gated, w)
		kernel.Mul(d, dy, w)
		kernel.Mul(d, d, unit)
		kernel.SiLUGrad(g.dz.Row(i), z, d)
		g.back(g.dx.Row(i), gated, unit, x)
	default:
		z := g.z.Row(i)
		kernel.SiLUMul(gated, z, x)
		g.normalise(unit, gated)
		kernel.MulAdd(dw, dy, unit)
		kernel.Mul(d, dy, w)
		g.back(d, d, unit, gated)
		kernel.Mul(slope, d, x)
		kernel.SiLUGrad(g.dz.Row(i), z, slope)
		kernel.SiLUMul(g.dx.Row(i), z, d)
	}
}

// normalise writes the normalised x, without the weight, to unit.
func (g *gatedNormGrad) normalise(unit, x []float32) {
	size := len(x) / g.Groups
	for i := 0; i < len(x); i += size {
		kernel.Scale(unit[i:i+size], g.scale(x[i:i+size]), x[i:i+size])
	}
}

// scale returns what a group is multiplied by.
func (n *GatedRMSNorm) scale(x []float32) float32 {
	return float32(1 / math.Sqrt(float64(kernel.SumSquares(x))/float64(len(x))+float64(n.Eps)))
}

// back computes dx from the gradient for the normalised x. dx may be d.
func (g *gatedNormGrad) back(dx, d, unit, x []float32) {
	size := len(x) / g.Groups
	for i := 0; i < len(x); i += size {
		d, unit, dx := d[i:i+size], unit[i:i+size], dx[i:i+size]
		scale := g.scale(x[i : i+size])
		kernel.AddScaled(dx, d, -kernel.Dot(d, unit)/float32(size), unit)
		kernel.Scale(dx, scale, dx)
	}
}
