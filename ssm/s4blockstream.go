package ssm

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/rowmat"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// An S4BlockStream is an [S4Block] in the middle of a batch of sequences. It sees the
// parameters of the system as they are when it is made or reset.
type S4BlockStream struct {
	block   *S4Block
	layer   LTIStream
	scratch tensor.Scratch
	stage   s4Stage
}

// begin makes s a stream at the beginning of its sequences, using its memory again.
func (s *S4BlockStream) begin(m *S4Block, rec recurrence, batch int) {
	s.block = m
	s.layer.begin(m.system, rec, batch)
}

func (s *S4BlockStream) release() {
	s.block, s.layer.system, s.layer.rec = nil, nil, nil
	s4BlockStreams.Put(s)
}

// Layer returns the stream of the system in the middle, whose state is that of the
// block. It must not be advanced.
func (s *S4BlockStream) Layer() *LTIStream { return &s.layer }

// Reset returns to the beginning of the sequences.
func (s *S4BlockStream) Reset() { s.layer.Reset() }

// Clone returns an independent stream in the same state.
func (s *S4BlockStream) Clone() seqmix.Stream {
	c := new(S4BlockStream)
	c.begin(s.block, s.layer.rec, s.layer.batch)
	copy(c.layer.state, s.layer.state)
	return c
}

// AppendBinary appends the state.
func (s *S4BlockStream) AppendBinary(b []byte) ([]byte, error) { return s.layer.AppendBinary(b) }

// UnmarshalBinary replaces the state by a saved one, of a stream with as many sequences
// of a block with the same kind and size of system.
func (s *S4BlockStream) UnmarshalBinary(saved []byte) error { return s.layer.UnmarshalBinary(saved) }

// Mix computes the next positions.
func (s *S4BlockStream) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("ssm.S4BlockStream.Mix", dst, src, s.block.Dim())
	tensor.CheckSeq("ssm.S4BlockStream.Mix", src, s.layer.batch, -1, -1)
	mixBlocks(s, dst, src, 0, nil)
}

// mixBlock computes one block.
func (s *S4BlockStream) mixBlock(dst, src tensor.Seq, first, _ int, _ []int) {
	s.scratch.Reset()
	s.mix(dst, src, first)
	s.scratch.Release()
}

// mix computes some positions of sequence first and the ones after it. It takes what
// it needs from scratch, which the caller has reset.
func (s *S4BlockStream) mix(dst, src tensor.Seq, first int) {
	v := s.inputOf(dst, src)
	s.layer.run(v.dst, v.src, first)
	s.outputOf(dst, v.dst)
}

// systemIO is the input of the system and where its output goes.
type systemIO struct{ dst, src tensor.Seq }

// inputOf returns what the system reads, and where it may write.
func (s *S4BlockStream) inputOf(dst, src tensor.Seq) systemIO {
	m := s.block
	if m.input == nil {
		return systemIO{dst, src}
	}
	v := s.scratch.TakeSeq(src.Batch, src.Len, m.layer.Dim())
	m.input.Apply(v, src)
	return systemIO{v, v}
}

// outputOf computes dst from the output w of the system, which may be dst.
func (s *S4BlockStream) outputOf(dst, w tensor.Seq) {
	wide := s.scratch.Take(min(blockRows, w.Batch*w.Len) * 2 * dst.Dim)
	if d, x := rowmat.Of(dst), rowmat.Of(w); d.Data != nil && x.Data != nil {
		s.rows(d, x, wide)
		return
	}
	for b := range dst.Batch {
		s.rows(dst.Sequence(b).Mat(), w.Sequence(b).Mat(), wide)
	}
}

// rows is outputOf for the rows of matrices, with room for blockRows rows, or as many
// as there are, of 2·d elements.
func (s *S4BlockStream) rows(dst, w tensor.Mat, wide []float32) {
	for i := 0; i < dst.Rows; i += blockRows {
		n := min(blockRows, dst.Rows-i)
		x, y := partOf(w, i, n), tensor.MatOf(wide[:n*2*dst.Cols], n, 2*dst.Cols)
		s.stage.run(false, x, x)
		s.block.output.ApplyMat(y, x)
		s.stage.run(true, partOf(dst, i, n), y)
	}
}

// partOf returns n rows of m, from the i-th on.
func partOf(m tensor.Mat, i, n int) tensor.Mat {
	m.Data, m.Rows = m.Data[i*m.Stride:(i+n-1)*m.Stride+m.Cols], n
	return m
}

// An s4Stage is what a block does around its last projection, on the rows of matrices:
// GELU before it, and the gate after it.
type s4Stage struct {
	gate     bool
	dst, src tensor.Mat
}

// stageGrain is the number of elements from which it is worth splitting.
const stageGrain = 1 << 12

func (s *s4Stage) run(gate bool, dst, src tensor.Mat) {
	*s = s4Stage{gate, dst, src}
	par.Do(dst.Rows, stageGrain/max(src.Cols, 1)+1, s)
	*s = s4Stage{}
}

// Run computes rows lo to hi-1.
func (s *s4Stage) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		y, x := s.dst.Row(i), s.src.Row(i)
		if s.gate {
			nn.Sigmoid.Gate(y, x[:len(y)], x[len(y):])
		} else {
			nn.GELU.Apply(y, x)
		}
	}
}
