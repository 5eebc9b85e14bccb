package ssm

import (
	"math"
	"slices"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// ScanGrads are the gradients of a loss with respect to the arguments of
// [SelectiveScan], each of the shape of what it belongs to.
type ScanGrads struct {
	// Those of parameters are added to; nil is left out.
	A, DeltaBias, D, ConstB, ConstC *tensor.Tensor

	// Those of sequences are written. B and C are used if these depend on the
	// position, Z if there is a gate.
	Delta, B, C, Z tensor.Seq

	// State holds the gradient with respect to the state after the last position and,
	// afterwards, that with respect to the state before the first. Without one (nil) the
	// former is zero: so a long sequence is taken back piece by piece, the last first.
	State *tensor.Tensor
}

// SelectiveScanGrad computes, from the gradient ddst of a loss with respect to the
// result of [SelectiveScan], the gradient dsrc with respect to src and those of g with
// respect to the arguments. s.State is the state before the first position, and is not
// changed. With dy for the gradient in front of the gate and a[t] for the exponentials,
// it goes back through time by
//
//	g[t]      = C[t]·dy[t] + a[t+1]·g[t+1]
//	dC[t]     = Σ_e dy[t]·h[t]            dB[t] = Σ_e g[t]·Δ[t]·src[t]
//	dsrc[t]   = D·dy[t] + Δ[t]·Σ_n g[t]·B[t]
//	dΔ[t]     = src[t]·Σ_n g[t]·B[t] + Σ_n g[t]·A·a[t]·h[t-1]
//	dA        = Σ_t g[t]·Δ[t]·a[t]·h[t-1]
//
// The gradient of a complex number is that of its real part plus i times that of its
// imaginary part. States are computed again from one for every 32 positions.
//
// dsrc may be ddst; gradients must not overlap anything else. It panics with a
// *tensor.ShapeError if shapes do not fit.
func SelectiveScanGrad(dsrc, ddst, src tensor.Seq, s Scan, g ScanGrads) {
	const op = "ssm.SelectiveScanGrad"
	z := s.sizes(op, src)
	tensor.CheckMix(op, dsrc, ddst, z.e)
	tensor.CheckSeq(op, ddst, src.Batch, src.Len, z.e)
	s.check(op, src, &z)
	g.check(op, &s)
	dy := tensor.NewSeq(src.Batch, src.Len, src.Dim)
	tensor.Copy(dy, ddst)
	if s.hasGate() {
		open, y := s, tensor.NewSeq(src.Batch, src.Len, src.Dim)
		open.Z = tensor.Seq{}
		if s.State != nil {
			open.State = cloneOf(s.State)
		}
		SelectiveScan(y, src, open)
		gateGrads(dy, g.Z, y, s.Z)
	}
	for b := range src.Batch {
		k := &scanBack{Scan: &s, scanSizes: z, grads: &g, sequence: b, u: src.Sequence(b).Mat(), dy: dy.Sequence(b).Mat(), du: dsrc.Sequence(b).Mat()}
		k.run()
	}
}

// check panics unless all shapes fit those of s.
func (g *ScanGrads) check(op string, s *Scan) {
	for _, x := range [][2]*tensor.Tensor{{g.A, s.A}, {g.DeltaBias, s.DeltaBias}, {g.D, s.D}, {g.ConstB, s.ConstB}, {g.ConstC, s.ConstC}, {g.State, s.State}} {
		if x[0] != nil && x[1] != nil {
			checkShape(op, x[0], x[1].Shape()...)
		}
	}
	tensor.CheckSeq(op, g.Delta, s.Delta.Batch, s.Delta.Len, s.Delta.Dim)
	for _, x := range []struct {
		used      bool
		grad, seq tensor.Seq
	}{{s.ConstB == nil, g.B, s.B}, {s.ConstC == nil, g.C, s.C}, {s.hasGate(), g.Z, s.Z}} {
		if x.used {
			tensor.CheckSeq(op, x.grad, x.seq.Batch, x.seq.Len, x.seq.Dim)
		}
	}
}

// scanBack takes one sequence back. Tables are in channel blocks, or in row-major order
// if complex.
type scanBack struct {
	*Scan
	scanSizes
	grads     *ScanGrads
	sequence  int
	u, dy, du tensor.Mat

	groups                     int // of real scans, see scanRun
	raw, delta, ddelta         tensor.Mat
	b, c                       tensor.Mat   // of all groups
	dbc                        []tensor.Mat // what the strips add to their gradients
	tables                     scanTables
	starts, da, db, dc, dstate []float32
	dd                         []float32
}

func (k *scanBack) strips() int { return (k.e + stripWidth - 1) / stripWidth }

func (k *scanBack) run() {
	s := tensor.GetScratch()
	k.steps(s)
	r := k.forth(s)
	width := k.groups * k.n * k.complex
	k.dbc = make([]tensor.Mat, k.strips())
	for i := range k.dbc {
		k.dbc[i] = takeMat(s, k.u.Rows, 2*width)
		clear(k.dbc[i].Data)
	}
	size := r.stateLen()
	k.da, k.db, k.dc, k.dstate, k.dd = s.Take(size), s.Take(size), s.Take(size), s.Take(size), s.Take(k.e)
	for _, v := range [][]float32{k.da, k.db, k.dc, k.dstate, k.dd} {
		clear(v)
	}
	if k.grads.State != nil {
		k.pack(k.dstate, k.stateGrad())
	}
	par.Do(k.strips(), 1, k)
	k.collect()
	tensor.PutScratch(s)
}

// steps computes Δ.
func (k *scanBack) steps(s *tensor.Scratch) {
	rows := k.u.Rows
	k.raw, k.delta, k.ddelta = takeMat(s, rows, k.e), takeMat(s, rows, k.e), takeMat(s, rows, k.e)
	copyMat(k.raw, k.Delta.Sequence(k.sequence).Mat())
	if k.DeltaBias != nil {
		bias := k.DeltaBias.Float32s()
		eachRow(rows, k.e, func(i int) { kernel.Add(k.raw.Row(i), k.raw.Row(i), bias) })
	}
	copyMat(k.delta, k.raw)
	if k.Softplus {
		eachRow(rows, k.e, func(i int) { kernel.Softplus(k.delta.Row(i), k.delta.Row(i)) })
	}
}

// forth prepares the tables, of the sequence alone, and computes the states that a
// real scan is taken back from.
func (k *scanBack) forth(s *tensor.Scratch) *scanRun {
	r := &scanRun{Scan: *k.Scan, scanSizes: k.scanSizes, src: tensor.Seq{Batch: 1}}
	if k.State != nil {
		r.State = tensor.FromFloat32s(k.stateOf(k.State), append([]int{1}, k.A.Shape()...)...)
	}
	r.begin()
	k.tables = r.tables
	k.groups = leastCommonMultiple(k.bGroups, k.cGroups)
	k.b, k.c = k.rows(k.ConstB, k.B, k.bGroups, s), k.rows(k.ConstC, k.C, k.cGroups, s)
	if k.complex == 2 {
		return r
	}
	k.starts = s.Take((k.u.Rows + kernel.ScanSegment - 1) / kernel.ScanSegment * r.stateLen())
	scan := k.arguments()
	y := takeMat(s, k.u.Rows, k.e)
	scan.Y, scan.LdY = y.Data, y.Stride
	scan.State = append([]float32(nil), k.tables.states...)
	kernel.SelectiveScan(&scan, 0, (k.e+kernel.ScanBlock-1)/kernel.ScanBlock)
	return r
}

// rows returns B or C of all groups of the scan.
func (k *scanBack) rows(constant *tensor.Tensor, x tensor.Seq, groups int, s *tensor.Scratch) tensor.Mat {
	if constant != nil {
		return tensor.Mat{}
	}
	width, times := k.n*k.complex, k.groups/groups
	m := takeMat(s, k.u.Rows, k.groups*width)
	for t := range m.Rows {
		for g := range k.groups {
			copy(m.Row(t)[g*width:(g+1)*width], x.At(k.sequence, t)[g/times*width:])
		}
	}
	return m
}

func (k *scanBack) stateOf(t *tensor.Tensor) []float32 {
	size := k.e * k.n * k.complex
	return t.Data()[k.sequence*size : (k.sequence+1)*size]
}

func (k *scanBack) stateGrad() []float32 { return k.stateOf(k.grads.State) }

// pack copies what has the shape of A to the order of tables.
func (k *scanBack) pack(dst, src []float32) {
	if k.complex == 2 {
		copy(dst, src)
	} else {
		kernel.PackState(dst, src, k.e, k.n)
	}
}

// addUnpacked adds a table to what has the shape of A.
func (k *scanBack) addUnpacked(dst *tensor.Tensor, table []float32) {
	if dst == nil {
		return
	}
	v := make([]float32, dst.Len())
	k.unpack(v, table)
	kernel.Add(dst.Data(), dst.Data(), v)
}

func (k *scanBack) unpack(dst, table []float32) {
	if k.complex == 2 {
		copy(dst, table)
	} else {
		kernel.UnpackState(dst, table, k.e, k.n)
	}
}

// arguments returns those of a real scan.
func (k *scanBack) arguments() kernel.Scan {
	s := kernel.Scan{
		L: k.u.Rows, E: k.e, N: k.n, Groups: k.groups,
		U: k.u.Data, LdU: k.u.Stride, Delta: k.delta.Data, LdDelta: k.delta.Stride,
		A: k.tables.rates, D: paramlist.Data(k.D), State: k.tables.states, Starts: k.starts,
		B: k.b.Data, LdB: k.b.Stride, C: k.c.Data, LdC: k.c.Stride,
	}
	if k.ConstB != nil {
		s.B, s.BConst = k.tables.b, true
	}
	if k.ConstC != nil {
		s.C, s.CConst = k.tables.c, true
	}
	return s
}

// Run computes strips lo to hi-1.
func (k *scanBack) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		from, to := i*stripWidth, min((i+1)*stripWidth, k.e)
		if k.complex == 2 {
			for e := from; e < to; e++ {
				k.channel(e, k.dbc[i])
			}
			continue
		}
		k.real(from/kernel.ScanBlock, (to+kernel.ScanBlock-1)/kernel.ScanBlock, k.dbc[i])
	}
}

