package monarch

import (
	"fmt"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/tensor"
)

// A CausalStream is a [CausalMixer] in the middle of a batch of sequences. It gives what Mix
// does to the bit, however a sequence is cut. After LMax positions it ends; Mix panics with a
// *tensor.ShapeError if there are more.
type CausalStream struct {
	mixer *CausalMixer
	batch int
	n     int // positions so far

	// For each sequence and strip of 32 channels, rows of 32: the b positions of the chunk
	// at x, and z[k][o] of the chunks that are done at z, row o·C+k.
	x, z []float32

	dst, src tensor.Seq
}

// NewStream returns a *[CausalStream] at the beginning of batch sequences.
func (m *CausalMixer) NewStream(batch int) (seqmix.Stream, error) {
	if batch < 1 {
		return nil, fmt.Errorf("monarch: a stream of %d sequences", batch)
	}
	s := new(CausalStream)
	s.begin(m, batch)
	return s, nil
}

// begin makes s a stream at the beginning of its sequences, using its memory again.
func (s *CausalStream) begin(m *CausalMixer, batch int) {
	s.mixer, s.batch = m, batch
	units := batch * s.strips() * lanes
	s.x = resize(s.x, units*m.cfg.Block)
	s.z = resize(s.z, units*m.cfg.Block*m.cfg.chunks())
	s.Reset()
}

func resize(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}

// strips returns the number of strips of channels.
func (s *CausalStream) strips() int { return (s.mixer.cfg.Dim + lanes - 1) / lanes }

// Len returns the number of positions so far.
func (s *CausalStream) Len() int { return s.n }

// Reset returns to the beginning of the sequences.
func (s *CausalStream) Reset() {
	s.n = 0
	clear(s.x) // the lanes that are no channels stay zero
}

// Clone returns an independent stream in the same state.
func (s *CausalStream) Clone() seqmix.Stream {
	c := new(CausalStream)
	c.begin(s.mixer, s.batch)
	c.n = s.n
	copy(c.x, s.x)
	copy(c.z, s.z)
	return c
}

// Mix computes the next positions. It panics with a *tensor.ShapeError if they end after
// LMax.
func (s *CausalStream) Mix(dst, src tensor.Seq) {
	const op = "monarch.CausalStream.Mix"
	tensor.CheckMix(op, dst, src, s.mixer.Dim())
	tensor.CheckSeq(op, src, s.batch, -1, -1)
	checkLen(op, src, s.mixer.cfg.LMax-s.n)
	s.run(dst, src)
}

// causalGrain is the number of multiply-adds from which it is worth splitting: some 5 µs on
// one core.
const causalGrain = 150_000

func (s *CausalStream) run(dst, src tensor.Seq) {
	s.dst, s.src = dst, src
	c := s.mixer.cfg
	work := src.Len * (2*c.Block + s.n/c.Block) * lanes
	par.Do(src.Batch*s.strips(), causalGrain/max(work, 1)+1, (*causalStrips)(s))
	s.n += src.Len
	s.dst, s.src = tensor.Seq{}, tensor.Seq{}
}

// causalStrips is the work on some strips.
type causalStrips CausalStream

// Run advances strips lo to hi-1, those of sequence 0 first.
func (t *causalStrips) Run(lo, hi int) {
	s := (*CausalStream)(t)
	b := s.mixer.cfg.Block
	for i := lo; i < hi; i++ {
		for at := 0; at < s.src.Len; {
			o := (s.n + at) % b
			n := min(b-o, s.src.Len-at)
			s.advance(i, at, o, n)
			at += n
		}
	}
}

// advance computes n positions of one chunk, from place o in it on, which are positions at
// and later of the call.
func (s *CausalStream) advance(unit, at, o, n int) {
	cfg := s.mixer.cfg
	b, chunks, chunk := cfg.Block, cfg.chunks(), (s.n+at)/cfg.Block
	sequence, first := unit/s.strips(), unit%s.strips()*lanes
	width := min(lanes, cfg.Dim-first)
	x, z := s.x[unit*b*lanes:(unit+1)*b*lanes], s.z[unit*b*chunks*lanes:(unit+1)*b*chunks*lanes]
	a := s.mixer.a.Data()[chunk*b*b:]
	for i := range n {
		copy(x[(o+i)*lanes:], s.src.At(sequence, at+i)[first:first+width])
	}
	for i := range n {
		row := o + i
		y := s.dst.At(sequence, at+i)[first : first+width]
		kernel.Gemm(y, width, a[row*b:], b, x, 1, width, row+1, false)
		w2 := s.mixer.w2.Data()[(row*chunks+chunk)*chunks:]
		kernel.Gemm(y, width, w2, chunks, z[row*chunks*lanes:], 1, width, chunk, true)
	}
	if o+n == b && chunk+1 < chunks {
		kernel.Gemm(z[chunk*lanes:], chunks*lanes, s.mixer.w1.Data()[chunk*b*b:], b, x, b, lanes, b, false)
	}
}

const causalKind, causalVersion = "monarch.CausalMixer", 1

func (s *CausalStream) sizes() []int {
	c := s.mixer.cfg
	return []int{s.batch, c.Dim, c.Block, c.chunks()}
}

// each calls f for the rows that the state consists of: the positions of the chunk and
// what is known of the chunks that are done.
func (s *CausalStream) each(n int, f func(row []float32)) {
	b, chunks := s.mixer.cfg.Block, s.mixer.cfg.chunks()
	for unit := range s.batch * s.strips() {
		for i := range n % b {
			f(s.x[(unit*b+i)*lanes:][:lanes])
		}
		for o := range b {
			for k := range min(n/b, chunks-1) {
				f(s.z[((unit*b+o)*chunks+k)*lanes:][:lanes])
			}
		}
	}
}

// AppendBinary appends the state.
func (s *CausalStream) AppendBinary(saved []byte) ([]byte, error) {
	var rows []float32
	s.each(s.n, func(row []float32) { rows = append(rows, row...) })
	r := state.Record{Kind: causalKind, Version: causalVersion, Ints: append(s.sizes(), s.n), Floats: state.FloatsOf(rows)}
	return r.Append(saved), nil
}

// UnmarshalBinary replaces the state by a saved one, of a stream of a mixer with the same
// sizes and with as many sequences.
func (s *CausalStream) UnmarshalBinary(saved []byte) error {
	r, err := state.DecodeAny(saved, causalKind, causalVersion)
	if err != nil {
		return fmt.Errorf("monarch: %w", err)
	}
	sizes := s.sizes()
	n := -1
	if len(r.Ints) == len(sizes)+1 {
		n = r.Ints[len(sizes)]
	}
	if n < 0 || n > s.mixer.cfg.LMax || !slices.Equal(r.Ints[:len(sizes)], sizes) {
		return fmt.Errorf("monarch: saved state of a %s with sizes %v, want %v and the position", causalKind, r.Ints, sizes)
	}
	count := 0
	s.each(n, func(row []float32) { count += len(row) })
	if err := r.WantFloats(count); err != nil {
		return fmt.Errorf("monarch: %w", err)
	}
	rows := make([]float32, count)
	r.Floats[0].CopyTo(rows)
	s.Reset()
	s.n = n
	s.each(n, func(row []float32) { rows = rows[copy(row, rows):] })
	return nil
}
