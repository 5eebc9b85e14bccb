package ssm

import (
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/tensor"
)

// A Scan holds what [SelectiveScan] needs beside its input: the operation between the
// projections of [Mamba], for mixers with projections of their own. E is the number of
// channels, N that of states of each channel; only A, Delta, B and C have to be given.
//
// With A of shape (E, N, 2), A, B, C and State are complex, in pairs of real and
// imaginary part, and the output is twice the real part of the sum. This is the form
// for conjugate pairs of states of which one is kept.
type Scan struct {
	// A is the diagonal of A, of shape (E, N): the rates themselves, not their
	// logarithms. Rates below zero decay.
	A *tensor.Tensor

	// Delta is the step size, E wide. DeltaBias, of shape (E), is added to it, and
	// then, if Softplus is set, its softplus taken: log(1+exp(x)), and x above 20.
	Delta     tensor.Seq
	DeltaBias *tensor.Tensor
	Softplus  bool

	// B and C are G·N wide, or G·2N wide if complex, G being the number of groups of
	// channels: channel e uses group e/(E/G), of B and of C. The groups of B and those of C may
	// differ.
	B, C tensor.Seq

	// ConstB and ConstC, of the shape of A, take the place of B and C where these do
	// not depend on the position.
	ConstB, ConstC *tensor.Tensor

	// D, of shape (E), is how much of the input passes by the states. It may be nil.
	D *tensor.Tensor

	// Z, E wide, is the gate: the output is multiplied by SiLU(Z). The zero Seq
	// stands for none.
	Z tensor.Seq

	// State holds h before the first position and, afterwards, h after the last. Its
	// shape is (batch, E, N), or (batch, E, N, 2) if complex. Without one (nil), h
	// begins with zeros.
	State *tensor.Tensor
}

// SelectiveScan computes, for each sequence, channel e and position t,
//
//	h[n]   = exp(Δ[t]·A[e][n])·h[n] + Δ[t]·B[t][n]·src[t]
//	dst[t] = (Σ_n C[t][n]·h[n] + D[e]·src[t]) · SiLU(z[t])
//
// or, if A is complex, with 2·Re Σ_n C[t][n]·h[n] for the sum. It is selective_scan_ref
// of state-spaces/mamba, which has the length as the last dimension where sequences
// here have the channels.
//
// dst and src are E wide; dst may be src, and must not overlap anything else. It
// panics with a *tensor.ShapeError if shapes do not fit. Long sequences are computed
// in blocks: no more than a fixed number of Δ is in memory at a time.
func SelectiveScan(dst, src tensor.Seq, s Scan) {
	const op = "ssm.SelectiveScan"
	sizes := s.sizes(op, src)
	tensor.CheckMix(op, dst, src, sizes.e)
	s.check(op, src, &sizes)
	r := scanRuns.Get().(*scanRun)
	r.dst, r.src, r.Scan, r.scanSizes = dst, src, s, sizes
	r.run()
	*r = scanRun{scratch: r.scratch, tables: r.tables}
	scanRuns.Put(r)
}

// scanSizes are the dimensions of a scan.
type scanSizes struct {
	e, n    int
	complex int // 2 if complex, else 1
	bGroups int
	cGroups int
}

// sizes returns what A says about the dimensions.
func (s *Scan) sizes(op string, src tensor.Seq) scanSizes {
	if s.A == nil {
		panic(op + ": no A")
	}
	a := s.A.Shape()
	real, pairs := len(a) == 2, len(a) == 3 && a[2] == 2
	if !real && !pairs || a[0] < 1 || a[1] < 1 {
		panic(&tensor.ShapeError{Op: op, Got: a, Want: []int{src.Dim, 1}})
	}
	z := scanSizes{e: a[0], n: a[1], complex: 1, bGroups: 1, cGroups: 1}
	if pairs {
		z.complex = 2
	}
	return z
}

