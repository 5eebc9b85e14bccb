package ssm

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/internal/rowmat"
	"github.com/seqmix/seqmix/tensor"
)

// A Mamba2Stream is a [Mamba2] in the middle of a batch of sequences. However they are
// divided into calls, the bits of the results are the same.
//
// It sees the parameters as they are when it is made or reset; if they are changed,
// it is to be reset before the next Mix.
type Mamba2Stream struct {
	mixer  *Mamba2
	batch  int
	tables *mamba2Tables

	conv   shortConv
	states headStates

	scratch tensor.Scratch
	block   ssdBlock
	gated   mamba2Gate
	starts  [1][]int        // in the block, if packed
	group   []seqmix.Stream // whose sequences these are, in MixEach
}

// begin makes s a stream at the beginning of its sequences, using its memory again.
func (s *Mamba2Stream) begin(m *Mamba2, batch int) {
	s.mixer, s.batch = m, batch
	s.conv.begin(batch, m.cfg.convWidth(), m.cfg.DConv)
	s.states.begin(m.cfg.heads(), batch)
	s.Reset()
}

// Reset returns to the beginning of the sequences.
func (s *Mamba2Stream) Reset() {
	s.useTables(s.mixer.tables())
	clear(s.conv.inputs)
	s.states.reset(s.tables.initial)
}

func (s *Mamba2Stream) useTables(t *mamba2Tables) {
	s.tables = t
	s.conv.w, s.conv.bias = t.taps, paramlist.Data(s.mixer.conv.Bias)
}

// Clone returns an independent stream in the same state.
func (s *Mamba2Stream) Clone() seqmix.Stream {
	c := new(Mamba2Stream)
	c.begin(s.mixer, s.batch)
	c.useTables(s.tables)
	copy(c.conv.inputs, s.conv.inputs)
	c.states.copyFrom(&s.states)
	return c
}

// Mix computes the next positions.
func (s *Mamba2Stream) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("ssm.Mamba2Stream.Mix", dst, src, s.mixer.Dim())
	tensor.CheckSeq("ssm.Mamba2Stream.Mix", src, s.batch, -1, -1)
	mixBlocks(s, dst, src, 0, nil)
}

// MixLast leaves out the gate and the output projection of all positions but the last, see
// [seqmix.MixLast].
func (s *Mamba2Stream) MixLast(dst, src tensor.Seq) {
	tensor.CheckSeq("ssm.Mamba2Stream.MixLast", src, s.batch, -1, s.mixer.Dim())
	mixBlocks(s, dst, src, 0, nil)
}

// MixEach computes the next positions of several streams of one sequence each, see
// [seqmix.MixEach].
func (s *Mamba2Stream) MixEach(dst, src tensor.Seq, streams []seqmix.Stream) {
	tensor.CheckMix("ssm.Mamba2Stream.MixEach", dst, src, s.mixer.Dim())
	s.group = streams
	mixBlocks(s, dst, src, 0, nil)
	s.group = nil
}

// mixBlock computes one block, which begins at position t.
func (s *Mamba2Stream) mixBlock(dst, src tensor.Seq, first, t int, starts []int) {
	m, c := s.mixer, &s.mixer.cfg
	rows := src.Batch * src.Len
	s.scratch.Reset()
	proj := tensor.MatOf(s.scratch.Take(rows*c.projWidth()), rows, c.projWidth())
	m.inProj.ApplyMat(proj, rowmat.Gather(src, &s.scratch))
	if s.group == nil {
		s.starts[0] = relativeTo(t, starts, s.starts[0])
		s.advance(proj, first, src.Batch, &s.scratch)
	} else {
		for i, other := range s.group[first : first+src.Batch] {
			other.(*Mamba2Stream).advance(proj.SliceRows(i*src.Len, (i+1)*src.Len), 0, 1, &s.scratch)
		}
	}
	if dst.Len < src.Len {
		proj = rowmat.Last(proj, src.Len)
	}
	mixed := s.gate(proj)
	projectTo(dst, m.outProj, mixed, mixed.Rows/src.Batch, &s.scratch)
	s.scratch.Release()
}

// mamba2Parts are the parts of a row that the input projection makes.
type mamba2Parts struct{ branch, z, xbc, x, b, c, delta tensor.Mat }

func (c *Mamba2Config) split(proj tensor.Mat) mamba2Parts {
	mlp, ssm, keys := 2*c.mlpWidth(), c.DSSM, c.keyWidth()
	xbc := proj.Slice(mlp+ssm, mlp+ssm+c.convWidth())
	return mamba2Parts{
		branch: proj.Slice(0, mlp), z: proj.Slice(mlp, mlp+ssm), xbc: xbc,
		x: xbc.Slice(0, ssm), b: xbc.Slice(ssm, ssm+keys), c: xbc.Slice(ssm+keys, ssm+2*keys),
		delta: proj.Slice(mlp+ssm+c.convWidth(), proj.Cols),
	}
}

// advance takes some sequences through the convolution and the states. The result
// replaces x.
func (s *Mamba2Stream) advance(proj tensor.Mat, first, sequences int, scratch *tensor.Scratch) {
	m, p, length := s.mixer, s.mixer.cfg.split(proj), proj.Rows/sequences
	s.conv.run(convBlock{first: first, sequences: sequences, length: length, x: p.xbc, starts: s.starts[0]})
	s.block = ssdBlock{
		headStates: &s.states, first: first, sequences: sequences, length: length, initial: s.tables.initial,
		x: p.x, b: p.b, c: p.c,
		ssdSteps: ssdSteps{
			delta: p.delta, deltaBias: m.dtBias.Data(),
			softplus: true, limit: m.cfg.DTLimit, rates: s.tables.rates,
		},
		skip: skipOf(m.d, s.states.heads),
	}
	if len(s.starts[0]) > 0 {
		s.block.starts = s.starts[:]
	}
	s.block.run(scratch)
	s.starts[0] = s.starts[0][:0]
}

// gate returns what the output projection is applied to.
func (s *Mamba2Stream) gate(proj tensor.Mat) tensor.Mat {
	c := &s.mixer.cfg
	p := c.split(proj)
	mixed := p.x
	if c.mlpWidth() > 0 {
		mixed = tensor.MatOf(s.scratch.Take(proj.Rows*c.DInner), proj.Rows, c.DInner)
	}
	s.gated = mamba2Gate{mlp: c.mlpWidth(), norm: s.mixer.norm, mixed: mixed, branch: p.branch, y: p.x, z: p.z}
	par.Do(proj.Rows, convGrain/c.DInner+1, &s.gated)
	return mixed
}

// mamba2Gate applies the gate and the norm to the output y of the states, and the
// branch that passes by them.
type mamba2Gate struct {
	mlp                 int // width of the branch
	norm                *GatedRMSNorm
	mixed, branch, y, z tensor.Mat
}

// Run computes rows lo to hi-1.
func (g *mamba2Gate) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		dst := g.mixed.Row(i)
		if g.mlp > 0 {
			branch := g.branch.Row(i)
			kernel.SiLUMul(dst[:g.mlp], branch[:g.mlp], branch[g.mlp:])
		}
		if g.norm != nil {
			g.norm.row(dst[g.mlp:], g.y.Row(i), g.z.Row(i))
		} else {
			kernel.SiLUMul(dst[g.mlp:], g.z.Row(i), g.y.Row(i))
		}
	}
}
