package nn

import (
	"math"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// filterGradRows is the number of positions whose gradients are computed together: all
// that is kept of the network at a time.
const filterGradRows = 16 * normBlock

// Backward adds the gradients of a loss with respect to the parameters to grads, from that
// with respect to the taps that Taps computes: dh has as many rows. What lies between is
// computed again, some positions at a time. With u for the taps before the window,
// e = exp(-t·|δ|), q = W a + b in front of a sine, and dq for the gradient there,
//
//	du = dh·(e + Shift)   dδ = -sign(δ)·Σ_n dh·u·t·e   dt = -Σ_c dh·u·|δ|·e
//	dq = da·f·cos(f·q)    df = Σ_n da·q·cos(f·q), of all layers
//
// z, t and δ are constants, which [seqmix.NewGrads] leaves out. It panics with a
// *tensor.ShapeError as Taps does.
func (f *ImplicitFilter) Backward(dh tensor.Mat, grads seqmix.Grads) {
	f.checkTaps("nn.ImplicitFilter.Backward", dh)
	if f.frozen(grads) {
		return
	}
	s := tensor.GetScratch()
	for at := 0; at < dh.Rows; at += filterGradRows {
		s.Reset()
		g := filterGrad{filter: f, grads: grads, first: at, rows: min(filterGradRows, dh.Rows-at), scratch: s}
		g.run(dh.SliceRows(at, at+g.rows))
	}
	tensor.PutScratch(s)
}

// frozen reports whether no parameter has a gradient.
func (f *ImplicitFilter) frozen(grads seqmix.Grads) bool {
	for _, p := range f.Params() {
		if grads.Of(p) != nil {
			return false
		}
	}
	return true
}

func (f *ImplicitFilter) checkTaps(op string, h tensor.Mat) {
	if h.Rows > f.cfg.LMax || h.Cols != f.cfg.Channels {
		panic(&tensor.ShapeError{Op: op, Got: []int{h.Rows, h.Cols}, Want: []int{f.cfg.LMax, f.cfg.Channels}})
	}
}

// filterGrad computes the gradients of some positions.
type filterGrad struct {
	filter      *ImplicitFilter
	grads       seqmix.Grads
	first, rows int
	scratch     *tensor.Scratch
}

func (g *filterGrad) take(dim int) tensor.Seq { return g.scratch.TakeSeq(1, g.rows, dim) }

func (g *filterGrad) run(dh tensor.Mat) {
	f := g.filter
	width, emb := f.cfg.Width, f.cfg.EmbDim
	x := tensor.SeqOf(f.Z.Data()[g.first*emb:(g.first+g.rows)*emb], 1, g.rows, emb)
	inputs, sums := []tensor.Seq{x}, []tensor.Seq(nil) // of the layers, q of the layers
	for _, l := range f.Hidden {
		q, a := g.take(width), g.take(width)
		l.Apply(q, x)
		g.eachBlock(func(_, lo, hi int) { f.sines(a.Slice(lo, hi).Data, q.Slice(lo, hi)) })
		inputs, sums, x = append(inputs, a), append(sums, q), a
	}
	du, da := g.take(f.cfg.Channels), g.take(width)
	f.Out.Apply(du, x)
	g.window(du, dh)
	f.Out.Backward(da, du, x, g.grads)
	for i := len(f.Hidden) - 1; i >= 0; i-- {
		g.sineGrad(da, sums[i])
		next := g.take(inputs[i].Dim)
		f.Hidden[i].Backward(next, da, inputs[i], g.grads)
		da = next
	}
	if dz := g.grads.Of(f.Z); dz != nil {
		dz = dz[g.first*emb : (g.first+g.rows)*emb]
		kernel.Add(dz, dz, da.Data)
	}
}

// sines computes a = sin(f·q).
func (f *ImplicitFilter) sines(a []float32, q tensor.Seq) {
	for i := range q.Len {
		kernel.Mul(a[i*q.Dim:(i+1)*q.Dim], q.At(0, i), f.Freq.Data())
	}
	kernel.Sin(a, a)
}

// eachBlock calls f for blocks of positions, on all cores.
func (g *filterGrad) eachBlock(f func(block, lo, hi int)) {
	par.Do((g.rows+normBlock-1)/normBlock, 1, par.Func(func(lo, hi int) {
		for i := lo; i < hi; i++ {
			f(i, i*normBlock, min((i+1)*normBlock, g.rows))
		}
	}))
}

// blockSums returns a vector of zeros for each block of positions.
func (g *filterGrad) blockSums(dim int) tensor.Seq {
	s := g.scratch.TakeSeq(1, (g.rows+normBlock-1)/normBlock, dim)
	clear(s.Data)
	return s
}

// sineGrad makes the gradient da with respect to sin(f·q) that with respect to q.
func (g *filterGrad) sineGrad(da, q tensor.Seq) {
	freq := g.filter.Freq.Data()
	sums := g.blockSums(q.Dim)
	room := g.take(q.Dim)
	g.eachBlock(func(block, lo, hi int) {
		for i := lo; i < hi; i++ {
			cos, d := room.At(0, i), da.At(0, i)
			kernel.Mul(cos, freq, q.At(0, i))
			kernel.Cos(cos, cos)
			kernel.Mul(d, d, cos)
			kernel.MulAdd(sums.At(0, block), d, q.At(0, i))
			kernel.Mul(d, d, freq)
		}
	})
	if df := g.grads.Of(g.filter.Freq); df != nil {
		addRows(df, sums)
	}
}

// window makes u, the taps before the window, their gradient.
func (g *filterGrad) window(u tensor.Seq, dh tensor.Mat) {
	f := g.filter
	w := windowGrad{filter: f, decay: g.scratch.Take(u.Dim), dt: g.grads.Of(f.T)}
	for c, d := range f.Deltas.Data() {
		w.decay[c] = float32(math.Abs(float64(d)))
	}
	sums := g.blockSums(u.Dim)
	room := g.scratch.TakeSeq(sums.Len, 3, u.Dim)
	g.eachBlock(func(block, lo, hi int) {
		for i := lo; i < hi; i++ {
			w.position(u.At(0, i), dh.Row(i), g.first+i, sums.At(0, block), room.Sequence(block))
		}
	})
	dd := g.grads.Of(f.Deltas)
	if dd == nil {
		return
	}
	for block := range sums.Len {
		for c, v := range sums.At(0, block) {
			switch d := f.Deltas.Data()[c]; {
			case d > 0:
				dd[c] -= v
			case d < 0:
				dd[c] += v
			}
		}
	}
}

// windowGrad is the gradient of the window and of the normalisation.
type windowGrad struct {
	filter *ImplicitFilter
	decay  []float32 // |δ|
	dt     []float32
}

// position makes u, the taps of position n before the window, their gradient, and adds
// dh·u·t·e to sum.
func (w *windowGrad) position(u, dh []float32, n int, sum []float32, room tensor.Seq) {
	f := w.filter
	decay, scale, d := room.At(0, 0), room.At(0, 1), room.At(0, 2)
	t := f.T.Data()[n]
	if *f.cfg.Modulate {
		kernel.Scale(decay, -t, w.decay)
		kernel.Exp(decay, decay)
		kernel.AddConst(scale, decay, float32(f.cfg.Shift))
	} else {
		fillWith(scale, 1)
	}
	copy(d, dh)
	if f.cfg.Normalized {
		normaliseGrad(d, u, scale)
	}
	if *f.cfg.Modulate {
		kernel.Mul(decay, decay, u)
		kernel.Mul(decay, decay, d) // dh·u·e
		kernel.Axpy(t, decay, sum)
		if w.dt != nil {
			w.dt[n] -= kernel.Dot(decay, w.decay)
		}
	}
	kernel.Mul(u, d, scale)
}

// normaliseGrad makes d, the gradient with respect to h/Σ|h|, that with respect to
// h = u·scale:
//
//	dh = (d - sign(h)·Σ d·h/Σ|h|) / Σ|h|
func normaliseGrad(d, u, scale []float32) {
	var size, along float64
	for c, v := range u {
		h := float64(v) * float64(scale[c])
		size += math.Abs(h)
		along += float64(d[c]) * h
	}
	along /= size
	for c, v := range u {
		g := float64(d[c])
		switch h := float64(v) * float64(scale[c]); {
		case h > 0:
			g -= along
		case h < 0:
			g += along
		}
		d[c] = float32(g / size)
	}
}

func fillWith(x []float32, v float32) {
	for i := range x {
		x[i] = v
	}
}