// check panics unless all shapes fit A and src.
func (s *Scan) check(op string, src tensor.Seq, z *scanSizes) {
	a := s.A.Shape()
	tensor.CheckSeq(op, s.Delta, src.Batch, src.Len, z.e)
	if s.hasGate() {
		tensor.CheckSeq(op, s.Z, src.Batch, src.Len, z.e)
	}
	checkShape(op, s.DeltaBias, z.e)
	checkShape(op, s.D, z.e)
	checkShape(op, s.ConstB, a...)
	checkShape(op, s.ConstC, a...)
	checkShape(op, s.State, append([]int{src.Batch}, a...)...)
	if s.ConstB == nil {
		z.bGroups = z.groups(op, s.B, src)
	}
	if s.ConstC == nil {
		z.cGroups = z.groups(op, s.C, src)
	}
}

// hasGate reports whether Z is more than the zero Seq.
func (s *Scan) hasGate() bool { return s.Z.Batch != 0 || s.Z.Len != 0 || s.Z.Dim != 0 }

// groups returns the number of groups of B or C.
func (z *scanSizes) groups(op string, s, src tensor.Seq) int {
	width := z.n * z.complex
	tensor.CheckSeq(op, s, src.Batch, src.Len, -1)
	groups := s.Dim / width
	if groups < 1 || s.Dim%width != 0 || z.e%groups != 0 {
		panic(&tensor.ShapeError{Op: op, Got: []int{s.Batch, s.Len, s.Dim}, Want: []int{src.Batch, src.Len, width}})
	}
	return groups
}

// scanRun is one call of SelectiveScan.
type scanRun struct {
	Scan
	scanSizes
	dst, src tensor.Seq
	scratch  tensor.Scratch
	tables   scanTables
	groups   int // of real scans: the least common multiple of those of B and C

	t, length int // the block of positions
	delta     tensor.Seq
	b, c      tensor.Seq
}

// scanTables are in channel blocks, see kernel.ScanLen.
type scanTables struct {
	rates, b, c, states []float32
}

var scanRuns = sync.Pool{New: func() any { return new(scanRun) }}

func (r *scanRun) run() {
	if r.src.Batch == 0 {
		return
	}
	r.begin()
	r.length = min(blockPositions, max(r.src.Len, 1))
	for r.t = 0; r.t < r.src.Len; r.t += r.length {
		r.block(min(r.length, r.src.Len-r.t))
	}
	r.copyStates(false)
}

// begin prepares the tables. Those of complex scans are in row-major order.
func (r *scanRun) begin() {
	t := &r.tables
	t.states = resize(t.states, r.src.Batch*r.stateLen())
	clear(t.states)
	r.copyStates(true)
	if r.complex == 2 {
		return
	}
	t.rates = resize(t.rates, r.stateLen())
	kernel.PackScanA(t.rates, r.A.Float32s(), r.e, r.n)
	if r.ConstB != nil {
		t.b = resize(t.b, r.stateLen())
		kernel.PackState(t.b, r.ConstB.Float32s(), r.e, r.n)
	}
	if r.ConstC != nil {
		t.c = resize(t.c, r.stateLen())
		kernel.PackState(t.c, r.ConstC.Float32s(), r.e, r.n)
	}
}

// stateLen returns the number of elements of the state of a sequence in tables.
func (r *scanRun) stateLen() int {
	if r.complex == 2 {
		return 2 * r.e * r.n
	}
	return kernel.ScanLen(r.e, r.n)
}

// copyStates copies between State, if there is one, and tables.
func (r *scanRun) copyStates(toTables bool) {
	if r.State == nil {
		return
	}
	n, size := r.e*r.n*r.complex, r.stateLen()
	for b := range r.src.Batch {
		rows, states := r.State.Data()[b*n:(b+1)*n], r.tables.states[b*size:(b+1)*size]
		switch {
		case r.complex == 2 && toTables:
			copy(states, rows)
		case r.complex == 2:
			copy(rows, states)
		case toTables:
			kernel.PackState(states, rows, r.e, r.n)
		default:
			kernel.UnpackState(rows, states, r.e, r.n)
		}
	}
}

