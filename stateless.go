package seqmix

import (
	"fmt"

	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/tensor"
)

// NewStatelessStream returns the Stream of a mixer that treats every position on
// its own, as norms, linear layers and MLPs do: it carries nothing from call to
// call. kind names the mixer in saved states, as in "nn.RMSNorm".
func NewStatelessStream(m Mixer, batch int, kind string) Stream {
	return &statelessStream{m, batch, kind, kind + " stream"}
}

type statelessStream struct {
	mixer    Mixer
	batch    int
	kind, op string
}

func (s *statelessStream) Mix(dst, src tensor.Seq) {
	tensor.CheckSeq(s.op, src, s.batch, -1, -1)
	s.mixer.Mix(dst, src)
}

func (s *statelessStream) MixEach(dst, src tensor.Seq, _ []Stream) { s.mixer.Mix(dst, src) }

func (s *statelessStream) Reset()        {}
func (s *statelessStream) Clone() Stream { c := *s; return &c }

func (s *statelessStream) AppendBinary(b []byte) ([]byte, error) {
	r := state.Record{Kind: s.kind, Version: 1, Ints: []int{s.mixer.Dim(), s.batch}}
	return r.Append(b), nil
}

func (s *statelessStream) UnmarshalBinary(data []byte) error {
	if _, err := state.Decode(data, s.kind, 1, s.mixer.Dim(), s.batch); err != nil {
		return fmt.Errorf("seqmix: %w", err)
	}
	return nil
}
