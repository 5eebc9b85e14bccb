package attention

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/rowmat"
	"github.com/seqmix/seqmix/tensor"
)

const (
	// Sequences are computed in blocks of about so many positions of all of them
	// together, but at least so many of each: enough for the products to be efficient,
	// few enough for what lies between them to stay in the cache.
	blockRows      = 1024
	blockPositions = tileRows
)

// A MultiHeadStream is a [MultiHead] in the middle of a batch of sequences.
//
// It holds the keys, rotated, and the values of the positions that later ones can see,
// in blocks of up to 128 positions. With a window these are used again in turn, and
// memory does not grow. Without, one more block is allocated whenever the last is full,
// and nothing that is there already is moved; see [MultiHeadStream.Reserve]. Clones
// share full blocks.
//
// The result is the same to the bit however a sequence is cut.
type MultiHeadStream struct {
	mixer *MultiHead
	batch int
	pos   int // positions so far
	cache cache
	conv  seqmix.Stream // nil for none

	scratch tensor.Scratch
	store   store
	attend  attend
	heads   headNorm
	turn    rotation
}

// begin makes s a stream at the beginning of its sequences, using its memory again.
func (s *MultiHeadStream) begin(m *MultiHead, batch int) {
	c := m.cfg
	s.mixer, s.batch, s.pos = m, batch, 0
	s.cache.begin(c.KVHeads, c.HeadDim, blockLenFor(c.mask().left), batch)
	if m.conv != nil {
		s.conv, _ = m.conv.NewStream(batch) // which only fails without sequences
	}
	a := &s.attend
	a.mask, a.cache = c.mask(), &s.cache
	a.heads, a.scale, a.softcap, a.slopes = c.Heads, c.Scale, c.Softcap, c.Slopes
}

// giveBack puts s into the pool. It must not refer to what it has read.
func (s *MultiHeadStream) giveBack() {
	s.forget()
	s.mixer, s.conv, s.attend.slopes = nil, nil, nil
	multiHeadStreams.Put(s)
}

// forget lets go of the memory of the last call.
func (s *MultiHeadStream) forget() {
	s.store.keys, s.store.values = rows{}, rows{}
	s.attend.q, s.attend.out = rows{}, rows{}
}

// Reset returns to the beginning of the sequences. The memory is kept.
func (s *MultiHeadStream) Reset() {
	s.cache.reset()
	s.pos = 0
	if s.conv != nil {
		s.conv.Reset()
	}
}

// Len returns the number of positions that were computed since the beginning.
func (s *MultiHeadStream) Len() int { return s.pos }

// Reserve allocates memory for so many positions altogether, so that Mix does not have
// to until these are reached. With a window it does nothing: a stream needs no more
// memory than it has after the first calls.
func (s *MultiHeadStream) Reserve(positions int) {
	if s.attend.mask.left >= 0 {
		return
	}
	s.cache.reserve(positions)
	if s.attend.slopes != nil {
		s.attend.ramp.grow(positions + 2*s.cache.blockLen)
	}
}

// Clone returns an independent stream in the same state. Both share the memory of the
// past, all but the last block.
func (s *MultiHeadStream) Clone() seqmix.Stream {
	c := new(MultiHeadStream)
	c.begin(s.mixer, s.batch)
	c.pos, c.cache = s.pos, s.cache.clone(s.pos)
	if s.conv != nil {
		c.conv = s.conv.Clone()
	}
	return c
}

// Mix computes the next positions.
func (s *MultiHeadStream) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("attention.MultiHeadStream.Mix", dst, src, s.mixer.Dim())
	tensor.CheckSeq("attention.MultiHeadStream.Mix", src, s.batch, -1, -1)
	s.run(dst, src)
	s.forget()
}

// MixLast attends from the last position alone, see [seqmix.MixLast].
func (s *MultiHeadStream) MixLast(dst, src tensor.Seq) {
	tensor.CheckSeq("attention.MultiHeadStream.MixLast", src, s.batch, -1, s.mixer.Dim())
	s.run(dst, src)
	s.forget()
}

// run computes the next positions, block by block, or all of them, but only the last output,
// if dst has but one position. If positions see later ones, src is
// all there is, and one block.
func (s *MultiHeadStream) run(dst, src tensor.Seq) {
	length := max(blockRows/s.batch, blockPositions)
	if s.mixer.cfg.Right != 0 {
		length = max(src.Len, 1)
	}
	for t := 0; t < src.Len; t += length {
		end := min(t+length, src.Len)
		out := dst
		if dst.Len == src.Len {
			out = dst.Slice(t, end)
		}
		s.block(out, src.Slice(t, end))
	}
}

