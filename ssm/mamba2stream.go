package ssm

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
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
	starts  [1][]int
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
	s.conv.w, s.conv.bias = t.taps, data(s.mixer.conv.Bias)
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

// mixBlock computes one block, which begins at position t.
func (s *Mamba2Stream) mixBlock(dst, src tensor.Seq, first, t int, starts []int) {
	m, c := s.mixer, &s.mixer.cfg
	rows := src.Batch * src.Len
	s.scratch.Reset()
	proj := tensor.MatOf(s.scratch.Take(rows*c.projWidth()), rows, c.projWidth())
	m.inProj.ApplyMat(proj, gatherRows(src, &s.scratch))

	s.starts[0] = relativeTo(t, starts, s.starts[0])
	mlp, ssm, conv := c.mlpWidth(), c.DSSM, c.convWidth()
	z, xbc := proj.Slice(2*mlp, 2*mlp+ssm), proj.Slice(2*mlp+ssm, 2*mlp+ssm+conv)
	s.conv.run(convBlock{first: first, sequences: src.Batch, length: src.Len, x: xbc, starts: s.starts[0]})
	s.block = ssdBlock{
		headStates: &s.states, first: first, sequences: src.Batch, length: src.Len, initial: s.tables.initial,
		x: xbc.Slice(0, ssm), b: xbc.Slice(ssm, ssm+c.keyWidth()), c: xbc.Slice(ssm+c.keyWidth(), conv),
		ssdSteps: ssdSteps{
			delta: proj.Slice(2*mlp+ssm+conv, c.projWidth()), deltaBias: m.dtBias.Data(),
			softplus: true, limit: c.DTLimit, rates: s.tables.rates,
		},
		skip: skipOf(m.d, s.states.heads),
	}
	if starts != nil {
		s.block.starts = s.starts[:]
	}
	s.block.run(&s.scratch)

	mixed := s.gate(proj, z)
	out := rowsOf(dst)
	if out.Data == nil {
		out = tensor.MatOf(s.scratch.Take(rows*dst.Dim), rows, dst.Dim)
	}
	m.outProj.ApplyMat(out, mixed)
	scatterRows(dst, out)
}

// gate returns what the output projection is applied to.
func (s *Mamba2Stream) gate(proj, z tensor.Mat) tensor.Mat {
	y, c := s.block.x, &s.mixer.cfg
	mixed := y
	if c.mlpWidth() > 0 {
		mixed = tensor.MatOf(s.scratch.Take(proj.Rows*c.DInner), proj.Rows, c.DInner)
	}
	s.gated = mamba2Gate{mlp: c.mlpWidth(), norm: s.mixer.norm, mixed: mixed, proj: proj, y: y, z: z}
	par.Do(proj.Rows, convGrain/c.DInner+1, &s.gated)
	return mixed
}

// mamba2Gate applies the gate and the norm to the output y of the states, and the
// branch that passes by them.
type mamba2Gate struct {
	mlp               int // width of the branch
	norm              *GatedRMSNorm
	mixed, proj, y, z tensor.Mat
}

// Run computes rows lo to hi-1.
func (g *mamba2Gate) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		dst, proj := g.mixed.Row(i), g.proj.Row(i)
		if g.mlp > 0 {
			kernel.SiLUMul(dst[:g.mlp], proj[:g.mlp], proj[g.mlp:2*g.mlp])
		}
		if g.norm != nil {
			g.norm.row(dst[g.mlp:], g.y.Row(i), g.z.Row(i))
		} else {
			kernel.SiLUMul(dst[g.mlp:], g.z.Row(i), g.y.Row(i))
		}
	}
}