// real computes blocks lo to hi-1 of a real scan.
func (k *scanBack) real(lo, hi int, dbc tensor.Mat) {
	s := tensor.GetScratch()
	g := kernel.ScanGrad{
		Scan: k.arguments(), DY: k.dy.Data, LdDY: k.dy.Stride, DU: k.du.Data, LdDU: k.du.Stride,
		DDelta: k.ddelta.Data, LdDDelta: k.ddelta.Stride, DA: k.da, DD: k.dd, DState: k.dstate,
		DB: dbc.Data, LdDB: dbc.Stride, DC: dbc.Data[dbc.Cols/2:], LdDC: dbc.Stride,
		Scratch: s.Take(kernel.ScanGradScratchLen(k.u.Rows, k.n, hi-lo)),
	}
	if g.BConst {
		g.DB = k.db
	}
	if g.CConst {
		g.DC = k.dc
	}
	kernel.SelectiveScanGrad(&g, lo, hi)
	tensor.PutScratch(s)
}

// collect writes the gradients of the sequence.
func (k *scanBack) collect() {
	g := k.grads
	k.addUnpacked(g.A, k.da)
	if k.ConstB != nil {
		k.addUnpacked(g.ConstB, k.db)
	} else {
		k.fold(g.B, k.bGroups, 0)
	}
	if k.ConstC != nil {
		k.addUnpacked(g.ConstC, k.dc)
	} else {
		k.fold(g.C, k.cGroups, k.groups*k.n*k.complex)
	}
	if g.D != nil {
		kernel.Add(g.D.Data(), g.D.Data(), k.dd)
	}
	if k.Softplus {
		eachRow(k.u.Rows, k.e, func(i int) { kernel.SoftplusGrad(k.ddelta.Row(i), k.raw.Row(i), k.ddelta.Row(i)) })
	}
	copyMat(g.Delta.Sequence(k.sequence).Mat(), k.ddelta)
	if g.DeltaBias != nil {
		addRows(g.DeltaBias.Data(), k.ddelta)
	}
	if g.State != nil {
		k.unpack(k.stateGrad(), k.dstate)
	}
}

