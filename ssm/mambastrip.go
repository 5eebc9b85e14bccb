package ssm

import (
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

const (
	// stripWidth is the number of channels that one core works on at a time.
	stripWidth = 8 * kernel.ScanBlock

	// stripRows is the number of positions of short sequences that it works on.
	stripRows = 128
)

// The number of elements from which it is worth splitting a convolution and a scan,
// per state of a channel: some microseconds on one core.
const (
	convGrain = 1 << 14
	scanGrain = 1 << 9 // of a single position most time goes into reading its state
)

// projectionGrain is convGrain for the multiply-adds of a projection, of a single row
// at least: most time goes into reading the weights.
const projectionGrain = 1 << 16

// mambaBlock is some positions of some sequences. Row i·length+t of the matrices is
// position t of sequence first+i of the stream.
//
// It is computed in strips of channels. Between the projections that need all channels,
// one core takes a strip through everything, so that what is made of it stays in the
// cache of the core, and mostly is never written to a whole matrix.
type mambaBlock struct {
	first, sequences, length int
	in, dt                   tensor.Parts // the input projection, and that of r
	x                        tensor.Mat   // E channels; becomes the output of the scan
	low                      tensor.Mat   // r, B, C
	starts                   []int        // positions at which sequences begin, if packed
	last                     bool         // whether only the last output of each sequence is wanted
}

// A mambaStrip is channels from to to-1 of some sequences of a block: one strip or
// several neighbours.
type mambaStrip struct{ from, to, first, sequences int }

// strips returns the number of strips of the block.
func (s *MambaStream) strips() int {
	n := s.stripSequences()
	return (s.block.sequences + n - 1) / n * s.columns()
}

// columns returns the number of strips of a sequence.
func (s *MambaStream) columns() int { return (s.mixer.cfg.DInner + stripWidth - 1) / stripWidth }

// stripSequences returns the number of sequences in a strip.
func (s *MambaStream) stripSequences() int {
	return min(max(1, stripRows/s.block.length), s.block.sequences)
}

// stripGrain returns the number of strips from which it is worth splitting.
func (s *MambaStream) stripGrain() int {
	return projectionGrain/(s.stripSequences()*s.block.length*stripWidth*s.mixer.cfg.DModel) + 1
}

// strip returns strip i, those of the first sequences being the first, together with the
// ones after it and before end if there are few rows. It returns their number.
func (s *MambaStream) strip(i, end int) (mambaStrip, int) {
	c, n := i%s.columns(), s.stripSequences()
	first := i / s.columns() * n
	together := min(max(1, stripRows/(n*s.block.length)), end-i, s.columns()-c)
	return mambaStrip{
		from: c * stripWidth, to: min((c+together)*stripWidth, s.mixer.cfg.DInner),
		first: first, sequences: min(n, s.block.sequences-first),
	}, together
}

// rows returns the rows of a matrix that belong to n sequences of the block.
func (b *mambaBlock) rows(m tensor.Mat, first, n int) tensor.Mat {
	return m.SliceRows(first*b.length, (first+n)*b.length)
}

// owner returns the stream that a sequence of the block is of, and its number there.
func (s *MambaStream) owner(sequence int) (*MambaStream, int) {
	if s.group == nil {
		return s, s.block.first + sequence
	}
	return s.group[s.block.first+sequence].(*MambaStream), 0
}

// mambaInput makes the input of the scan: the first half of the input projection, and
// the convolution.
type mambaInput MambaStream

// Run computes strips lo to hi-1.
func (c *mambaInput) Run(lo, hi int) {
	s := (*MambaStream)(c)
	b := &s.block
	for lo < hi {
		p, n := s.strip(lo, hi)
		x := b.x.Slice(p.from, p.to)
		s.mixer.inProj.ApplyPart(b.rows(x, p.first, p.sequences), &b.in, p.first*b.length, p.from)
		for j := p.first; j < p.first+p.sequences; j++ {
			of, sequence := s.owner(j)
			of.conv.strips(b.rows(x, j, 1), sequence, p.from, b.starts)
		}
		lo += n
	}
}

// mambaScan is the selective scan, with what it needs beside its input: Δ, and the gate
// from the second half of the input projection.
type mambaScan MambaStream

// Run computes strips lo to hi-1.
func (c *mambaScan) Run(lo, hi int) {
	s := (*MambaStream)(c)
	buf := mambaBuffers.Get().(*mambaBuffer)
	for lo < hi {
		p, n := s.strip(lo, hi)
		delta, z := s.steps(p, buf), s.gate(p, buf)
		for j := range p.sequences {
			s.scanStrip(p, p.first+j, s.block.rows(delta, j, 1), s.block.gateOf(z, j))
		}
		lo += n
	}
	mambaBuffers.Put(buf)
}

// mambaBuffer is temporary memory of one core.
type mambaBuffer struct{ delta, z []float32 }

var mambaBuffers = sync.Pool{New: func() any { return new(mambaBuffer) }}

// steps returns Δ of a strip.
func (s *MambaStream) steps(p mambaStrip, buf *mambaBuffer) tensor.Mat {
	b, rows, width := &s.block, p.sequences*s.block.length, p.to-p.from
	buf.delta = resize(buf.delta, rows*width)
	delta := tensor.MatOf(buf.delta, rows, width)
	s.mixer.dtProj.ApplyPart(delta, &b.dt, p.first*b.length, p.from)
	kernel.Softplus(delta.Data, delta.Data)
	return delta
}

// gate returns z of a strip: a row for each position, or for each sequence that of its
// last position, if nothing else is wanted.
func (s *MambaStream) gate(p mambaStrip, buf *mambaBuffer) tensor.Mat {
	b := &s.block
	first, end := s.mixer.cfg.DInner+p.from, s.mixer.cfg.DInner+p.to
	before := first % tensor.PartUnit
	width, rows := end-first+before, p.sequences*b.length
	if b.last {
		rows = p.sequences
	}
	buf.z = resize(buf.z, rows*width)
	z := tensor.MatOf(buf.z, rows, width)
	if b.last {
		for j := range rows {
			s.mixer.inProj.ApplyPart(z.SliceRows(j, j+1), &b.in, (p.first+j+1)*b.length-1, first-before)
		}
	} else {
		s.mixer.inProj.ApplyPart(z, &b.in, p.first*b.length, first-before)
	}
	return z.Slice(before, width)
}

// gateOf returns the rows of z that belong to sequence j of a strip. If there is only that
// of the last position, it stands for all: what it makes of the others is not used.
func (b *mambaBlock) gateOf(z tensor.Mat, j int) tensor.Mat {
	if !b.last {
		return b.rows(z, j, 1)
	}
	z = z.SliceRows(j, j+1)
	z.Stride = 0
	return z
}

// scanStrip computes the scan of a strip of one sequence of the block.
func (s *MambaStream) scanStrip(p mambaStrip, sequence int, delta, z tensor.Mat) {
	b, n, width := &s.block, s.mixer.cfg.DState, p.to-p.from
	x := b.rows(b.x, sequence, 1).Slice(p.from, p.to)
	bc := b.rows(b.low, sequence, 1).Slice(int(s.mixer.cfg.DTRank), b.low.Cols)
	of, index := s.owner(sequence)
	at, size := p.from*n, kernel.ScanLen(width, n)
	states := of.ssm[index*s.mixer.stateLen():]
	scan := kernel.Scan{
		L: b.length, E: width, N: n,
		Y: x.Data, LdY: x.Stride, U: x.Data, LdU: x.Stride,
		Delta: delta.Data, LdDelta: delta.Stride, Z: z.Data, LdZ: z.Stride,
		A: s.tables.rates[at : at+size],
		B: bc.Data, LdB: bc.Stride, C: bc.Data[n:], LdC: bc.Stride,
		D: s.mixer.d.Data()[p.from:p.to], State: states[at : at+size], Resets: b.starts,
	}
	kernel.SelectiveScan(&scan, 0, (width+kernel.ScanBlock-1)/kernel.ScanBlock)
}
