package based

import (
	"fmt"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/tensor"
)

const (
	panel = kernel.PanelWidth

	// chunkLen is the number of positions after which keys and values are added to the
	// sums. What a position costs beside the sums grows with it, what each addition
	// costs for a position becomes less. It is a multiple of panel.
	chunkLen = 64

	// Whole sequences of up to quadraticLen positions are one chunk: so many keys cost no
	// more than the sums, which are not needed then. Longer ones begin with a chunk of
	// firstLen. Streams do without, for they would have to hold as many keys.
	quadraticLen = 448
	firstLen     = 128
)

// wholeChunk returns the length of the first chunk of a sequence that is computed as a
// whole, and whether there are more.
func wholeChunk(length int) (first int, more bool) {
	if length <= quadraticLen {
		return roundUp(length, panel), false
	}
	return firstLen, true
}

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

func resize(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}

// A State is what linear attention remembers of a batch of sequences: for each
// sequence and head the sums S and z of [Attention], and up to 63 keys and values that
// have not been added to them yet. Its size is fixed.
//
// It is made by [Attention.NewState] and serves one goroutine at a time.
type State struct {
	attention Attention
	taylor    bool // the map is Taylor
	batch     int
	f, d      int // width of queries and keys, and of values, of a head
	features  int
	keyWidth  int // of what is kept of a key: the key itself for Taylor, else its features
	room      int // for so many keys and values

	// For each sequence and head, in panels of 32 as matrix products read them: the sums
	// S as [⌈d/32⌉][features][32], the kept keys as [room/32][keyWidth][32], the kept
	// values as [⌈d/32⌉][room][32]. z is padded to whole vectors.
	sums, norms  []float32
	keys, values []float32

	at  cursor
	run run
}

// A cursor says how far a sequence has got.
type cursor struct {
	position int  // of the next one
	kept     int  // keys and values kept
	summed   bool // whether there is anything in the sums
}

// begin makes s a state at the beginning of its sequences, using its memory again. The
// first chunk has up to first positions; if that is all of them, there are no sums.
func (s *State) begin(a Attention, batch, f, d, first int, sums bool) {
	s.attention, s.batch, s.f, s.d = a, batch, f, d
	_, s.taylor = a.Map.(Taylor)
	s.features = a.Map.Features(f)
	s.keyWidth = s.features
	if s.taylor {
		s.keyWidth = f
	}
	s.room = max(chunkLen, first)
	units, summed := batch*a.Heads, 0
	if sums {
		summed = units
	}
	s.sums = resize(s.sums, summed*s.sumLen())
	s.norms = resize(s.norms, summed*s.normLen())
	s.keys = resize(s.keys, units*s.keyLen())
	s.values = resize(s.values, units*s.valueLen())
	s.Reset()
}

// The lengths of each part for one sequence and head.
func (s *State) sumLen() int   { return roundUp(s.d, panel) * s.features }
func (s *State) normLen() int  { return kernel.TaylorWidth(s.features) }
func (s *State) keyLen() int   { return s.room * s.keyWidth }
func (s *State) valueLen() int { return s.room * roundUp(s.d, panel) }

// part returns that of unit u, which is head u%Heads of sequence u/Heads.
func part(all []float32, u, size int) []float32 { return all[u*size : (u+1)*size : (u+1)*size] }

// Reset returns to the beginning of the sequences.
func (s *State) Reset() {
	s.at = cursor{}
	clear(s.sums)
	clear(s.norms)
}

// Clone returns an independent copy.
func (s *State) Clone() *State {
	c := new(State)
	c.copyFrom(s)
	return c
}

// copyFrom makes c a copy of s, using its memory again.
func (c *State) copyFrom(s *State) {
	c.begin(s.attention, s.batch, s.f, s.d, s.room, true)
	copy(c.sums, s.sums)
	copy(c.norms, s.norms)
	copy(c.keys, s.keys)
	copy(c.values, s.values)
	c.at = s.at
}

// Position returns the number of positions that the state has seen.
func (s *State) Position() int { return s.at.position }

