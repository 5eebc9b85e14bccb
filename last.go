package seqmix

import "github.com/seqmix/seqmix/tensor"

// A LastMixer is a Stream that does less where only the last output is wanted: of a
// prompt, a language model reads every token, but scores only what comes after the last.
// Use it through [MixLast].
type LastMixer interface {
	Stream

	// MixLast is [MixLast] of the receiver, for a src of two positions or more.
	MixLast(dst, src tensor.Seq)
}

// MixLast advances a stream as Mix(…, src) does, and computes its output at the last
// position of src alone: dst has Len 1, and must not overlap src. What is in src afterwards
// is not defined. Where the mixer knows how, nothing is computed that only the other
// outputs need. It panics with a *tensor.ShapeError if dst and src do not fit, or if src
// has no position.
func MixLast(s Stream, dst, src tensor.Seq) {
	const op = "seqmix.MixLast"
	tensor.CheckSeq(op, src, -1, -1, -1)
	tensor.CheckSeq(op, dst, src.Batch, 1, src.Dim)
	if src.Len < 2 {
		s.Mix(dst, src)
		return
	}
	if l, ok := s.(LastMixer); ok {
		l.MixLast(dst, src)
		return
	}
	last := src.Slice(src.Len-1, src.Len)
	if isStateless(s) {
		s.Mix(dst, last)
		return
	}
	s.Mix(src, src)
	tensor.Copy(dst, last)
}

// isStateless reports whether a stream treats every position on its own.
func isStateless(s Stream) bool {
	switch s := s.(type) {
	case stackStream:
		for _, part := range s {
			if !isStateless(part) {
				return false
			}
		}
		return true
	case *residualStream:
		return isStateless(s.inner)
	}
	r, ok := s.(interface{ Reach() int })
	return ok && r.Reach() == 0
}

// MixLast computes all outputs of the layers that are followed by one that needs them.
func (s stackStream) MixLast(dst, src tensor.Seq) {
	i := len(s)
	for i > 0 && isStateless(s[i-1]) {
		i--
	}
	if i == 0 {
		tensor.Copy(dst, src.Slice(src.Len-1, src.Len))
	} else {
		stackStream(s[:i-1]).Mix(src, src)
		MixLast(s[i-1], dst, src)
	}
	stackStream(s[i:]).Mix(dst, dst)
}

// MixLast computes the branch, and adds to its end that of src.
func (s *residualStream) MixLast(dst, src tensor.Seq) {
	s.scratch.Reset()
	branch := s.scratch.TakeSeq(src.Batch, src.Len, src.Dim)
	tensor.Copy(branch, src)
	MixLast(s.inner, dst, branch)
	tensor.AddSeq(dst, dst, src.Slice(src.Len-1, src.Len))
	s.scratch.Release()
}
