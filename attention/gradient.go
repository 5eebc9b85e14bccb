package attention

import (
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
)

const (
	// A tile of the backward pass is so many queries of one key head. Its queries are
	// packed once and meet the keys it sees in blocks.
	gradRows = 128
	gradKeys = 96

	// Where there are fewer heads and sequences than splitTiles, the tiles of a key head
	// are dealt to so many that sum up the gradients of keys and values on their own.
	// As the number depends on the shape only, so do the bits.
	gradParts = 4
)

// gradient computes the gradients of attention block by block, with the weights
// computed again from the logarithms of their sums (arXiv:2205.14135). For a query i
// and a key j that it sees, with the weight P = e^(s - lse[i]) of the score s,
//
//	dP = dout[i]·v[j]                dS = P·(dP - dout[i]·out[i])
//	dq[i] += Scale·dS·k[j]           dk[j] += Scale·dS·q[i]          dv[j] += P·dout[i]
//
// A softcap c multiplies dS by 1 - (s/c)², with the s that it gives.
type gradient struct {
	dot  DotProduct
	mask mask
	operands

	dout, dq, dk, dv rows // dq may be dout

	tiles   int       // of each key head
	parts   int       // that a key head's tiles are dealt to
	partial []float32 // dk and dv of the parts but the first: see partialRows
}

// run computes all gradients. Those of keys and values are overwritten.
func (g *gradient) run() {
	if g.empty() || g.keys == 0 {
		return
	}
	g.mask = g.dot.mask()
	queries := g.n * g.group()
	g.tiles = (queries + gradRows - 1) / gradRows
	heads := g.batch * g.dot.KVHeads
	g.parts = 1
	if heads < splitTiles {
		g.parts = min(gradParts, g.tiles)
	}
	g.partial = resize(g.partial, (g.parts-1)*heads*2*g.keys*g.headDim)
	work := queries * min(g.keys, g.span()) * g.headDim * 5
	par.Do(heads*g.parts, 100_000*g.parts/max(work, 1)+1, g)
	if g.parts > 1 {
		par.Do(heads, 1, (*gradSum)(g))
	}
}

// group returns the number of query heads that share a key head.
func (g *gradient) group() int { return g.dot.Heads / g.dot.KVHeads }

// span returns the number of keys that a query sees at the most.
func (g *gradient) span() int {
	if g.mask.left < 0 || g.mask.right < 0 {
		return g.keys
	}
	return g.mask.left + 1 + g.mask.right
}

// Run computes parts lo to hi-1, counted through sequences and key heads first.
func (g *gradient) Run(lo, hi int) {
	t := gradTiles.Get().(*gradTile)
	for u := lo; u < hi; u++ {
		heads := g.batch * g.dot.KVHeads
		t.b, t.head = u%heads/g.dot.KVHeads, u%g.dot.KVHeads
		part := u / heads
		t.dk, t.dv = g.targets(u%heads, part)
		for j := range g.keys {
			clear(t.dk.at(0, j, 0, g.headDim))
			clear(t.dv.at(0, j, 0, g.headDim))
		}
		for i := part; i < g.tiles; i += g.parts {
			t.firstRow = i * gradRows
			t.rows = min(gradRows, g.n*g.group()-t.firstRow)
			g.tile(t)
		}
	}
	gradTiles.Put(t)
}

// targets returns where a part adds up the gradients of the keys and values of key head
// u, counted through the sequences, as rows of sequence 0.
func (g *gradient) targets(u, part int) (dk, dv rows) {
	if part > 0 {
		return g.partialRows(u, part)
	}
	b, first := u/g.dot.KVHeads, u%g.dot.KVHeads*g.headDim
	return rows{data: g.dk.from(b, 0, first), position: g.dk.position}, rows{data: g.dv.from(b, 0, first), position: g.dv.position}
}

// partialRows returns the memory of a part but the first.
func (g *gradient) partialRows(u, part int) (dk, dv rows) {
	size := g.keys * g.headDim
	at := ((part-1)*g.batch*g.dot.KVHeads + u) * 2 * size
	return rows{data: g.partial[at : at+size], position: g.headDim},
		rows{data: g.partial[at+size : at+2*size], position: g.headDim}
}

// gradSum adds the parts of key heads in order.
type gradSum gradient

// Run adds those of key heads lo to hi-1, counted through the sequences.
func (s *gradSum) Run(lo, hi int) {
	g := (*gradient)(s)
	for u := lo; u < hi; u++ {
		dk, dv := g.targets(u, 0)
		for part := 1; part < g.parts; part++ {
			k, v := g.partialRows(u, part)
			for j := range g.keys {
				addTo(dk.at(0, j, 0, g.headDim), k.at(0, j, 0, g.headDim))
				addTo(dv.at(0, j, 0, g.headDim), v.at(0, j, 0, g.headDim))
			}
		}
	}
}

func addTo(sum, x []float32) { kernel.Add(sum, sum, x) }
