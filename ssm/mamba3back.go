package ssm

import (
	"math"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// A rotaryBack takes some sequences back through the heads of a Mamba-3, from what comes
// before the gates. The block is that of the way forth, with the states at the
// beginning, which have nothing pending.
type rotaryBack struct {
	rotaryBlock
	dy                    tensor.Mat  // rank·heads·p wide
	dx                    tensor.Mat  // heads·p wide
	ddelta, drate, dtrap  tensor.Mat  // heads wide
	db, dc, dspeeds       tensor.Mat  // as b, c and angles
	initial               rotaryGrads // of which ssm is not a gradient but the state itself, or nil
	last, first           rotaryGrads // with respect to the states behind and in front; nil for zeros and for none
	dbBias, dcBias, dMimo tensor.Mat  // for each sequence: (heads, rank, n), (heads, rank, p)
	dd                    tensor.Mat  // for each sequence
	parts                 tensor.Mat  // what the bundles add to db, dc and dspeeds
}

// rotaryGrads are the parts of a state: (sequences, heads, p, n), (sequences, heads,
// rank, n), (sequences, heads, p) and (sequences, heads, angles).
type rotaryGrads struct{ ssm, keys, values, angles []float32 }

// bundles returns the number of bundles of the heads that have the same keys.
func (k *rotaryBack) bundles() int { return (k.heads/k.keyGroups + ssdBundle - 1) / ssdBundle }

// run computes the gradients.
func (k *rotaryBack) run(s *tensor.Scratch) {
	all, keys := k.keyGroups*k.bundles(), k.rank*k.n
	k.parts = takeMat(s, k.sequences*all*k.length, 2*keys+k.turning)
	k.dbBias, k.dcBias = takeMat(s, k.sequences, k.heads*keys), takeMat(s, k.sequences, k.heads*keys)
	k.dMimo, k.dd = takeMat(s, k.sequences, k.heads*k.rank*k.p), takeMat(s, k.sequences, k.heads)
	par.Do(k.sequences*all, 1, (*rotaryBundles)(k))
	eachRow(k.sequences*k.length, all*k.parts.Cols, func(i int) { k.sum(i, all) })
}

// sum adds up what the bundles add to row i.
func (k *rotaryBack) sum(i, all int) {
	sequence, t := i/k.length, i%k.length
	db, dc, dspeeds := k.db.Row(i), k.dc.Row(i), k.dspeeds.Row(i)
	shared := len(dspeeds) == k.turning
	clear(db)
	clear(dc)
	if shared {
		clear(dspeeds)
	}
	for bundle := range all {
		part := k.parts.Row((sequence*all+bundle)*k.length + t)
		for r := range k.rank {
			at := (r*k.keyGroups + bundle/k.bundles()) * k.n
			kernel.Add(db[at:at+k.n], db[at:at+k.n], part[r*k.n:(r+1)*k.n])
			kernel.Add(dc[at:at+k.n], dc[at:at+k.n], part[(k.rank+r)*k.n:(k.rank+r+1)*k.n])
		}
		if shared {
			kernel.Add(dspeeds, dspeeds, part[2*k.rank*k.n:])
		}
	}
}

// rotaryBundles computes the heads bundle by bundle.
type rotaryBundles rotaryBack

// Run computes bundles lo to hi-1, those of the first sequence first.
func (p *rotaryBundles) Run(lo, hi int) {
	k := (*rotaryBack)(p)
	s := tensor.GetScratch()
	h := rotaryHeadBack{rotaryBack: k}
	for i := lo; i < hi; i++ {
		parts := k.parts.SliceRows(i*k.length, (i+1)*k.length)
		for t := range k.length {
			clear(parts.Row(t))
		}
		sequence, bundle := i/(k.keyGroups*k.bundles()), i%(k.keyGroups*k.bundles())
		group, size := bundle/k.bundles(), k.heads/k.keyGroups
		from := bundle % k.bundles() * ssdBundle
		for head := from; head < min(from+ssdBundle, size); head++ {
			s.Reset()
			h.run(sequence, group*size+head, parts, s)
		}
	}
	tensor.PutScratch(s)
}

// A rotaryHeadBack takes single heads back. With γ = λΔ, the state without the last
// position and what it is read by is
//
//	S[t] = a[t]·S[t-1] + g[t]·Σ_r v[t-1][r] ⊗ k[t-1][r]     g[t] = (γ[t-1] + (1-λ[t])·Δ[t])·a[t]
//	y[t][r] = S[t]·q[t][r] + γ[t]·Σ_s (k[t][s]·q[t][r])·v[t][s] + D·v[t][r]
//
// of which the first is a decayedHead with the keys of the positions before.
type rotaryHeadBack struct {
	*rotaryBack
	forth rotaryHead
	grad  decayedGrad
	head  decayedHead

	logs, dlogs            []float64 // of a
	gains, dgains          []float64 // g
	dgamma, dstep, dlambda []float64
	dtheta                 []float64

	dkeys, dvalues tensor.Mat // of all positions, with the one before: (length+1)·rank rows
	dqueries       tensor.Mat
}

func (h *rotaryHeadBack) run(sequence, head int, parts tensor.Mat, s *tensor.Scratch) {
	l, rank := h.length, h.rank
	h.prepare(sequence, head, s)
	h.weigh()
	h.dkeys, h.dvalues = takeMat(s, (l+1)*rank, h.n), takeMat(s, (l+1)*rank, h.p)
	h.dqueries = takeMat(s, l*rank, h.n)
	for _, m := range []tensor.Mat{h.dkeys, h.dvalues, h.dqueries} {
		clear(m.Data)
	}
	dy := h.outputGrads(sequence, head, s)
	h.states(sequence, head, dy, s)
	h.ownBack(sequence, head, dy)
	h.lastBack(sequence, head)
	h.gainsBack()
	h.rotateBack(parts)
	h.stepsBack(sequence, head, parts)
	h.collect(sequence, head, parts, dy)
}

// prepare computes steps, keys, queries and values.
func (h *rotaryHeadBack) prepare(sequence, head int, s *tensor.Scratch) {
	h.forth = rotaryHeadFor(&h.rotaryBlock, max(h.length, 1), s)
	f := &h.forth
	f.sequence, f.head = sequence, head
	f.readSteps(0, h.length)
	theta := append([]float64(nil), f.angleState()...)
	f.rotate(0, h.length)
	copy(f.angleState(), theta) // the states are those at the beginning
	keys, values := f.last()
	copy(f.keys, keys)
	copy(f.values, values)
	f.loadValues(0, h.length)
	for i := range h.length {
		f.loadKeys(0, i)
	}
}

// weigh computes decays and gains.
func (h *rotaryHeadBack) weigh() {
	l, f := h.length, &h.forth
	if len(h.logs) < l {
		for _, v := range []*[]float64{&h.logs, &h.dlogs, &h.gains, &h.dgains, &h.dgamma, &h.dstep, &h.dlambda} {
			*v = make([]float64, l)
		}
	}
	var pending float64
	for t := range l {
		h.dgamma[t], h.dstep[t], h.dlambda[t] = 0, 0, 0
		step, lambda := float64(f.step[t]), float64(f.lambda[t])
		h.logs[t] = float64(f.rates[t])
		if h.deltaBias != nil {
			h.logs[t] = min(-h.logs[t], -h.floor) * step
		}
		h.gains[t] = (pending + (1-lambda)*step) * math.Exp(h.logs[t])
		pending = lambda * step
	}
}

func (h *rotaryHeadBack) gamma(t int) float64 {
	return float64(h.forth.lambda[t]) * float64(h.forth.step[t])
}

// outputGrads returns the gradients for y, a row for each position and rank.
func (h *rotaryHeadBack) outputGrads(sequence, head int, s *tensor.Scratch) tensor.Mat {
	dy := takeMat(s, h.length*h.rank, h.p)
	for i := range dy.Rows {
		row := h.dy.Row(sequence*h.length + i/h.rank)
		copy(dy.Row(i), row[(i%h.rank*h.heads+head)*h.p:])
	}
	return dy
}

// states takes dy back through the states.
func (h *rotaryHeadBack) states(sequence, head int, dy tensor.Mat, s *tensor.Scratch) {
	rows, f := h.length*h.rank, &h.forth
	v, dv := takeMat(s, rows, h.p), takeMat(s, rows, h.p)
	ranked := tensor.MatOf(f.ranked[:rows*h.p], rows, h.p)
	for i := range rows {
		kernel.Scale(v.Row(i), float32(h.gains[i/h.rank]), ranked.Row(i))
	}
	h.head = decayedHead{
		length: h.length, rank: h.rank, p: h.p, n: h.n, logs: h.logs, dlogs: h.dlogs,
		v: v, k: tensor.MatOf(f.keys[:rows*h.n], rows, h.n), q: tensor.MatOf(f.queries[:rows*h.n], rows, h.n), dy: dy,
		dv: dv, dk: h.dkeys.SliceRows(0, rows), dq: h.dqueries,
		initial: h.part(h.initial.ssm, sequence, head, h.p*h.n), dlast: h.part(h.last.ssm, sequence, head, h.p*h.n),
		dinitial: h.part(h.first.ssm, sequence, head, h.p*h.n),
	}
	h.grad.run(&h.head, s)
	for t := range h.length {
		h.dgains[t] = 0
		for i := t * h.rank; i < (t+1)*h.rank; i++ {
			h.dgains[t] += float64(kernel.Dot(dv.Row(i), ranked.Row(i)))
			kernel.Axpy(float32(h.gains[t]), dv.Row(i), h.dvalues.Row(i))
		}
	}
}

// part returns what belongs to a head in an array of size elements for each, or nil.
func (k *rotaryBack) part(v []float32, sequence, head, size int) []float32 {
	if v == nil {
		return nil
	}
	at := (sequence*k.heads + head) * size
	return v[at : at+size]
}

// ownBack takes dy back through what a position reads of itself.
func (h *rotaryHeadBack) ownBack(sequence, head int, dy tensor.Mat) {
	f := &h.forth
	var d float32
	if h.d != nil {
		d = h.d[head]
	}
	var dd float64
	for t := range h.length {
		gamma := float32(h.gamma(t))
		for r := range h.rank {
			out, query := dy.Row(t*h.rank+r), f.queries[(t*h.rank+r)*h.n:][:h.n]
			for s := range h.rank {
				i := (t+1)*h.rank + s
				key, value := f.keys[i*h.n:(i+1)*h.n], f.ranked[i*h.p:(i+1)*h.p]
				score, through := kernel.Dot(key, query), kernel.Dot(out, value)
				h.dgamma[t] += float64(score * through)
				kernel.Axpy(gamma*through, query, h.dkeys.Row(i))
				kernel.Axpy(gamma*through, key, h.dqueries.Row(t*h.rank+r))
				weight := gamma * score
				if s == r {
					weight += d
					dd += float64(through)
				}
				kernel.Axpy(weight, out, h.dvalues.Row(i))
			}
		}
	}
	h.dd.Row(sequence)[head] = float32(dd)
}

// lastBack adds what comes from the state behind the last position, which has that
// position in it.
func (h *rotaryHeadBack) lastBack(sequence, head int) {
	t, f := h.length-1, &h.forth
	if ds := h.part(h.last.ssm, sequence, head, h.p*h.n); ds != nil && t >= 0 {
		gamma, row := float32(h.gamma(t)), make([]float32, h.p)
		for i := h.length * h.rank; i < (h.length+1)*h.rank; i++ {
			key, value := f.keys[i*h.n:(i+1)*h.n], f.ranked[i*h.p:(i+1)*h.p]
			kernel.RowDots(row, ds, h.n, key, h.p, false)
			h.dgamma[t] += float64(kernel.Dot(row, value))
			kernel.Axpy(gamma, row, h.dvalues.Row(i))
			for c, v := range value {
				kernel.Axpy(gamma*v, ds[c*h.n:(c+1)*h.n], h.dkeys.Row(i))
			}
		}
	}
	if dk := h.part(h.last.keys, sequence, head, h.rank*h.n); dk != nil {
		for r := range h.rank {
			row := h.dkeys.Row(h.length*h.rank + r)
			kernel.Add(row, row, dk[r*h.n:(r+1)*h.n])
		}
	}
}

// gainsBack takes the gradients of gains back to steps, λ and decays.
func (h *rotaryHeadBack) gainsBack() {
	for t := h.length - 1; t >= 0; t-- {
		step, lambda, a := float64(h.forth.step[t]), float64(h.forth.lambda[t]), math.Exp(h.logs[t])
		d := h.dgains[t] * a
		if t > 0 {
			h.dgamma[t-1] += d
		}
		h.dlogs[t] += h.dgains[t] * h.gains[t]
		h.dstep[t] += (1-lambda)*d + lambda*h.dgamma[t]
		h.dlambda[t] += step * (h.dgamma[t] - d)
	}
}

// rotateBack turns the gradients of keys and queries back and computes those of the
// angles, which go on to all angles before.
func (h *rotaryHeadBack) rotateBack(parts tensor.Mat) {
	f, size := &h.forth, h.table()
	h.dtheta = append(h.dtheta[:0], make([]float64, h.turning)...)
	if a := h.part(h.last.angles, f.sequence, f.head, h.turning); a != nil {
		for j, v := range a {
			h.dtheta[j] = float64(v)
		}
	}
	row := f.sequence * h.length
	for t := h.length - 1; t >= 0; t-- {
		cos, sin := f.cos[t*size:(t+1)*size], f.sin[t*size:(t+1)*size]
		for r := range h.rank {
			i := (t+1)*h.rank + r
			h.turnBack(h.dkeys.Row(i), f.keys[i*h.n:(i+1)*h.n], cos, sin)
			i -= h.rank
			h.turnBack(h.dqueries.Row(i), f.queries[i*h.n:(i+1)*h.n], cos, sin)
		}
		speeds, dspeeds := h.angles.Row(row+t), parts.Row(t)[2*h.rank*h.n:]
		own := len(speeds) > h.turning
		if own {
			speeds, dspeeds = speeds[f.head*h.turning:], h.dspeeds.Row(row + t)[f.head*h.turning:]
		}
		step := float64(f.step[t])
		for j, d := range h.dtheta {
			h.dstep[t] += float64(speeds[j]) * d
			if own {
				dspeeds[j] = float32(step * d)
			} else {
				dspeeds[j] += float32(step * d)
			}
		}
	}
	if a := h.part(h.first.angles, f.sequence, f.head, h.turning); a != nil {
		for j, d := range h.dtheta {
			a[j] = float32(d)
		}
	}
}

// turnBack makes d, the gradient of the turned x, that of x before, and adds to that of
// the angles.
func (h *rotaryHeadBack) turnBack(d, x, cos, sin []float32) {
	for j := range h.dtheta {
		a, b, at := 2*j, 2*j+1, 2*j+1
		if h.halves {
			a, b, at = j, j+h.n/2, j
		}
		c, s := cos[at], sin[at]
		h.dtheta[j] += float64(x[a])*float64(d[b]) - float64(x[b])*float64(d[a])
		d[a], d[b] = c*d[a]+s*d[b], c*d[b]-s*d[a]
	}
}

// stepsBack writes the gradients of what steps, decays and λ are made of.
func (h *rotaryHeadBack) stepsBack(sequence, head int, parts tensor.Mat) {
	for t := range h.length {
		row, f := sequence*h.length+t, &h.forth
		lambda := float64(f.lambda[t])
		h.dtrap.Row(row)[head] = float32(h.dlambda[t] * lambda * (1 - lambda))
		if h.deltaBias == nil {
			h.drate.Row(row)[head], h.ddelta.Row(row)[head] = float32(h.dlogs[t]), float32(h.dstep[t])
			continue
		}
		rate, step := float64(f.rates[t]), float64(f.step[t])
		dstep := h.dstep[t] + min(-rate, -h.floor)*h.dlogs[t]
		var drate float64
		if rate >= h.floor {
			drate = -step * h.dlogs[t] * h.act.slope(float64(h.rate.Row(row)[head]))
		}
		raw := float64(h.delta.Row(row)[head]) + float64(h.deltaBias[head])
		h.drate.Row(row)[head], h.ddelta.Row(row)[head] = float32(drate), float32(dstep/(1+math.Exp(-raw)))
	}
}

// slope returns the derivative of an activation.
func (a RateActivation) slope(x float64) float64 {
	switch {
	case a == SoftplusRate:
		return 1 / (1 + math.Exp(-x))
	case x < 0:
		return 1 / ((1 - x) * (1 - x))
	}
	return 1
}

// collect writes and adds up the gradients of values, keys and queries.
func (h *rotaryHeadBack) collect(sequence, head int, parts, dy tensor.Mat) {
	size := h.rank * h.n
	dbBias, dcBias := h.dbBias.Row(sequence)[head*size:(head+1)*size], h.dcBias.Row(sequence)[head*size:(head+1)*size]
	clear(dbBias)
	clear(dcBias)
	for t := range h.length {
		dk, dq := h.dkeys.Data[(t+1)*size:(t+2)*size], h.dqueries.Data[t*size:(t+1)*size]
		kernel.Add(dbBias, dbBias, dk)
		kernel.Add(dcBias, dcBias, dq)
		part := parts.Row(t)
		kernel.Add(part[:size], part[:size], dk)
		kernel.Add(part[size:2*size], part[size:2*size], dq)
	}
	if dk := h.part(h.first.keys, sequence, head, size); dk != nil {
		copy(dk, h.dkeys.Data[:size])
	}
	dmimo := h.dMimo.Row(sequence)[head*h.rank*h.p : (head+1)*h.rank*h.p]
	clear(dmimo)
	for t := range h.length + 1 {
		h.valueGrad(h.valueGradAt(sequence, head, t), dmimo, t)
	}
	if dv := h.part(h.last.values, sequence, head, h.p); dv != nil {
		dx := h.valueGradAt(sequence, head, h.length)
		kernel.Add(dx, dx, dv)
	}
}

// valueGradAt returns where the gradient of the value in front of position t goes.
func (h *rotaryHeadBack) valueGradAt(sequence, head, t int) []float32 {
	if t > 0 {
		return h.dx.Row(sequence*h.length + t - 1)[head*h.p : (head+1)*h.p]
	}
	if dx := h.part(h.first.values, sequence, head, h.p); dx != nil {
		return dx
	}
	return h.forth.gate[:h.p] // nobody wants it
}

// valueGrad writes the gradient of the value in front of position t to dx and adds that
// of mimoX to dmimo.
func (h *rotaryHeadBack) valueGrad(dx, dmimo []float32, t int) {
	d := h.dvalues.Data[t*h.rank*h.p : (t+1)*h.rank*h.p]
	if h.mimoX == nil {
		copy(dx, d)
		return
	}
	clear(dx)
	kernel.MulAdd(dmimo, d, repeated(h.forth.values[t*h.p:(t+1)*h.p], h.rank, h.forth.v))
	for r := range h.rank {
		kernel.MulAdd(dx, d[r*h.p:(r+1)*h.p], h.forth.of(h.mimoX, r))
	}
}

// repeated writes x to buf as often as said, and returns that.
func repeated(x []float32, times int, buf []float32) []float32 {
	for i := range times {
		copy(buf[i*len(x):], x)
	}
	return buf[:times*len(x)]
}
