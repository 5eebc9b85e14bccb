package based

import (
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

const (
	// blockLen is the number of positions whose features are in memory at a time.
	blockLen = 64

	// stripRows is how many queries meet the keys of a chunk at a time. It is the height
	// of the tiles of matrix products; the smaller, the less is computed for keys that a
	// query does not see.
	stripRows = 12
)

// run is one call of attend.
type run struct {
	dst, q, k, v tensor.Seq
	first        int // the sequence of the state that is sequence 0 of dst
	at           cursor
	scratch      tensor.Scratch

	// inverse, if it is not nothing, becomes the inverses of the sums of weights of all
	// heads.
	inverse tensor.Seq
	begin   int // the position that they begin at
}

// attend computes some positions of sequence first of s and those after it, as many as
// dst has, all of which are at c. q and k are scaled if the map is Taylor, and have
// some elements behind them, see State.take. dst may be v.
func (s *State) attend(dst, q, k, v tensor.Seq, first int, c cursor) {
	s.run.set(dst, q, k, v, first, c)
	par.Do(dst.Batch*s.attention.Heads, s.grain(q.Len), (*attendTask)(s))
	s.run.forget()
}

func (r *run) set(dst, q, k, v tensor.Seq, first int, c cursor) {
	r.dst, r.q, r.k, r.v, r.first, r.at = dst, q, k, v, first, c
}

// forget lets go of memory that is not the state's.
func (r *run) forget() { r.set(tensor.Seq{}, tensor.Seq{}, tensor.Seq{}, tensor.Seq{}, 0, cursor{}) }

// grain returns the number of heads that one core takes at the least, for n positions.
func (s *State) grain(n int) int { return attendGrain/(n*s.features*s.d+1) + 1 }

// attendGrain is the number of multiply-adds from which it is worth splitting: some
// microseconds on one core.
const attendGrain = 1 << 18

type attendTask State

// Run computes heads lo to hi-1, counted through the batch.
func (t *attendTask) Run(lo, hi int) {
	s := (*State)(t)
	w := workers.Get().(*worker)
	for i := lo; i < hi; i++ {
		w.unit(s, i/s.attention.Heads, i%s.attention.Heads)
	}
	workers.Put(w)
}

// worker is the temporary memory of one core.
type worker struct {
	phi, columns []float32 // features of queries as rows, of keys as columns
	scores       []float32 // of a strip
	sums, den    []float32 // of weights
	out          []float32
	ld           int // distance between rows of phi
}

var workers = sync.Pool{New: func() any { return new(worker) }}

// ones are what rows are multiplied by to add them up.
var ones = func() (v [quadraticLen]float32) {
	for i := range v {
		v[i] = 1
	}
	return v
}()

// unit computes a head of sequence b of the run.
func (w *worker) unit(s *State, b, head int) {
	r := &s.run
	u := (r.first+b)*s.attention.Heads + head
	at := r.at
	for i := 0; i < r.q.Len; {
		if at.kept == s.limit(at) {
			w.flush(s, u, at.kept)
			at.kept, at.summed = 0, true
		}
		n := min(r.q.Len-i, s.limit(at)-at.kept, blockLen)
		w.block(s, u, head, at, rowsFrom(r.dst, b, i, n, head, s.d), rowsFrom(r.q, b, i, n, head, s.f),
			rowsFrom(r.k, b, i, n, head, s.f), rowsFrom(r.v, b, i, n, head, s.d))
		if r.inverse.Data != nil {
			for t, inverse := range w.sums[:n] {
				r.inverse.At(b, at.position-r.begin+t)[head] = inverse
			}
		}
		i += n
		at.kept += n
		at.position += n
	}
}

// rowsFrom returns the columns of a head at n positions of sequence b, from the i-th
// on.
func rowsFrom(s tensor.Seq, b, i, n, head, width int) tensor.Mat {
	from := b*s.Stride + i*s.Dim + head*width
	return tensor.Mat{Data: s.Data[from:], Rows: n, Cols: width, Stride: s.Dim}
}

// block computes some positions of a chunk: what is in the sums first, and then, with
// the keys and values of the chunk up to them.
func (w *worker) block(s *State, u, head int, at cursor, dst, q, k, v tensor.Mat) {
	n, ldo := q.Rows, roundUp(s.d, panel)
	w.out = resize(w.out, n*ldo)
	w.den = resize(w.den, n)
	w.sums = resize(w.sums, n)
	w.keepKeys(s, u, at, k)
	keepValues(part(s.values, u, s.valueLen()), s.room, at.kept, v)
	if at.summed || !s.taylor {
		w.queryFeatures(s, at, q)
	}
	if at.summed {
		kernel.Gemm(w.out, ldo, w.phi, w.ld, part(s.sums, u, s.sumLen()), n, ldo, s.features, false)
		kernel.RowDots(w.den, w.phi, w.ld, part(s.norms, u, s.normLen())[:s.features], n, false)
	} else {
		clear(w.den)
	}
	strips := (n + stripRows - 1) / stripRows // of about the same height
	for i := range strips {
		w.strip(s, u, at, q, i*n/strips, (i+1)*n/strips)
	}
	for i, sum := range w.sums {
		w.sums[i] = 1 / (w.den[i] + sum + s.attention.Eps)
	}
	factors := w.sums
	if s.attention.Unnormalized {
		factors = ones[:n]
	}
	kernel.ScaleRows(dst.Data, dst.Stride, w.out, ldo, factors, s.d)
}

// keepKeys puts keys, or their features, into panels.
func (w *worker) keepKeys(s *State, u int, at cursor, k tensor.Mat) {
	if !s.taylor {
		w.columns = resize(w.columns, k.Rows*s.features)
		for i := range k.Rows {
			s.attention.Map.Map(w.columns[i*s.features:(i+1)*s.features], k.Row(i), at.position+i)
		}
		k = tensor.MatOf(w.columns, k.Rows, s.features)
	}
	keys := part(s.keys, u, s.keyLen())
	for i := 0; i < k.Rows; {
		slot := (at.kept + i) % panel
		n := min(k.Rows-i, panel-slot)
		kernel.PackKeys(keys[(at.kept+i-slot)*s.keyWidth:], k.Data[i*k.Stride:], k.Stride, slot, n, s.keyWidth)
		i += n
	}
}

// keepValues puts values into panels, from slot first on.
func keepValues(values []float32, room, first int, v tensor.Mat) {
	for j := 0; j < v.Cols; j += panel {
		kernel.ScaleRows(values[(j/panel*room+first)*panel:], panel, v.Data[j:], v.Stride, ones[:v.Rows], min(panel, v.Cols-j))
	}
}

// queryFeatures makes the features of queries.
func (w *worker) queryFeatures(s *State, at cursor, q tensor.Mat) {
	if s.taylor {
		w.ld = kernel.TaylorStride(s.f)
		w.phi = resize(w.phi, q.Rows*w.ld)
		wide := q.Data[:(q.Rows-1)*q.Stride+kernel.TaylorWidth(s.f)] // into what is behind
		kernel.TaylorRows(w.phi, w.ld, wide, q.Stride, q.Rows, s.f)
		return
	}
	w.ld = s.features
	w.phi = resize(w.phi, q.Rows*w.ld)
	for i := range q.Rows {
		s.attention.Map.Map(w.phi[i*w.ld:(i+1)*w.ld], q.Row(i), at.position+i)
	}
}

// strip adds the keys and values of the chunk to rows i0 to i1-1 of a block.
func (w *worker) strip(s *State, u int, at cursor, q tensor.Mat, i0, i1 int) {
	rows, seen := i1-i0, at.kept+i1
	ld, ldo := roundUp(seen, panel), roundUp(s.d, panel)
	w.scores = resize(w.scores, stripRows*s.room)
	a, lda := q.Data[i0*q.Stride:], q.Stride
	if !s.taylor {
		a, lda = w.phi[i0*w.ld:], w.ld
	}
	kernel.Gemm(w.scores, ld, a, lda, part(s.keys, u, s.keyLen()), rows, ld, s.keyWidth, false)
	if s.taylor {
		kernel.TaylorWeights(w.scores, ld, w.sums[i0:], rows, kernel.TaylorWidth(seen), at.kept+i0)
	} else {
		w.linearWeights(ld, i0, rows, seen, at.kept+i0)
	}
	values := part(s.values, u, s.valueLen())
	for j := 0; j < ldo; j += panel {
		v, all := values[j*s.room:], at.kept+i0+1 // the keys that all rows see
		if kernel.AllFinite(v[all*panel : seen*panel]) {
			kernel.Gemm(w.out[i0*ldo+j:], ldo, w.scores, ld, v, rows, panel, seen, at.summed)
			continue
		}
		for r := range rows { // what a row does not see has the weight 0, of which NaN would remain
			kernel.Gemm(w.out[(i0+r)*ldo+j:], ldo, w.scores[r*ld:], ld, v, 1, panel, all+r, at.summed)
		}
	}
}

// linearWeights hides the keys that a row does not see: in row r, those after the
// first first+r+1.
func (w *worker) linearWeights(ld, i0, rows, seen, first int) {
	for r := range rows {
		clear(w.scores[r*ld+first+r+1 : r*ld+seen])
	}
	kernel.RowDots(w.sums[i0:], w.scores, ld, ones[:seen], rows, false)
}

// flush adds the first n keys and values that are kept to the sums.
func (w *worker) flush(s *State, u, n int) {
	keys, values := part(s.keys, u, s.keyLen()), part(s.values, u, s.valueLen())
	sums, norm := part(s.sums, u, s.sumLen()), part(s.norms, u, s.normLen())
	step := panel // the features of a panel of keys are columns already
	if s.taylor {
		step = chunkLen
		w.columns = resize(w.columns, s.features*chunkLen)
	}
	for i := 0; i < n; i += step {
		m := min(step, n-i)
		columns := keys[i*s.keyWidth:]
		if s.taylor {
			columns = w.columns
			for p := 0; p < m; p += panel {
				kernel.TaylorColumns(columns[p:], step, keys[(i+p)*s.f:], s.f)
			}
		}
		for j := 0; j < s.d; j += panel {
			kernel.Gemm(sums[j*s.features:], panel, columns, step, values[j*s.room+i*panel:], s.features, panel, m, true)
		}
		kernel.RowDots(norm, columns, step, ones[:m], s.features, true)
	}
}
