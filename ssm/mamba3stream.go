package ssm

import (
	"math"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/internal/rowmat"
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
	normed  mamba3Norms
	starts  [1][]int        // in the block, if packed
	group   []seqmix.Stream // whose sequences these are, in MixEach
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

// MixLast leaves out the output projection of all positions but the last, see
// [seqmix.MixLast].
func (s *Mamba3Stream) MixLast(dst, src tensor.Seq) {
	tensor.CheckSeq("ssm.Mamba3Stream.MixLast", src, s.batch, -1, s.mixer.Dim())
	mixBlocks(s, dst, src, 0, nil)
}

// MixEach computes the next positions of several streams of one sequence each, see
// [seqmix.MixEach].
func (s *Mamba3Stream) MixEach(dst, src tensor.Seq, streams []seqmix.Stream) {
	tensor.CheckMix("ssm.Mamba3Stream.MixEach", dst, src, s.mixer.Dim())
	s.group = streams
	mixBlocks(s, dst, src, 0, nil)
	s.group = nil
}

// mixBlock computes one block, which begins at position t.
func (s *Mamba3Stream) mixBlock(dst, src tensor.Seq, first, t int, starts []int) {
	m, width := s.mixer, s.mixer.cfg.projWidth()
	rows := src.Batch * src.Len
	s.scratch.Reset()
	proj := tensor.MatOf(s.scratch.Take(rows*width), rows, width)
	m.inProj.ApplyMat(proj, rowmat.Gather(src, &s.scratch))
	s.normed = mamba3Norms{m, m.cfg.split(proj)}
	par.Do(rows, convGrain/(2*m.cfg.keyWidth())+1, &s.normed)
	if s.group == nil {
		s.starts[0] = relativeTo(t, starts, s.starts[0])
		s.advance(proj, first, src.Batch)
	} else {
		for i, other := range s.group[first : first+src.Batch] {
			other.(*Mamba3Stream).advance(proj.SliceRows(i*src.Len, (i+1)*src.Len), 0, 1)
		}
	}
	projectTo(dst, m.outProj, s.normed.x, src.Len, &s.scratch)
	s.scratch.Release()
}

// mamba3Parts are the parts of a row that the input projection makes.
type mamba3Parts struct{ z, x, b, c, delta, rate, trap, angles tensor.Mat }

func (c *Mamba3Config) split(proj tensor.Mat) mamba3Parts {
	at, heads := 0, c.DInner/c.HeadDim
	next := func(n int) tensor.Mat {
		at += n
		return proj.Slice(at-n, at)
	}
	return mamba3Parts{
		z: next(c.DInner), x: next(c.DInner), b: next(c.keyWidth()), c: next(c.keyWidth()),
		delta: next(heads), rate: next(heads), trap: next(heads), angles: next(c.angles()),
	}
}

// advance takes some sequences through their states. The result replaces x.
func (s *Mamba3Stream) advance(proj tensor.Mat, first, sequences int) {
	m, p := s.mixer, s.mixer.cfg.split(proj)
	s.block = rotaryBlock{
		rotaryStates: &s.states, first: first, sequences: sequences, length: proj.Rows / sequences,
		x: p.x, out: p.x, b: p.b, c: p.c, angles: p.angles,
		rotarySteps: rotarySteps{
			delta: p.delta, deltaBias: m.dtBias.Data(), rate: p.rate, floor: m.cfg.AFloor, act: m.cfg.AActivation, trap: p.trap,
		},
		rotaryWeights: m.weights(p.z),
	}
	if len(s.starts[0]) > 0 {
		s.block.starts = s.starts[:]
	}
	s.block.run()
	s.starts[0] = s.starts[0][:0]
}

// weights returns the parameters of the heads.
func (m *Mamba3) weights(z tensor.Mat) rotaryWeights {
	return rotaryWeights{
		bBias: m.bBias.Data(), cBias: m.cBias.Data(), d: m.d.Data(),
		mimoX: paramlist.Data(m.mimoX), mimoZ: paramlist.Data(m.mimoZ), mimoO: paramlist.Data(m.mimoO), z: z, norm: m.norm,
	}
}

// mamba3Norms normalises B and C of a block and makes speeds of the angles.
type mamba3Norms struct {
	mixer *Mamba3
	mamba3Parts
}

// Run computes rows lo to hi-1.
func (p *mamba3Norms) Run(lo, hi int) {
	n, eps := p.mixer.cfg.DState, p.mixer.cfg.NormEps
	bWeight, cWeight := p.mixer.bNorm.Weight.Data(), p.mixer.cNorm.Weight.Data()
	for i := lo; i < hi; i++ {
		keys, queries, angles := p.b.Row(i), p.c.Row(i), p.angles.Row(i)
		for at := 0; at < len(keys); at += n {
			kernel.RMSNorm(keys[at:at+n], keys[at:at+n], bWeight, eps)
			kernel.RMSNorm(queries[at:at+n], queries[at:at+n], cWeight, eps)
		}
		kernel.Tanh(angles, angles)
		kernel.Scale(angles, math.Pi, angles)
	}
}
