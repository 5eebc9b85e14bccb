package ssm

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// filter returns the convolution that m is, with the skip of each channel, which may be
// nil, added to the tap for the present.
func (m *Shift) filter(skip *tensor.Tensor) *nn.CausalConv1D {
	h, taps := m.cfg.DModel, m.cfg.DState
	conv := nn.NewCausalConv1D(h, taps, false, nn.Identity)
	w := conv.Weight.Data()
	for ch := range h {
		for j, v := range m.response(ch) {
			w[(ch+1)*taps-1-j] = v
		}
		if skip != nil {
			w[(ch+1)*taps-1] += skip.Data()[ch]
		}
	}
	return conv
}

// filterBack takes the gradient of a filter of m back: that of the input is written to
// dsrc, those of the parameters are added.
func (m *Shift) filterBack(dsrc, ddst, src tensor.Seq, skip *tensor.Tensor, grads seqmix.Grads) {
	conv := m.filter(skip)
	n := m.cfg.DState
	taps := seqmix.Grads{conv.Weight: tensor.New(conv.Weight.Shape()...)}
	conv.Backward(dsrc, ddst, src, taps)
	dw := taps.Of(conv.Weight)
	if g := gradOf(grads, skip); g != nil {
		for ch := range g {
			g[ch] += dw[(ch+1)*n-1]
		}
	}
	db, dc := grads.Of(m.b), grads.Of(m.c)
	for ch := range m.cfg.DModel {
		b, c := m.b.Data()[ch*n:(ch+1)*n], m.c.Data()[ch*n:(ch+1)*n]
		for j := range n { // K[j] = Σ_i C[i+j]·B[i]
			dk := dw[(ch+1)*n-1-j]
			if db != nil {
				kernel.Axpy(dk, c[j:], db[ch*n:(ch+1)*n-j])
			}
			if dc != nil {
				kernel.Axpy(dk, b[:n-j], dc[ch*n+j:(ch+1)*n])
			}
		}
	}
}

// Record is Mix that keeps the input for Backward.
func (m *Shift) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("ssm.Shift.Record", dst, src, m.Dim())
	t := &shiftTape{m, keep(dst, src)}
	m.Mix(dst, src)
	return t, nil
}

type shiftTape struct {
	mixer *Shift
	src   tensor.Seq
}

// Backward computes the gradients of what Record computed.
func (t *shiftTape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	const op = "ssm.Shift.Backward"
	tensor.CheckSeq(op, ddst, t.src.Batch, t.src.Len, t.mixer.Dim())
	tensor.CheckMix(op, dsrc, ddst, t.mixer.Dim())
	t.mixer.filterBack(dsrc, ddst, t.src, nil, grads)
}

// Record is Mix that keeps what Backward needs: the input, queries, keys and values,
// keys behind the shift and the output of the diagonal system.
func (m *H3) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("ssm.H3.Record", dst, src, m.Dim())
	t := m.recordKeys(dst, src)
	t.heads(t.shifted.Mat(), t.v.Mat(), t.y.Mat()).run(false)
	var err error
	if t.system, err = m.system.record(t.y, t.y, m.respond); err != nil {
		return nil, err
	}
	m.o.Apply(dst, t.output())
	return t, nil
}

// recordKeys computes queries, keys and values, and keys behind the shift.
func (m *H3) recordKeys(dst, src tensor.Seq) *h3Tape {
	project := func(l *nn.Linear) tensor.Seq {
		x := tensor.NewSeq(src.Batch, src.Len, src.Dim)
		l.Apply(x, src)
		return x
	}
	t := &h3Tape{mixer: m, src: keep(dst, src), q: project(m.q), k: project(m.k), v: project(m.v)}
	t.shifted, t.y = tensor.NewSeq(src.Batch, src.Len, src.Dim), tensor.NewSeq(src.Batch, src.Len, m.system.dim)
	m.shift.filter(m.skipK).Mix(t.shifted, t.k)
	return t
}

// h3Tape is the memory of a Record.
type h3Tape struct {
	mixer            *H3
	src              tensor.Seq
	q, k, v, shifted tensor.Seq
	y                tensor.Seq // of the diagonal system
	system           seqmix.Tape
}

