package train

import (
	"math/rand/v2"
	"slices"

	"github.com/seqmix/seqmix/tensor"
)

// draws returns the random numbers of drop, none of which is drawn yet. Each sequence has
// its own, so that it does not matter in which shard it is.
func (s *shard) draws() []rand.PCG {
	if s.batch.Dropout == 0 {
		return nil
	}
	draws := make([]rand.PCG, s.batch.Size())
	for b := range draws {
		draws[b].Seed(s.batch.Seed, uint64(s.first+b))
	}
	return draws
}

// drop makes elements of x zero, as the batch says, and draws says which. The gradient of
// drop is to do the same once more: see [dropout.apply].
func (s *shard) drop(x tensor.Seq, draws []rand.PCG) {
	s.dropout.draw(s.batch, draws, x.Dim)
	s.dropout.apply(x)
}

// A dropout is which elements of a shard are zero.
type dropout struct {
	factors [16][4]float32 // of four elements, by the bits of those that are zero
	zeros   []uint8        // the bits of four elements after the other of a position
	width   int            // elements of a position
}

// draw chooses the elements of the positions of b by the next random numbers of each
// sequence.
func (d *dropout) draw(b Batch, draws []rand.PCG, width int) {
	// Draws are 16 bits, four of a number. The elements of those below the share are zero.
	below := uint64(b.Dropout * (1 << 16))
	d.width = width
	for bits := range d.factors {
		for k := range d.factors[bits] {
			d.factors[bits][k] = float32(1 / (1 - float64(below)/(1<<16)))
			if bits>>k&1 != 0 {
				d.factors[bits][k] = 0
			}
		}
	}
	n := b.Len * fours(width)
	d.zeros = slices.Grow(d.zeros[:0], n*len(draws))[:n*len(draws)]
	zeros := d.zeros
	// Two sequences at a time: a number takes long to follow the one before it.
	for ; len(draws) > 1; draws = draws[2:] {
		x, y := draws[0], draws[1]
		zerosX, zerosY := zeros[:n], zeros[n:2*n]
		for k := range zerosX {
			zerosX[k], zerosY[k] = dropped(x.Uint64(), below), dropped(y.Uint64(), below)
		}
		draws[0], draws[1], zeros = x, y, zeros[2*n:]
	}
	if len(draws) > 0 {
		for k := range zeros {
			zeros[k] = dropped(draws[0].Uint64(), below)
		}
	}
}

// dropped returns the bits of those of the four draws in v that are below the share. Their
// difference has the upper bits: no branch could be foretold.
func dropped(v, below uint64) uint8 {
	return uint8((v&0xffff-below)>>63 | (v>>16&0xffff-below)>>62&2 | (v>>32&0xffff-below)>>61&4 | (v>>48-below)>>60&8)
}

// fours returns the number of groups of four that hold n elements.
func fours(n int) int { return (n + 3) / 4 }

// apply makes the elements zero that are to be, and scales all others. It is its own
// gradient.
func (d *dropout) apply(x tensor.Seq) {
	if len(d.zeros) == 0 {
		return
	}
	zeros, data := d.zeros, x.Data
	row := d.width
	if row%4 == 0 {
		row = len(data) // positions go on where the one before them ends
	}
	for len(data) > 0 {
		d.multiply(data[:row], zeros)
		data, zeros = data[row:], zeros[fours(row):]
	}
}

// multiply multiplies elements, the first of which is the first of a group of four.
func (d *dropout) multiply(x []float32, zeros []uint8) {
	var factors [256]float32
	for len(x) > 0 {
		n := min(len(x), len(factors))
		for i, bits := range zeros[:fours(n)] {
			*(*[4]float32)(factors[4*i:]) = d.factors[bits&15]
		}
		tensor.Mul(x[:n], x[:n], factors[:n])
		x, zeros = x[n:], zeros[fours(n):]
	}
}
