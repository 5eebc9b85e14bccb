package ssm

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/internal/rowmat"
	"github.com/seqmix/seqmix/tensor"
)

const (
	// stripWidth is the number of channels that one core works on at a time.
	stripWidth = 8 * kernel.ScanBlock

	// Sequences are computed in blocks, of so many positions of each and of so many
	// altogether: enough for the matrix products to be efficient, few enough for
	// what lies between them to stay in the cache.
	blockPositions = 128
	blockRows      = 256
)

// A MambaStream is a [Mamba] in the middle of a batch of sequences.
//
// It sees the parameters as they are when it is made or reset; if they are changed,
// it is to be reset before the next Mix.
type MambaStream struct {
	mixer  *Mamba
	batch  int
	tables *mambaTables

	conv shortConv
	// For each sequence, the states in channel blocks: see kernel.ScanLen.
	ssm []float32

	scratch tensor.Scratch
	block   mambaBlock
	group   []seqmix.Stream // whose sequences these are, in MixEach
}

// mambaBlock is what is computed between two matrix products: the positions of one
// block of some sequences. Row i·length+t of the matrices is position t of sequence
// first+i of the stream.
type mambaBlock struct {
	first, sequences, length int
	x, z                     tensor.Mat // E channels; x becomes the output of the scan
	bc                       tensor.Mat // B, C
	delta                    tensor.Mat
	starts                   []int // positions at which sequences begin, if packed
}

// begin makes s a stream at the beginning of its sequences, using its memory again.
func (s *MambaStream) begin(m *Mamba, batch int) {
	s.mixer, s.batch = m, batch
	s.conv.begin(batch, m.cfg.DInner, m.cfg.DConv)
	s.ssm = resize(s.ssm, batch*m.stateLen())
	s.Reset()
}

func resize(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}

// stateLen returns the number of elements of the states of a sequence.
func (m *Mamba) stateLen() int { return kernel.ScanLen(m.cfg.DInner, m.cfg.DState) }

// Reset returns to the beginning of the sequences.
func (s *MambaStream) Reset() {
	s.useTables(s.mixer.tables())
	clear(s.conv.inputs)
	clear(s.ssm)
}

func (s *MambaStream) useTables(t *mambaTables) {
	s.tables = t
	s.conv.w, s.conv.bias = t.taps, paramlist.Data(s.mixer.conv.Bias)
}

// Clone returns an independent stream in the same state.
func (s *MambaStream) Clone() seqmix.Stream {
	c := new(MambaStream)
	c.begin(s.mixer, s.batch)
	c.useTables(s.tables)
	copy(c.conv.inputs, s.conv.inputs)
	copy(c.ssm, s.ssm)
	return c
}

// Mix computes the next positions.
func (s *MambaStream) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("ssm.MambaStream.Mix", dst, src, s.mixer.Dim())
	tensor.CheckSeq("ssm.MambaStream.Mix", src, s.batch, -1, -1)
	s.run(dst, src, 0, nil)
}

// run advances sequence first of the stream and the ones after it, as many as src
// has. At the positions in starts, in ascending order, new sequences begin.
func (s *MambaStream) run(dst, src tensor.Seq, first int, starts []int) {
	mixBlocks(s, dst, src, first, starts)
}

// MixEach computes the next positions of several streams of one sequence each, see
// [seqmix.MixEach].
func (s *MambaStream) MixEach(dst, src tensor.Seq, streams []seqmix.Stream) {
	tensor.CheckMix("ssm.MambaStream.MixEach", dst, src, s.mixer.Dim())
	s.group = streams
	s.run(dst, src, 0, nil)
	s.group = nil
}

// mixBlock computes one block, which begins at position t.
func (s *MambaStream) mixBlock(dst, src tensor.Seq, first, t int, starts []int) {
	m := s.mixer
	e, n, rank := m.cfg.DInner, m.cfg.DState, int(m.cfg.DTRank)
	rows := src.Batch * src.Len
	s.scratch.Reset()
	take := func(cols int) tensor.Mat { return tensor.MatOf(s.scratch.Take(rows*cols), rows, cols) }
	xz, low, delta := take(2*e), take(rank+2*n), take(e)

	m.inProj.ApplyMat(xz, rowmat.Gather(src, &s.scratch))
	s.block = mambaBlock{
		first: first, sequences: src.Batch, length: src.Len,
		x: xz.Slice(0, e), z: xz.Slice(e, 2*e), bc: low.Slice(rank, rank+2*n), delta: delta,
		starts: s.relative(starts, t),
	}
	s.convolve()
	m.xProj.ApplyMat(low, s.block.x)
	m.normalise(low)
	tensor.MatMulT(delta, low.Slice(0, rank), m.dtProj.Weight)
	s.scan()

	out := rowmat.Of(dst)
	if out.Data == nil {
		out = take(dst.Dim)
	}
	m.outProj.ApplyMat(out, s.block.x)
	rowmat.Scatter(dst, out)
	s.block = mambaBlock{starts: s.block.starts[:0]}
	s.scratch.Release()
}