// Apply computes the next positions, see [Attention.Apply]. Positions may be divided
// into any number of calls: the bits of the results are the same.
func (s *State) Apply(dst, q, k, v tensor.Seq) {
	const op = "based.State.Apply"
	f, d := s.attention.checkApply(op, dst, q, k, v)
	if f != s.f || d != s.d {
		panic(&tensor.ShapeError{Op: op, Got: []int{q.Dim, v.Dim}, Want: []int{s.f * s.attention.Heads, s.d * s.attention.Heads}})
	}
	tensor.CheckSeq(op, q, s.batch, -1, -1)
	s.apply(dst, q, k, v)
}

func (s *State) apply(dst, q, k, v tensor.Seq) {
	for i := 0; i < q.Len; i += blockPositions {
		end := min(i+blockPositions, q.Len)
		s.run.scratch.Reset()
		s.attend(dst.Slice(i, end), s.scaled(q.Slice(i, end)), s.scaled(k.Slice(i, end)), v.Slice(i, end), 0, s.at)
		s.at = s.advance(s.at, end-i)
	}
}

// scaled returns a copy of x that is scaled as Taylor needs it, or else x itself.
func (s *State) scaled(x tensor.Seq) tensor.Seq {
	if !s.taylor {
		return x
	}
	c := s.take(x.Batch, x.Len, x.Dim, &s.run.scratch)
	for b := range x.Batch {
		kernel.Scale(c.Sequence(b).Data, taylorScale(s.f), x.Sequence(b).Data)
	}
	return c
}

// take returns a temporary Seq with some elements behind it, since the features of
// queries are made of whole vectors.
func (s *State) take(batch, length, dim int, scratch *tensor.Scratch) tensor.Seq {
	n := batch * length * dim
	t := tensor.SeqOf(scratch.Take(n + kernel.TaylorWidth(1))[:n], batch, length, dim)
	return t
}

// advance returns where sequences are n positions after c.
func (s *State) advance(c cursor, n int) cursor {
	c.position += n
	for n > 0 {
		if c.kept == s.limit(c) {
			c.kept, c.summed = 0, true
		}
		m := min(n, s.limit(c)-c.kept)
		c.kept += m
		n -= m
	}
	return c
}

// limit returns the length of the chunk at c.
func (s *State) limit(c cursor) int {
	if c.summed {
		return chunkLen
	}
	return s.room
}

// Sums returns copies of the sums over all positions so far: S with shape (batch,
// Heads, d, features) and z with shape (batch, Heads, features). They are kv_state and
// k_state of HazyResearch/based, but that for Taylor each feature is there once: see
// [Taylor.Expand].
func (s *State) Sums() (kv, z *tensor.Tensor) {
	c := s.Clone()
	c.flush()
	kv = tensor.New(s.batch, s.attention.Heads, s.d, s.features)
	z = tensor.New(s.batch, s.attention.Heads, s.features)
	for u := range s.batch * s.attention.Heads {
		kernel.UnpackPanels(part(kv.Data(), u, s.d*s.features), part(c.sums, u, s.sumLen()), s.d, s.features, s.features, 1)
		copy(part(z.Data(), u, s.features), part(c.norms, u, s.normLen()))
	}
	return kv, z
}

// flush adds the kept keys and values of all sequences to the sums.
func (s *State) flush() {
	if s.at.kept == 0 {
		return
	}
	w := workers.Get().(*worker)
	for u := range s.batch * s.attention.Heads {
		w.flush(s, u, s.at.kept)
	}
	workers.Put(w)
	s.at.kept, s.at.summed = 0, true
}

// SetSums makes s the state of sequences that have seen position positions with the
// given sums, which have the form that Sums returns. It panics with a
// *tensor.ShapeError if a shape does not fit.
func (s *State) SetSums(kv, z *tensor.Tensor, position int) {
	const op = "based.State.SetSums"
	checkShape(op, kv, s.batch, s.attention.Heads, s.d, s.features)
	checkShape(op, z, s.batch, s.attention.Heads, s.features)
	s.Reset()
	s.setSums(kv.Float32s(), z.Float32s())
	s.at = cursor{position: position, summed: true}
}

func (s *State) setSums(kv, z []float32) {
	for u := range s.batch * s.attention.Heads {
		kernel.PackPanels(part(s.sums, u, s.sumLen()), part(kv, u, s.d*s.features), s.d, s.features, s.features, 1)
		copy(part(s.norms, u, s.normLen()), part(z, u, s.features))
	}
}