func (t *h3Tape) heads(k, v, kv tensor.Mat) *h3Heads {
	return &h3Heads{heads: t.mixer.ssm.Dim(), p: t.mixer.cfg.HeadDim, q: t.q.Mat(), k: k, v: v, kv: kv}
}

// output returns the input of the output projection.
func (t *h3Tape) output() tensor.Seq {
	o := tensor.NewSeq(t.src.Batch, t.src.Len, t.src.Dim)
	t.heads(t.shifted.Mat(), o.Mat(), t.y.Mat()).run(true)
	return o
}

// respond adds the gradients of the diagonal systems: that of a head answers for all
// products of it.
func (m *H3) respond(past, _ tensor.Mat, grads seqmix.Grads) {
	heads := m.ssm.Dim()
	sum := tensor.MatOf(make([]float32, past.Rows*heads), past.Rows, heads)
	for i := range past.Rows {
		for at := 0; at < past.Cols; at += heads {
			kernel.Add(sum.Row(i), sum.Row(i), past.Row(i)[at:at+heads])
		}
	}
	addRow(grads, m.ssm.d, sum.Row(0))
	m.ssm.addKernelGrads(0, sum, 0, grads)
}

// Backward computes the gradients of what Record computed.
func (t *h3Tape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	t.backward(dsrc, ddst, grads, func(dy tensor.Seq) { t.system.Backward(dy, dy, grads) }, func(dk tensor.Seq) {
		t.mixer.shift.filterBack(dk, dk, t.k, t.mixer.skipK, grads)
	})
}

// backward is Backward with what takes gradients back through the diagonal system and the
// shift, in place.
func (t *h3Tape) backward(dsrc, ddst tensor.Seq, grads seqmix.Grads, system, shift func(d tensor.Seq)) {
	const op = "ssm.H3.Backward"
	m := t.mixer
	tensor.CheckSeq(op, ddst, t.src.Batch, t.src.Len, m.Dim())
	tensor.CheckMix(op, dsrc, ddst, m.Dim())
	like := func(dim int) tensor.Seq { return tensor.NewSeq(ddst.Batch, ddst.Len, dim) }
	do, dq, dk, dv, dy := like(m.Dim()), like(m.Dim()), like(m.Dim()), like(m.Dim()), like(m.system.dim)
	m.o.Backward(do, ddst, t.output(), grads)
	rows := ddst.Batch * ddst.Len
	h := t.heads(t.shifted.Mat(), t.v.Mat(), t.y.Mat())
	eachRow(rows, m.system.dim, func(i int) {
		h.sumsBack(dq.Mat().Row(i), dy.Mat().Row(i), do.Mat().Row(i), h.q.Row(i), h.kv.Row(i))
	})
	system(dy)
	eachRow(rows, m.system.dim, func(i int) {
		h.productsBack(dk.Mat().Row(i), dv.Mat().Row(i), dy.Mat().Row(i), h.k.Row(i), h.v.Row(i))
	})
	shift(dk)
	m.q.Backward(do, dq, t.src, grads)
	m.k.Backward(dq, dk, t.src, grads)
	tensor.AddSeq(do, do, dq)
	m.v.Backward(dq, dv, t.src, grads)
	tensor.AddSeq(dsrc, do, dq)
}

// sumsBack takes the gradient of the sums o back to queries and products.
func (h *h3Heads) sumsBack(dq, dy, do, q, y []float32) {
	for i := range h.p {
		for j := range h.p {
			at := (i*h.p + j) * h.heads
			for head, d := range do[j*h.heads : (j+1)*h.heads] {
				dq[head*h.p+i] += d * y[at+head]
				dy[at+head] = d * q[head*h.p+i]
			}
		}
	}
}

// productsBack takes the gradient of products back to keys and values.
func (h *h3Heads) productsBack(dk, dv, dkv, k, v []float32) {
	for i := range h.p {
		for j := range h.p {
			for head, d := range dkv[(i*h.p+j)*h.heads : (i*h.p+j+1)*h.heads] {
				dk[head*h.p+i] += d * v[head*h.p+j]
				dv[head*h.p+j] += d * k[head*h.p+i]
			}
		}
	}
}
