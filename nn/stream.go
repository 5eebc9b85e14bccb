package nn

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// scratchMixer is a layer that treats every position on its own and needs
// temporary memory for it.
type scratchMixer interface {
	seqmix.Mixer
	mix(dst, src tensor.Seq, s *tensor.Scratch)
}

// mix computes layer.mix with borrowed memory.
func mix(layer scratchMixer, dst, src tensor.Seq) {
	s := tensor.GetScratch()
	layer.mix(dst, src, s)
	tensor.PutScratch(s)
}

// newStream returns a stateless stream with temporary memory of its own.
func newStream(layer scratchMixer, batch int, kind string) seqmix.Stream {
	return &scratchStream{Stream: seqmix.NewStatelessStream(layer, batch, kind), layer: layer, batch: batch, kind: kind, op: kind + " stream"}
}

type scratchStream struct {
	seqmix.Stream
	layer    scratchMixer
	batch    int
	kind, op string
	scratch  tensor.Scratch
}

func (s *scratchStream) Mix(dst, src tensor.Seq) {
	tensor.CheckSeq(s.op, src, s.batch, -1, -1)
	s.scratch.Reset()
	s.layer.mix(dst, src, &s.scratch)
	s.scratch.Release()
}

func (s *scratchStream) Clone() seqmix.Stream { return newStream(s.layer, s.batch, s.kind) }

// Reach is 0: see [seqmix.RecordSegment].
func (s *scratchStream) Reach() int { return 0 }