func checkShape(op string, t *tensor.Tensor, want ...int) {
	got := t.Shape()
	fits := len(got) == len(want)
	for i := 0; fits && i < len(want); i++ {
		fits = got[i] == want[i]
	}
	if !fits {
		panic(&tensor.ShapeError{Op: op, Got: got, Want: want})
	}
}

const stateKind, stateVersion = "based.State", 1

// sizes identify what a saved state belongs to.
func (s *State) sizes() []int {
	return []int{s.batch, s.attention.Heads, s.f, s.d, s.features, chunkLen}
}

// AppendBinary appends the state in the form that UnmarshalBinary reads.
func (s *State) AppendBinary(b []byte) ([]byte, error) {
	units, summed := s.batch*s.attention.Heads, 0
	kv := make([]float32, units*s.d*s.features)
	z := make([]float32, units*s.features)
	if s.at.summed {
		summed = 1
	}
	for u := range units {
		kernel.UnpackPanels(part(kv, u, s.d*s.features), part(s.sums, u, s.sumLen()), s.d, s.features, s.features, 1)
		copy(part(z, u, s.features), part(s.norms, u, s.normLen()))
	}
	keys, values := make([]float32, units*s.at.kept*s.keyWidth), make([]float32, units*s.at.kept*s.d)
	s.copyKept(keys, values, s.at.kept, false)
	r := state.Record{
		Kind: stateKind, Version: stateVersion,
		Ints:   append(s.sizes(), s.at.position, s.at.kept, summed),
		Floats: state.FloatsOf(kv, z, keys, values),
	}
	return r.Append(b), nil
}

// copyKept copies n kept keys and values, in rows, out of the panels or into them.
func (s *State) copyKept(keys, values []float32, n int, toPanels bool) {
	move := func(dst, src *float32) {
		if toPanels {
			dst, src = src, dst
		}
		*dst = *src
	}
	for u := range s.batch * s.attention.Heads {
		k, v := part(s.keys, u, s.keyLen()), part(s.values, u, s.valueLen())
		for i := range n {
			for j := range s.keyWidth {
				move(&keys[(u*n+i)*s.keyWidth+j], &k[(i/panel*s.keyWidth+j)*panel+i%panel])
			}
			for j := range s.d {
				move(&values[(u*n+i)*s.d+j], &v[(j/panel*s.room+i)*panel+j%panel])
			}
		}
	}
}

// UnmarshalBinary replaces the state by a saved one. The number of sequences, of heads
// and of features and the widths must be those of s. If it fails, s is unchanged.
func (s *State) UnmarshalBinary(saved []byte) error {
	r, err := state.DecodeAny(saved, stateKind, stateVersion)
	if err != nil {
		return fmt.Errorf("based: %w", err)
	}
	sizes := s.sizes()
	if len(r.Ints) != len(sizes)+3 {
		return fmt.Errorf("based: saved state with %d sizes, want %d", len(r.Ints), len(sizes)+3)
	}
	for i, n := range sizes {
		if r.Ints[i] != n {
			return fmt.Errorf("based: saved state with sizes %v, want %v", r.Ints[:len(sizes)], sizes)
		}
	}
	at := cursor{position: r.Ints[len(sizes)], kept: r.Ints[len(sizes)+1], summed: r.Ints[len(sizes)+2] == 1}
	if at.kept < 0 || at.kept > chunkLen || at.position < at.kept {
		return fmt.Errorf("based: saved state after %d positions that keeps %d", at.position, at.kept)
	}
	units := s.batch * s.attention.Heads
	if err := r.WantFloats(units*s.d*s.features, units*s.features, units*at.kept*s.keyWidth, units*at.kept*s.d); err != nil {
		return fmt.Errorf("based: %w", err)
	}
	read := make([][]float32, len(r.Floats))
	for i, f := range r.Floats {
		read[i] = make([]float32, f.Len())
		f.CopyTo(read[i])
	}
	s.Reset()
	s.setSums(read[0], read[1])
	s.copyKept(read[2], read[3], at.kept, true)
	s.at = at
	return nil
}
