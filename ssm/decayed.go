package ssm

import (
	"math"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// A decayedHead is what Mamba-2 and Mamba-3 do to one head of a sequence, and the
// gradients of it: linear attention to keys of n elements and values of p elements, with
// a decay,
//
//	S[t] = exp(l[t])·S[t-1] + v[t] ⊗ k[t]     p×n
//	y[t] = S[t]·q[t]
//
// A row of the matrices is a position, or, with a rank above 1, one of so many keys and
// queries of a position, which all are added to S before it is read.
type decayedHead struct {
	length, rank, p, n int
	starts             []int     // positions before which S becomes zero
	logs               []float64 // l
	v, k, q, dy        tensor.Mat

	dlogs          []float64
	dv, dk, dq     tensor.Mat // dk and dq are added to
	initial, dlast []float32  // S before the first position, the gradient for the last S; nil for zeros
	dinitial       []float32  // the gradient for initial is added to it, unless it is nil
}

// decayedRows is the number of rows of a chunk.
const decayedRows = 64

// A decayedGrad takes heads back, chunk by chunk, with matrix products:  with c[t] for
// the sum of l up to position t of a chunk, S for the state in front of it and G for the
// gradient of the state behind it,
//
//	E[t][s] = exp(c[t]-c[s])   s ≤ t
//	W = E·(dy·vᵀ)              the gradient for q·kᵀ
//	dq[t] = exp(c[t])·Sᵀ·dy[t] + Σ_s W[t][s]·k[s]
//	dk[s] = exp(c[T]-c[s])·Gᵀ·v[s] + Σ_t W[t][s]·q[t]
//	dv[s] = exp(c[T]-c[s])·G·k[s] + Σ_t E[t][s]·(q[t]·k[s])·dy[t]
//	dS = exp(c[T])·G + Σ_t exp(c[t])·dy[t] ⊗ q[t]
//	dl[t] = Σ_(i≥t) i[i] + exp(c[T])·<S, G> + Σ_(i<t) j[i] + Σ_(i≥t>j) W[i][j]·(q[i]·k[j])
//
// i and j being what the first terms of dq and dk, times q and k, sum up to. The states
// in front of the chunks are computed first, on the way forth: only these are kept.
type decayedGrad struct {
	*decayedHead
	chunks []decayedChunk
	states []float32 // in front of each chunk
	grad   []float32 // G

	panels, turned         []float32
	scores, weights, decay tensor.Mat
	scaled                 tensor.Mat // dy or v, multiplied by decays
	inner                  tensor.Mat // terms of dq and dk
	sums                   []float64  // c
	rows, columns          []float64
	queries, keys          []float64 // i and j
}

// A decayedChunk is positions from to end-1.
type decayedChunk struct {
	from, end int
	fresh     bool // begins with zeros
}

// divide divides the positions into chunks.
func (g *decayedGrad) divide() {
	g.chunks = g.chunks[:0]
	most := max(1, decayedRows/g.rank)
	starts := g.starts
	for t := 0; t < g.length; {
		c := decayedChunk{from: t, end: min(t+most, g.length), fresh: t == 0 && g.initial == nil}
		for len(starts) > 0 && starts[0] <= t {
			c.fresh, starts = true, starts[1:]
		}
		if len(starts) > 0 {
			c.end = min(c.end, starts[0])
		}
		g.chunks = append(g.chunks, c)
		t = c.end
	}
}

// run computes the gradients of a head.
func (g *decayedGrad) run(h *decayedHead, s *tensor.Scratch) {
	g.decayedHead = h
	g.divide()
	g.take(s)
	for i, c := range g.chunks[:max(len(g.chunks)-1, 0)] {
		g.forth(c, g.state(i), g.state(i+1))
	}
	clear(g.grad)
	if h.dlast != nil {
		copy(g.grad, h.dlast)
	}
	for i := len(g.chunks) - 1; i >= 0; i-- {
		g.back(g.chunks[i], g.state(i))
		if g.chunks[i].fresh {
			clear(g.grad)
		}
	}
	if h.dinitial != nil {
		kernel.Add(h.dinitial, h.dinitial, g.grad)
	}
}

func (g *decayedGrad) state(chunk int) []float32 {
	size := g.p * g.n
	return g.states[chunk*size : (chunk+1)*size]
}

// take takes the memory of a head.
func (g *decayedGrad) take(s *tensor.Scratch) {
	rows := max(decayedRows, g.rank)
	wide := max(g.p, g.n, rows)
	size := g.p * g.n
	g.states, g.grad = s.Take(max(len(g.chunks), 1)*size), s.Take(size)
	g.panels, g.turned = s.Take(kernel.PanelLen(wide, wide)), s.Take(rows*wide)
	g.scores, g.weights, g.decay = takeMat(s, rows, rows), takeMat(s, rows, rows), takeMat(s, rows, rows)
	g.scaled, g.inner = takeMat(s, rows, g.p), takeMat(s, rows, g.n)
	if len(g.sums) < rows {
		buf := make([]float64, 5*rows)
		g.sums, g.rows, g.columns, g.queries, g.keys = buf[:rows], buf[rows:2*rows], buf[2*rows:3*rows], buf[3*rows:4*rows], buf[4*rows:]
	}
	if g.initial != nil {
		copy(g.states, g.initial)
	} else {
		clear(g.states[:size])
	}
}

// leastLog bounds logarithms of decays: exp(leastLog) is 0, and sums are finite.
const leastLog = -1e5

// addUp computes c for each row of a chunk and returns c[T].
func (g *decayedGrad) addUp(c decayedChunk) float64 {
	var sum float64
	for t := c.from; t < c.end; t++ {
		sum += max(g.logs[t], leastLog)
		for r := range g.rank {
			g.sums[(t-c.from)*g.rank+r] = sum
		}
	}
	return sum
}

// of returns the rows of a chunk.
func (g *decayedGrad) of(m tensor.Mat, c decayedChunk) tensor.Mat {
	return m.SliceRows(c.from*g.rank, c.end*g.rank)
}

// fadedValues writes exp(c[T]-c[t])·v[t] to scaled.
func (g *decayedGrad) fadedValues(v tensor.Mat, total float64) tensor.Mat {
	m := g.scaled.SliceRows(0, v.Rows)
	for i := range v.Rows {
		kernel.Scale(m.Row(i), float32(math.Exp(total-g.sums[i])), v.Row(i))
	}
	return m
}

// forth computes the state behind a chunk.
func (g *decayedGrad) forth(c decayedChunk, before, after []float32) {
	if c.fresh {
		clear(before)
	}
	total := g.addUp(c)
	faded := g.fadedValues(g.of(g.v, c), total)
	kernel.Scale(after, float32(math.Exp(total)), before)
	g.product(tensor.MatOf(after, g.p, g.n), g.turn(faded), g.of(g.k, c), true)
}

// back takes G from behind a chunk to in front of it.
func (g *decayedGrad) back(c decayedChunk, before []float32) {
	total := g.addUp(c)
	v, k, q, dy := g.of(g.v, c), g.of(g.k, c), g.of(g.q, c), g.of(g.dy, c)
	dv, dk, dq := g.of(g.dv, c), g.of(g.dk, c), g.of(g.dq, c)
	rows := v.Rows
	state, grad := tensor.MatOf(before, g.p, g.n), tensor.MatOf(g.grad, g.p, g.n)
	if c.fresh {
		clear(before)
	}
	through := math.Exp(total) * dot64(before, g.grad)

	// What goes by the states.
	inner := g.inner.SliceRows(0, rows)
	g.product(inner, g.fadedValues(v, total), grad, false)
	g.addDots(g.keys, dk, inner, k)
	g.productT(dv, k, grad)
	for i := range rows {
		kernel.Scale(dv.Row(i), float32(math.Exp(total-g.sums[i])), dv.Row(i))
	}
	scaled := g.scaled.SliceRows(0, rows)
	for i := range rows {
		kernel.Scale(scaled.Row(i), float32(math.Exp(g.sums[i])), dy.Row(i))
	}
	g.product(inner, scaled, state, false)
	g.addDots(g.queries, dq, inner, q)
	kernel.Scale(g.grad, float32(math.Exp(total)), g.grad)
	g.product(grad, g.turn(scaled), q, true)

	// What goes from position to position.
	scores, weights := tensor.MatOf(g.scores.Data[:rows*rows], rows, rows), tensor.MatOf(g.weights.Data[:rows*rows], rows, rows)
	g.productT(scores, q, k)
	g.productT(weights, dy, v)
	g.fade(scores, weights)
	g.product(dq, weights, k, true)
	g.product(dk, g.turn(weights), q, true)
	g.product(dv, g.turn(scores), dy, true)
	g.logGrads(c, through)
}

// addDots adds inner to sum and stores the products of its rows with those of x.
func (g *decayedGrad) addDots(dots []float64, sum, inner, x tensor.Mat) {
	for i := range inner.Rows {
		dots[i] = float64(kernel.Dot(inner.Row(i), x.Row(i)))
		kernel.Add(sum.Row(i), sum.Row(i), inner.Row(i))
	}
}

// fade multiplies scores q·k and the products dy·v, which become W, by decays, and sums
// up the rows and columns of their product.
func (g *decayedGrad) fade(scores, weights tensor.Mat) {
	rows := scores.Rows
	clear(g.rows[:rows])
	clear(g.columns[:rows])
	for t := range rows {
		// All ranks of a position see all others of it.
		end := (t/g.rank + 1) * g.rank
		e, score, weight := g.decay.Row(t)[:end], scores.Row(t), weights.Row(t)
		for s := range e {
			e[s] = float32(g.sums[t] - g.sums[s])
		}
		kernel.Exp(e, e)
		kernel.Mul(weight[:end], weight[:end], e)
		clear(weight[end:])
		kernel.Mul(e, score[:end], e)
		var sum float64
		for s, w := range weight[:end-g.rank] {
			m := float64(w * score[s])
			sum += m
			g.columns[s] += m
		}
		g.rows[t] = sum
		copy(score, e)
		clear(score[end:])
	}
}

// logGrads computes dlogs of a chunk.
func (g *decayedGrad) logGrads(c decayedChunk, through float64) {
	var later, earlier, across float64
	n := c.end - c.from
	for _, v := range g.queries[:n*g.rank] {
		later += v
	}
	for t := range n {
		g.dlogs[c.from+t] = later + through + earlier + across
		for i := t * g.rank; i < (t+1)*g.rank; i++ {
			later -= g.queries[i]
			earlier += g.keys[i]
		}
		// Those of position t come to be among the earlier ones.
		if t+1 < n {
			across += g.acrossAfter(t + 1)
		}
	}
}

// acrossAfter returns by how much the sum over later queries and earlier keys changes
// when position t-1 becomes an earlier one.
func (g *decayedGrad) acrossAfter(t int) float64 {
	var d float64
	for i := (t - 1) * g.rank; i < t*g.rank; i++ {
		d += g.columns[i] - g.rows[i]
	}
	return d
}

// product computes c = a·b, or adds it to c.
func (g *decayedGrad) product(c, a, b tensor.Mat, add bool) {
	kernel.PackPanels(g.panels, b.Data, c.Cols, a.Cols, 1, b.Stride)
	kernel.Gemm(c.Data, c.Stride, a.Data, a.Stride, g.panels, c.Rows, c.Cols, a.Cols, add)
}

// productT computes c = a·bᵀ.
func (g *decayedGrad) productT(c, a, b tensor.Mat) {
	for j := 0; j < b.Rows; j += kernel.PanelWidth {
		panel, rows := g.panels[j*b.Cols:], min(kernel.PanelWidth, b.Rows-j)
		if rows < kernel.PanelWidth {
			clear(panel[:kernel.PanelWidth*b.Cols])
		}
		kernel.Transpose(panel, kernel.PanelWidth, b.Data[j*b.Stride:], b.Stride, rows, b.Cols)
	}
	kernel.Gemm(c.Data, c.Stride, a.Data, a.Stride, g.panels, c.Rows, c.Cols, a.Cols, false)
}

// turn returns the transpose of m.
func (g *decayedGrad) turn(m tensor.Mat) tensor.Mat {
	t := tensor.MatOf(g.turned[:m.Rows*m.Cols], m.Cols, m.Rows)
	kernel.Transpose(t.Data, t.Stride, m.Data, m.Stride, m.Rows, m.Cols)
	return t
}

// dot64 returns the product of a and b, summed up in float64.
func dot64(a, b []float32) float64 {
	var sum float64
	for len(a) > 0 {
		n := min(len(a), 64)
		sum += float64(kernel.Dot(a[:n], b[:n]))
		a, b = a[n:], b[n:]
	}
	return sum
}
