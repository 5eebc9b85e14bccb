package seqmix

import (
	"sync"

	"github.com/seqmix/seqmix/tensor"
)

// A Grouper is a Stream that can be advanced together with others of the same mixer:
// a server that has many conversations of one model then reads the weights once for
// all of them. Use it through [MixEach].
type Grouper interface {
	Stream

	// MixEach is [MixEach] for streams of one sequence each, all of them of the mixer
	// of the receiver, and the receiver the first of them.
	MixEach(dst, src tensor.Seq, streams []Stream)
}

// MixEach computes the next src.Len positions of several streams of one mixer, each
// of one sequence: sequence i of src and dst belongs to streams[i]. The results are
// those of streams[i].Mix, bit for bit. Where the mixer knows how, matrix products
// are computed for all streams at once.
//
// The streams may be in different places of their sequences. No stream may occur
// twice. It panics with a *tensor.ShapeError if src.Batch is not len(streams).
func MixEach(dst, src tensor.Seq, streams []Stream) {
	tensor.CheckSeq("seqmix.MixEach", src, len(streams), -1, -1)
	tensor.CheckMix("seqmix.MixEach", dst, src, src.Dim)
	if len(streams) == 0 {
		return
	}
	if g, ok := streams[0].(Grouper); ok && len(streams) > 1 {
		g.MixEach(dst, src, streams)
		return
	}
	for i, s := range streams {
		s.Mix(dst.Sequence(i), src.Sequence(i))
	}
}

// groups lends memory for lists of streams.
var groups = sync.Pool{New: func() any { return new([]Stream) }}

// mixParts calls MixEach for one part of each of several streams.
func mixParts(dst, src tensor.Seq, streams []Stream, part func(Stream) Stream) {
	list := groups.Get().(*[]Stream)
	for _, s := range streams {
		*list = append(*list, part(s))
	}
	MixEach(dst, src, *list)
	clear(*list)
	*list = (*list)[:0]
	groups.Put(list)
}