// fold sums up what the strips add to the gradient of B or C, which begins at a column
// of theirs, and adds up groups that are one.
func (k *scanBack) fold(dst tensor.Seq, groups, col int) {
	width, times := k.n*k.complex, k.groups/groups
	for t := range k.u.Rows {
		sum := dst.At(k.sequence, t)
		clear(sum)
		for _, m := range k.dbc {
			for g := range k.groups {
				to := sum[g/times*width:][:width]
				kernel.Add(to, to, m.Row(t)[col+g*width:][:width])
			}
		}
	}
}

// complexSegment is how many positions a complex scan goes back at a time.
const complexSegment = 64

// channel takes a channel of a complex scan back.
func (k *scanBack) channel(e int, dbc tensor.Mat) {
	size, length := 2*k.n, k.u.Rows
	a := k.A.Data()[e*size : (e+1)*size]
	segments := (length + complexSegment - 1) / complexSegment
	starts := make([]float32, (segments+1)*size)
	states := make([]float32, (complexSegment+1)*size)
	copy(states, k.tables.states[e*size:(e+1)*size])
	for i := range segments {
		copy(starts[i*size:(i+1)*size], states)
		end := min((i+1)*complexSegment, length)
		k.channelForth(e, i*complexSegment, end, a, states)
		copy(states, states[(end-i*complexSegment)*size:])
	}
	grad := slices.Clone(k.dstate[e*size : (e+1)*size])
	for i := segments - 1; i >= 0; i-- {
		copy(states, starts[i*size:(i+1)*size])
		from, end := i*complexSegment, min((i+1)*complexSegment, length)
		k.channelForth(e, from, end, a, states)
		for t := end - 1; t >= from; t-- {
			k.channelBack(e, t, a, states[(t-from)*size:], grad, dbc)
		}
	}
	copy(k.dstate[e*size:], grad)
}