// block computes n positions from t on.
func (r *scanRun) block(n int) {
	r.scratch.Reset()
	r.delta = r.scratch.TakeSeq(r.src.Batch, n, r.e)
	r.groups = leastCommonMultiple(r.bGroups, r.cGroups)
	r.b, r.c = tensor.Seq{}, tensor.Seq{}
	if r.ConstB == nil {
		r.b = r.spread(r.B.Slice(r.t, r.t+n), r.bGroups)
	}
	if r.ConstC == nil {
		r.c = r.spread(r.C.Slice(r.t, r.t+n), r.cGroups)
	}
	par.Do(r.src.Batch*r.strips(), scanGrain/(n*stripWidth)+1, r)
}

func leastCommonMultiple(a, b int) int {
	m := a
	for m%b != 0 {
		m += a
	}
	return m
}

// spread repeats groups so that there are as many of B as of C. A real scan reads
// both in the same way.
func (r *scanRun) spread(s tensor.Seq, groups int) tensor.Seq {
	if groups == r.groups || r.complex == 2 {
		return s
	}
	times := r.groups / groups
	wide := r.scratch.TakeSeq(s.Batch, s.Len, s.Dim*times)
	for b := range s.Batch {
		for t := range s.Len {
			to := wide.At(b, t)
			for g := range r.groups {
				copy(to[g*r.n:(g+1)*r.n], s.At(b, t)[g/times*r.n:])
			}
		}
	}
	return wide
}

func (r *scanRun) strips() int { return (r.e + stripWidth - 1) / stripWidth }

// Run computes strips lo to hi-1 of the block, those of sequence 0 first.
func (r *scanRun) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		b, from := i/r.strips(), i%r.strips()*stripWidth
		to := min(from+stripWidth, r.e)
		r.steps(b, from, to)
		if r.complex == 2 {
			r.scanComplex(b, from, to)
		} else {
			r.scanReal(b, from, to)
		}
	}
}

// steps computes Δ of some channels.
func (r *scanRun) steps(b, from, to int) {
	bias := paramlist.Data(r.DeltaBias)
	for t := range r.delta.Len {
		delta := r.delta.At(b, t)[from:to]
		copy(delta, r.Delta.At(b, r.t+t)[from:to])
		if bias != nil {
			kernel.Add(delta, delta, bias[from:to])
		}
		if r.Softplus {
			kernel.Softplus(delta, delta)
		}
	}
}

func (r *scanRun) scanReal(b, from, to int) {
	size := kernel.ScanLen(r.e, r.n)
	dst, src := r.dst.Slice(r.t, r.t+r.delta.Len).Sequence(b), r.src.Slice(r.t, r.t+r.delta.Len).Sequence(b)
	s := kernel.Scan{
		L: src.Len, E: r.e, N: r.n, Groups: r.groups,
		Y: dst.Data, LdY: r.e, U: src.Data, LdU: r.e,
		Delta: r.delta.Sequence(b).Data, LdDelta: r.e,
		A: r.tables.rates, D: paramlist.Data(r.D),
		State: r.tables.states[b*size : (b+1)*size],
	}
	if r.ConstB != nil {
		s.B, s.BConst = r.tables.b, true
	} else {
		s.B, s.LdB = r.b.Sequence(b).Data, r.b.Dim
	}
	if r.ConstC != nil {
		s.C, s.CConst = r.tables.c, true
	} else {
		s.C, s.LdC = r.c.Sequence(b).Data, r.c.Dim
	}
	if r.hasGate() {
		s.Z, s.LdZ = r.Z.Slice(r.t, r.t+r.delta.Len).Sequence(b).Data, r.e
	}
	kernel.SelectiveScan(&s, from/kernel.ScanBlock, (to+kernel.ScanBlock-1)/kernel.ScanBlock)
}
