package ssm

import (
	"math"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// A Mamba3Stream is a [Mamba3] in the middle of a batch of sequences. However they are
// divided into calls, the bits of the results are the same.
type Mamba3Stream struct {
	mixer  *Mamba3
	batch  int
	states rotaryStates

	scratch tensor.Scratch
	block   rotaryBlock
	starts  [1][]int
}

// begin makes s a stream at the beginning of its sequences, using its memory again.
func (s *Mamba3Stream) begin(m *Mamba3, batch int) {
	s.mixer, s.batch = m, batch
	z, r := m.cfg.sizes()
	s.states.begin(z, r, batch)
	s.Reset()
}

// Reset returns to the beginning of the sequences.
func (s *Mamba3Stream) Reset() { s.states.reset() }

// Clone returns an independent stream in the same state.
func (s *Mamba3Stream) Clone() seqmix.Stream {
	c := new(Mamba3Stream)
	c.begin(s.mixer, s.batch)
	c.states.copyFrom(&s.states)
	return c
}

// Mix computes the next positions.
func (s *Mamba3Stream) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("ssm.Mamba3Stream.Mix", dst, src, s.mixer.Dim())
	tensor.CheckSeq("ssm.Mamba3Stream.Mix", src, s.batch, -1, -1)
	mixBlocks(s, dst, src, 0, nil)
}

// mixBlock computes one block, which begins at position t.
func (s *Mamba3Stream) mixBlock(dst, src tensor.Seq, first, t int, starts []int) {
	m, c := s.mixer, &s.mixer.cfg
	rows, width := src.Batch*src.Len, c.projWidth()
	s.scratch.Reset()
	proj := tensor.MatOf(s.scratch.Take(rows*width), rows, width)
	m.inProj.ApplyMat(proj, gatherRows(src, &s.scratch))

	s.starts[0] = relativeTo(t, starts, s.starts[0])
	at := 0
	next := func(n int) tensor.Mat {
		at += n
		return proj.Slice(at-n, at)
	}
	heads := s.states.heads
	s.block = rotaryBlock{rotaryStates: &s.states, first: first, sequences: src.Batch, length: src.Len}
	b := &s.block
	b.z, b.x, b.b, b.c = next(c.DInner), next(c.DInner), next(c.keyWidth()), next(c.keyWidth())
	b.out = b.x
	b.delta, b.rate, b.trap, b.angles = next(heads), next(heads), next(heads), next(c.angles())
	b.deltaBias, b.act, b.floor = m.dtBias.Data(), c.AActivation, c.AFloor
	b.rotaryWeights = m.weights(b.z)
	if starts != nil {
		b.starts = s.starts[:]
	}
	par.Do(rows, convGrain/(2*c.keyWidth())+1, (*mamba3Norms)(s))
	b.run()

	out := rowsOf(dst)
	if out.Data == nil {
		out = tensor.MatOf(s.scratch.Take(rows*dst.Dim), rows, dst.Dim)
	}
	m.outProj.ApplyMat(out, b.out)
	scatterRows(dst, out)
}

// weights returns the parameters of the heads.
func (m *Mamba3) weights(z tensor.Mat) rotaryWeights {
	return rotaryWeights{
		bBias: m.bBias.Data(), cBias: m.cBias.Data(), d: m.d.Data(),
		mimoX: data(m.mimoX), mimoZ: data(m.mimoZ), mimoO: data(m.mimoO), z: z, norm: m.norm,
	}
}

// mamba3Norms normalises B and C of a block and makes speeds of the angles.
type mamba3Norms Mamba3Stream

// Run computes rows lo to hi-1.
func (p *mamba3Norms) Run(lo, hi int) {
	b, m := &p.block, p.mixer
	n, eps := m.cfg.DState, m.cfg.NormEps
	bWeight, cWeight := m.bNorm.Weight.Data(), m.cNorm.Weight.Data()
	for i := lo; i < hi; i++ {
		keys, queries, angles := b.b.Row(i), b.c.Row(i), b.angles.Row(i)
		for at := 0; at < len(keys); at += n {
			kernel.RMSNorm(keys[at:at+n], keys[at:at+n], bWeight, eps)
			kernel.RMSNorm(queries[at:at+n], queries[at:at+n], cWeight, eps)
		}
		kernel.Tanh(angles, angles)
		kernel.Scale(angles, math.Pi, angles)
	}
}
