package based

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/rowmat"
	"github.com/seqmix/seqmix/tensor"
)

// Sequences are computed in blocks, of so many positions of each and of so many
// altogether: enough for the matrix products to be efficient, few enough for what lies
// between them to stay in the cache.
const (
	blockPositions = 128
	blockRows      = 256
)

// groupLen returns the number of sequences of a block.
func groupLen(length int) int { return max(1, blockRows/max(1, min(length, blockPositions))) }

// A LinearAttentionStream is a [LinearAttention] in the middle of a batch of sequences.
// Positions may be divided into any number of calls: the bits of the results are the
// same.
type LinearAttentionStream struct {
	mixer   *LinearAttention
	state   State
	scratch tensor.Scratch
	group   []seqmix.Stream // those of MixEach, meanwhile
}

// begin makes s a stream at the beginning of its sequences, using its memory again.
func (s *LinearAttentionStream) begin(m *LinearAttention, batch, first int, sums bool) {
	s.mixer = m
	s.state.begin(m.attention, batch, m.cfg.FeatureDim, m.cfg.HeadDim, first, sums)
}

// Mix computes the next positions.
func (s *LinearAttentionStream) Mix(dst, src tensor.Seq) {
	const op = "based.LinearAttentionStream.Mix"
	tensor.CheckMix(op, dst, src, s.mixer.Dim())
	tensor.CheckSeq(op, src, s.state.batch, -1, -1)
	if src.Len > 0 {
		s.mix(dst, src)
	}
}

// mix goes through all blocks of some of the sequences before the next ones.
func (s *LinearAttentionStream) mix(dst, src tensor.Seq) {
	length, group := min(src.Len, blockPositions), groupLen(src.Len)
	var at cursor
	for b := 0; b < src.Batch; b += group {
		n := min(group, src.Batch-b)
		d, u := sequences(dst, b, n), sequences(src, b, n)
		at = s.state.at
		for t := 0; t < src.Len; t += length {
			end := min(t+length, src.Len)
			s.mixBlock(d.Slice(t, end), u.Slice(t, end), b, at)
			at = s.state.advance(at, end-t)
		}
	}
	s.state.at = at
}

// MixEach computes the next positions of several streams of one sequence each, see
// [seqmix.MixEach].
func (s *LinearAttentionStream) MixEach(dst, src tensor.Seq, streams []seqmix.Stream) {
	tensor.CheckMix("based.LinearAttentionStream.MixEach", dst, src, s.mixer.Dim())
	length, group := min(src.Len, blockPositions), groupLen(src.Len)
	for b := 0; b < src.Batch; b += group {
		n := min(group, src.Batch-b)
		s.group = streams[b : b+n]
		d, u := sequences(dst, b, n), sequences(src, b, n)
		for t := 0; t < src.Len; t += length {
			end := min(t+length, src.Len)
			s.mixBlock(d.Slice(t, end), u.Slice(t, end), 0, cursor{})
		}
	}
	s.group = nil
}

// mixBlock computes one block: of sequence first and those after it, which are at at, or,
// if there is a group, of its streams.
func (s *LinearAttentionStream) mixBlock(dst, src tensor.Seq, first int, at cursor) {
	m := s.mixer
	s.scratch.Reset()
	take := func(dim int) tensor.Seq { return s.state.take(src.Batch, src.Len, dim, &s.scratch) }
	q, k, v := take(m.cfg.Heads*m.cfg.FeatureDim), take(m.cfg.Heads*m.cfg.FeatureDim), take(m.cfg.Heads*m.cfg.HeadDim)
	rows := rowmat.Gather(src, &s.scratch)
	m.q.ApplyMat(q.Mat(), rows)
	m.k.ApplyMat(k.Mat(), rows)
	m.v.ApplyMat(v.Mat(), rows)
	if s.state.taylor {
		scale := taylorScale(m.cfg.FeatureDim)
		kernel.Scale(q.Data, scale, q.Data)
		kernel.Scale(k.Data, scale, k.Data)
	}
	if s.group != nil {
		s.attendEach(q, k, v)
	} else {
		s.state.attend(v, q, k, v, first, at)
	}
	out := rowmat.Of(dst)
	if out.Data == nil {
		out = take(dst.Dim).Mat()
	}
	m.proj.ApplyMat(out, v.Mat())
	rowmat.Scatter(dst, out)
	s.scratch.Release()
}

// attendEach is State.attend for the states of a group, v being the result.
func (s *LinearAttentionStream) attendEach(q, k, v tensor.Seq) {
	for i, t := range s.group {
		state := &t.(*LinearAttentionStream).state
		state.run.set(v.Sequence(i), wide(q, i), wide(k, i), v.Sequence(i), 0, state.at)
		state.at = state.advance(state.at, q.Len)
	}
	heads := s.mixer.cfg.Heads
	par.Do(len(s.group)*heads, s.state.grain(q.Len), (*groupTask)(s))
	for _, t := range s.group {
		t.(*LinearAttentionStream).state.run.forget()
	}
}

// wide is Seq.Sequence that leaves what is behind the sequence within reach.
func wide(s tensor.Seq, b int) tensor.Seq {
	s.Data, s.Batch = s.Data[b*s.Stride:(b+1)*s.Stride], 1
	return s
}

// groupTask is the attention of all streams of a group.
type groupTask LinearAttentionStream

// Run computes heads lo to hi-1, counted through the streams.
func (g *groupTask) Run(lo, hi int) {
	heads := g.mixer.cfg.Heads
	w := workers.Get().(*worker)
	for i := lo; i < hi; i++ {
		w.unit(&g.group[i/heads].(*LinearAttentionStream).state, 0, i%heads)
	}
	workers.Put(w)
}

// sequences returns n sequences of s, from the b-th on.
func sequences(s tensor.Seq, b, n int) tensor.Seq {
	s.Data = s.Data[b*s.Stride : (b+n-1)*s.Stride+s.Len*s.Dim]
	s.Batch = n
	return s
}

// Reset returns to the beginning of the sequences.
func (s *LinearAttentionStream) Reset() { s.state.Reset() }

// Clone returns an independent stream in the same state.
func (s *LinearAttentionStream) Clone() seqmix.Stream {
	c := &LinearAttentionStream{mixer: s.mixer}
	c.state.copyFrom(&s.state)
	return c
}

// State returns the state. It is the stream's own: what it is set to is what the stream
// continues from.
func (s *LinearAttentionStream) State() *State { return &s.state }

// AppendBinary appends the state.
func (s *LinearAttentionStream) AppendBinary(b []byte) ([]byte, error) {
	return s.state.AppendBinary(b)
}

// UnmarshalBinary replaces the state by a saved one, see [State.UnmarshalBinary].
func (s *LinearAttentionStream) UnmarshalBinary(saved []byte) error {
	return s.state.UnmarshalBinary(saved)
}