// convolve convolves the block: each stream of a group the part that is its own.
func (s *MambaStream) convolve() {
	if s.group == nil {
		b := &s.block
		s.conv.run(convBlock{first: b.first, sequences: b.sequences, length: b.length, x: b.x, starts: b.starts})
		return
	}
	for i, other := range s.group[s.block.first : s.block.first+s.block.sequences] {
		other := other.(*MambaStream)
		part := s.block.sequence(i)
		other.conv.run(convBlock{sequences: 1, length: part.length, x: part.x})
	}
}

// scan is convolve for what comes after it.
func (s *MambaStream) scan() {
	if s.group == nil {
		par.Do(s.block.sequences*s.strips(), scanGrain/(s.block.length*stripWidth)+1, (*mambaScan)(s))
		return
	}
	for i, other := range s.group[s.block.first : s.block.first+s.block.sequences] {
		other := other.(*MambaStream)
		// The receiver is one of the group: its own block is the whole.
		whole := other.block
		other.block = s.block.sequence(i)
		par.Do(s.strips(), scanGrain/(s.block.length*stripWidth)+1, (*mambaScan)(other))
		other.block = whole
	}
}

// sequence returns sequence i of the block as one of its own.
func (b *mambaBlock) sequence(i int) mambaBlock {
	rows := func(m tensor.Mat) tensor.Mat { return m.SliceRows(i*b.length, (i+1)*b.length) }
	return mambaBlock{sequences: 1, length: b.length, x: rows(b.x), z: rows(b.z), bc: rows(b.bc), delta: rows(b.delta)}
}

// relative returns the starts counted from position t.
func (s *MambaStream) relative(starts []int, t int) []int {
	if len(starts) == 0 {
		return nil
	}
	r := s.block.starts[:0]
	for _, p := range starts {
		r = append(r, p-t)
	}
	return r
}

// normalise applies the inner norms to every row.
func (m *Mamba) normalise(low tensor.Mat) {
	if m.dtNorm == nil {
		return
	}
	rank, n, eps := int(m.cfg.DTRank), m.cfg.DState, m.cfg.NormEps
	dt, b, c := paramlist.Data(m.dtNorm.Weight), paramlist.Data(m.bNorm.Weight), paramlist.Data(m.cNorm.Weight)
	for i := range low.Rows {
		row := low.Row(i)
		kernel.RMSNorm(row[:rank], row[:rank], dt, eps)
		kernel.RMSNorm(row[rank:rank+n], row[rank:rank+n], b, eps)
		kernel.RMSNorm(row[rank+n:], row[rank+n:], c, eps)
	}
}

// The number of elements from which it is worth splitting a convolution and a scan,
// per state of a channel: some microseconds on one core.
const (
	convGrain = 1 << 14
	scanGrain = 1 << 9 // of a single position most time goes into reading its state
)

func (s *MambaStream) strips() int { return (s.mixer.cfg.DInner + stripWidth - 1) / stripWidth }

// strip returns the channels of a strip, and the sequence of the block that it is of.
func (s *MambaStream) strip(i int) (sequence, from, to int) {
	n := s.strips()
	from = i % n * stripWidth
	return i / n, from, min(from+stripWidth, s.mixer.cfg.DInner)
}

// mambaScan is the selective scan of a block, with Δ before it and the gate after it.
type mambaScan MambaStream

// Run computes strips lo to hi-1.
func (c *mambaScan) Run(lo, hi int) {
	s := (*MambaStream)(c)
	m, b := s.mixer, &s.block
	bias := m.dtProj.Bias.Data()
	for i := lo; i < hi; i++ {
		sequence, from, to := s.strip(i)
		row := sequence * b.length
		for t := range b.length {
			delta := b.delta.Row(row + t)[from:to]
			kernel.Add(delta, delta, bias[from:to])
			kernel.Softplus(delta, delta)
		}
		size := m.stateLen()
		at := (b.first + sequence) * size
		scan := kernel.Scan{
			L: b.length, E: m.cfg.DInner, N: m.cfg.DState,
			Y: b.x.Data[row*b.x.Stride:], LdY: b.x.Stride,
			U: b.x.Data[row*b.x.Stride:], LdU: b.x.Stride,
			Delta: b.delta.Data[row*b.delta.Stride:], LdDelta: b.delta.Stride,
			Z: b.z.Data[row*b.z.Stride:], LdZ: b.z.Stride,
			A: s.tables.rates,
			B: b.bc.Data[row*b.bc.Stride:], LdB: b.bc.Stride,
			C: b.bc.Data[row*b.bc.Stride+m.cfg.DState:], LdC: b.bc.Stride,
			D: m.d.Data(), State: s.ssm[at : at+size], Resets: b.starts,
		}
		kernel.SelectiveScan(&scan, from/kernel.ScanBlock, (to+kernel.ScanBlock-1)/kernel.ScanBlock)
	}
}
