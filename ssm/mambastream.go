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
	// Scans are computed in blocks of so many positions, and rows in blocks of so many:
	// few enough for what lies between the steps to stay in the cache.
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

// MixLast leaves out the gate and the output projection of all positions but the last, see
// [seqmix.MixLast].
func (s *MambaStream) MixLast(dst, src tensor.Seq) {
	tensor.CheckSeq("ssm.MambaStream.MixLast", src, s.batch, -1, s.mixer.Dim())
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
	m, rows := s.mixer, src.Batch*src.Len
	s.scratch.Reset()
	u := rowmat.Spread(rowmat.Gather(src, &s.scratch), &s.scratch)
	s.block = mambaBlock{
		first: first, sequences: src.Batch, length: src.Len, in: tensor.PartsOf(u, m.inProj.Weight),
		x:      rowmat.Take(rows, m.cfg.DInner, &s.scratch),
		low:    rowmat.Take(rows, int(m.cfg.DTRank)+2*m.cfg.DState, &s.scratch),
		starts: s.relative(starts, t), last: dst.Len < src.Len,
	}
	b := &s.block
	par.Do(s.strips(), s.stripGrain(), (*mambaInput)(s))
	m.xProj.ApplyMat(b.low, b.x)
	m.normalise(b.low)
	b.dt = tensor.PartsOf(b.low.Slice(0, int(m.cfg.DTRank)), m.dtProj.Weight)
	par.Do(s.strips(), s.stripGrain(), (*mambaScan)(s))
	b.in.Release()
	b.dt.Release()

	projectTo(dst, m.outProj, b.x, src.Len, &s.scratch)
	*b = mambaBlock{starts: b.starts[:0]}
	s.scratch.Release()
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