// complexFactor returns B or C of channel e at position t, with its gradient.
func (k *scanBack) complexFactor(constant *tensor.Tensor, m, dbc tensor.Mat, table []float32, e, t, col int) (v, grad []float32) {
	size := 2 * k.n
	if constant != nil {
		return constant.Data()[e*size : (e+1)*size], table[e*size : (e+1)*size]
	}
	at := e / (k.e / k.groups) * size
	return m.Row(t)[at : at+size], dbc.Row(t)[col+at : col+at+size]
}

// decayOf returns exp(delta·a[n]).
func decayOf(delta float32, a []float32, n int) (re, im float32) {
	size := math.Exp(float64(delta) * float64(a[n]))
	sin, cos := math.Sincos(float64(delta) * float64(a[n+1]))
	return float32(size * cos), float32(size * sin)
}

// channelForth computes the states behind positions from to end-1 from the first.
func (k *scanBack) channelForth(e, from, end int, a, states []float32) {
	size := 2 * k.n
	for t := from; t < end; t++ {
		h, next := states[(t-from)*size:], states[(t-from+1)*size:]
		delta := k.delta.Row(t)[e]
		in := delta * k.u.Row(t)[e]
		b, _ := k.complexFactor(k.ConstB, k.b, k.dbc[0], k.db, e, t, 0)
		for n := 0; n < size; n += 2 {
			re, im := decayOf(delta, a, n)
			next[n], next[n+1] = re*h[n]-im*h[n+1]+in*b[n], re*h[n+1]+im*h[n]+in*b[n+1]
		}
	}
}

// channelBack takes grad from behind position t to in front of it. states begins with
// the state in front of the position.
func (k *scanBack) channelBack(e, t int, a, states, grad []float32, dbc tensor.Mat) {
	size := 2 * k.n
	before, after := states[:size], states[size:2*size]
	delta, u, dy := k.delta.Row(t)[e], k.u.Row(t)[e], k.dy.Row(t)[e]
	b, db := k.complexFactor(k.ConstB, k.b, dbc, k.db, e, t, 0)
	c, dc := k.complexFactor(k.ConstC, k.c, dbc, k.dc, e, t, k.groups*size)
	da := k.da[e*size : (e+1)*size]
	var in, rate float32
	for n := 0; n < size; n += 2 {
		dc[n] += 2 * dy * after[n]
		dc[n+1] -= 2 * dy * after[n+1]
		gr, gi := grad[n]+2*dy*c[n], grad[n+1]-2*dy*c[n+1]
		db[n] += gr * delta * u
		db[n+1] += gi * delta * u
		in += gr*b[n] + gi*b[n+1]
		re, im := decayOf(delta, a, n)
		// What was kept of the state: the gradient of Δ·A is grad times its conjugate.
		hr, hi := re*before[n]-im*before[n+1], re*before[n+1]+im*before[n]
		tr, ti := gr*hr+gi*hi, gi*hr-gr*hi
		da[n] += delta * tr
		da[n+1] += delta * ti
		rate += a[n]*tr + a[n+1]*ti
		grad[n], grad[n+1] = re*gr+im*gi, re*gi-im*gr
	}
	skip := float32(0)
	if k.D != nil {
		skip = k.D.Data()[e]
	}
	k.du.Row(t)[e] = skip*dy + delta*in
	k.ddelta.Row(t)[e] = u*in + rate
	k.dd[e] += dy * u
}
