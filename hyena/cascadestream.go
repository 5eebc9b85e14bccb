package hyena

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A CascadeStream is a [Cascade] in the middle of a batch of sequences. It sees the
// parameters as they are when it is made or reset.
type CascadeStream struct {
	cascade *Cascade
	batch   int
	short   seqmix.Stream
	inner   seqmix.Stream // a *ModalStream or a *nn.LongConvStream
	scratch tensor.Scratch
}

// NewStream returns a stream at the beginning of batch sequences.
func (c *Cascade) NewStream(batch int) (*CascadeStream, error) {
	if batch < 1 {
		return nil, fmt.Errorf("hyena: a stream of %d sequences", batch)
	}
	short, err := c.short.NewStream(batch)
	inner, err2 := c.inner(batch)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	return &CascadeStream{cascade: c, batch: batch, short: short, inner: inner}, nil
}

// Reset returns to the beginning of the sequences.
func (s *CascadeStream) Reset() {
	s.short.Reset()
	if l, ok := s.inner.(*nn.LongConvStream); ok {
		l.Rebase(s.cascade.conv())
	} else {
		s.inner.Reset()
	}
}

// Clone returns an independent stream in the same state.
func (s *CascadeStream) Clone() *CascadeStream {
	return &CascadeStream{cascade: s.cascade, batch: s.batch, short: s.short.Clone(), inner: s.inner.Clone()}
}

// Apply computes the next positions: see [Cascade.Apply].
func (s *CascadeStream) Apply(dst, src tensor.Seq) {
	checkCascade("hyena.CascadeStream.Apply", dst, src, s.batch, s.cascade.cfg.Dim)
	step := max(1, blockRows/s.batch)
	for t := 0; t < src.Len; t += step {
		end := min(t+step, src.Len)
		s.scratch.Reset()
		z := s.scratch.TakeSeq(s.batch, end-t, src.Dim)
		tensor.Copy(z, src.Slice(t, end))
		y := s.scratch.TakeSeq(s.batch, end-t, dst.Dim)
		s.run(y, z, nil, &s.scratch)
		tensor.Copy(dst.Slice(t, end), y)
	}
	s.scratch.Release()
}

// run computes one block, contiguous in memory, and overwrites z. If there is a mask, a
// number for each position of each sequence, it multiplies what the short filter gives.
func (s *CascadeStream) run(y, z tensor.Seq, mask []float32, scratch *tensor.Scratch) {
	s.short.Mix(z, z)
	applyMask(z, mask)
	x2 := scratch.TakeSeq(y.Batch, y.Len, y.Dim)
	s.cascade.split(y.Mat(), x2.Mat(), z.Mat())
	s.inner.Mix(y, y)
	runGates(y.Mat(), y.Mat(), x2.Mat())
}

// applyMask multiplies every position by a number, unless there is no mask.
func applyMask(x tensor.Seq, mask []float32) {
	for i, v := range mask {
		row := x.Mat().Row(i)
		tensor.Scale(row, v, row)
	}
}

// State returns copies of the states of both filters. short has shape (batch, 3d, K-1)
// and holds the last inputs of the short filter, oldest first, zeros where there were
// none. inner is that of the inner filter: if it is modal, see [ModalStream.State]; if it
// is finite, its last inputs x1·v in the same form, of shape (batch, d, taps-1).
func (s *CascadeStream) State() (short, inner *tensor.Tensor) {
	c := s.cascade.cfg
	short = channelsFirst(shortInputs(s.short, s.batch, c.ShortLength-1, 3*c.Dim))
	if m, ok := s.inner.(*ModalStream); ok {
		return short, m.State()
	}
	return short, channelsFirst(s.inner.(*nn.LongConvStream).Inputs(c.Length - 1))
}

// shortInputs returns the last n inputs of a stream of a short convolution, which it
// tells in its saved state.
func shortInputs(s seqmix.Stream, batch, n, dim int) tensor.Seq {
	saved, err := s.AppendBinary(nil)
	if err != nil {
		panic(err) // it is in memory
	}
	r, err := state.DecodeAny(saved, "nn.CausalConv1D", 1)
	if err == nil {
		err = r.WantFloats(batch * n * dim)
	}
	if err != nil {
		panic(err)
	}
	seq := tensor.NewSeq(batch, n, dim)
	r.Floats[0].CopyTo(seq.Data)
	return seq
}

// channelsFirst returns a tensor of shape (batch, channels, positions).
func channelsFirst(s tensor.Seq) *tensor.Tensor {
	t := tensor.New(s.Batch, s.Dim, s.Len)
	for b := range s.Batch {
		for i := range s.Len {
			for c, v := range s.At(b, i) {
				t.Data()[(b*s.Dim+c)*s.Len+i] = v
			}
		}
	}
	return t
}

const cascadeKind, cascadeVersion = "hyena.Cascade", 1

func (s *CascadeStream) sizes() []int {
	c := s.cascade.cfg
	return []int{s.batch, c.Dim, c.ShortLength, int(c.Kind), c.States, c.Length}
}

// AppendBinary appends the state.
func (s *CascadeStream) AppendBinary(b []byte) ([]byte, error) {
	return appendParts(b, cascadeKind, cascadeVersion, s.sizes(), s.short, s.inner)
}

// appendParts appends a record with the states of streams.
func appendParts(b []byte, kind string, version int, sizes []int, parts ...seqmix.Stream) ([]byte, error) {
	r := state.Record{Kind: kind, Version: version, Ints: sizes}
	for _, p := range parts {
		saved, err := p.AppendBinary(nil)
		if err != nil {
			return nil, fmt.Errorf("hyena: %w", err)
		}
		r.Nested = append(r.Nested, saved)
	}
	return r.Append(b), nil
}

// restoreParts reads such a record into streams, and returns the integers after sizes, of
// which there must be so many. If it fails, some streams may have changed.
func restoreParts(saved []byte, kind string, version int, sizes []int, more int, parts ...seqmix.Stream) ([]int, error) {
	r, err := state.DecodeAny(saved, kind, version)
	if err != nil {
		return nil, fmt.Errorf("hyena: %w", err)
	}
	if n := len(sizes); len(r.Ints) != n+more || !slices.Equal(r.Ints[:n], sizes) {
		return nil, fmt.Errorf("hyena: saved state of a %s with sizes %v, want %v", kind, r.Ints, sizes)
	}
	if len(r.Nested) != len(parts) {
		return nil, fmt.Errorf("hyena: saved state of a %s with %d parts, want %d", kind, len(r.Nested), len(parts))
	}
	for i, p := range parts {
		if err := p.UnmarshalBinary(r.Nested[i]); err != nil {
			return nil, fmt.Errorf("hyena: %w", err)
		}
	}
	return r.Ints[len(sizes):], nil
}

// UnmarshalBinary replaces the state by a saved one, of a stream of a cascade with the
// same sizes and with as many sequences. If it fails, the state is unchanged.
func (s *CascadeStream) UnmarshalBinary(saved []byte) error {
	fresh := s.Clone() // so that nothing changes if a part is damaged
	if _, err := restoreParts(saved, cascadeKind, cascadeVersion, s.sizes(), 0, fresh.short, fresh.inner); err != nil {
		return err
	}
	s.short, s.inner = fresh.short, fresh.inner
	return nil
}