// block computes one block.
func (s *MultiHeadStream) block(dst, src tensor.Seq) {
	c := s.mixer.cfg
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	s.scratch.Reset()
	n, skipped := src.Batch*src.Len, src.Len-dst.Len // positions without a query
	h := tensor.MatOf(s.scratch.Take(n*(q+2*kv)), n, q+2*kv)
	s.project(h, src, skipped)

	at := func(position, column int) rows {
		return rows{data: h.Data[position*h.Stride+column:], sequence: src.Len * h.Stride, position: h.Stride}
	}
	s.position(at(0, 0), src.Len)
	first := s.pos
	s.pos += src.Len
	if left := s.attend.mask.left; left >= 0 {
		s.cache.keep(max(0, first-left), s.pos)
	} else {
		s.cache.keep(0, s.pos)
	}
	s.store = store{cache: &s.cache, keys: at(0, q), values: at(0, q+kv), first: first, n: src.Len}
	s.store.run()
	a := &s.attend
	a.q, a.out = at(skipped, 0), at(skipped, 0)
	a.first, a.n, a.keys = first+skipped, dst.Len, s.pos
	a.run()
	eachMat(dst, queryRows(h, src.Len, skipped).Slice(0, q), func(y, h tensor.Mat) { s.mixer.linear.out.ApplyMat(y, h) })
	s.scratch.Release()
}

// queryRows returns the rows of h that have a query: all, or the last of each length rows.
func queryRows(h tensor.Mat, length, skipped int) tensor.Mat {
	if skipped > 0 {
		return rowmat.Last(h, length)
	}
	return h
}

// project computes queries, keys and values side by side, and a convolution of them. The
// queries of the first positions can be left out, if they have a matrix for themselves.
func (s *MultiHeadStream) project(h tensor.Mat, src tensor.Seq, skipped int) {
	c, p := s.mixer.cfg, s.mixer.linear
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	if p.k == nil {
		eachMat(src, h, func(x, h tensor.Mat) { p.q.ApplyMat(h, x) })
	} else {
		if s.conv != nil {
			skipped = 0
		}
		eachMat(src.Slice(skipped, src.Len), queryRows(h, src.Len, skipped), func(x, h tensor.Mat) { p.q.ApplyMat(h.Slice(0, q), x) })
		eachMat(src, h, func(x, h tensor.Mat) {
			p.k.ApplyMat(h.Slice(q, q+kv), x)
			p.v.ApplyMat(h.Slice(q+kv, q+2*kv), x)
		})
	}
	if s.conv != nil {
		x := tensor.SeqOf(h.Data, src.Batch, src.Len, h.Cols)
		s.conv.Mix(x, x)
	}
}

// position normalises and rotates queries and keys, which lie one after the other in h,
// of the next n positions.
func (s *MultiHeadStream) position(h rows, n int) {
	m, c := s.mixer, &s.mixer.cfg
	grain := rotateGrain(s.batch * (c.Heads + c.KVHeads) * c.HeadDim)
	if m.qNorm != nil {
		s.heads = headNorm{mixer: m, x: h, batch: s.batch}
		par.Do(n, grain, &s.heads)
		s.heads = headNorm{}
	}
	if m.rope != nil {
		table := n * m.rope.tableLen()
		s.turn = rotation{
			rope: m.rope, x: h, batch: s.batch, heads: c.Heads + c.KVHeads, first: s.pos,
			cos: s.scratch.Take(table), sin: s.scratch.Take(table),
		}
		par.Do(n, grain, &s.turn)
		s.turn = rotation{}
	}
}

// headNorm normalises queries and keys.
type headNorm struct {
	mixer *MultiHead
	x     rows
	batch int
}

// Run normalises positions lo to hi-1 of all sequences.
func (n *headNorm) Run(lo, hi int) {
	m, c := n.mixer, &n.mixer.cfg
	q, k := m.qNorm.Weight.Data(), m.kNorm.Weight.Data()
	for i := lo; i < hi; i++ {
		for b := range n.batch {
			for h := range c.Heads + c.KVHeads {
				w := q
				if h >= c.Heads {
					w = k
				}
				x := n.x.at(b, i, h*c.HeadDim, c.HeadDim)
				kernel.RMSNorm(x, x, w, c.NormEps)
			}
		}
	}
}
