package monarch_test

import (
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/tensor"
)

// FuzzState reads states that may be damaged: what is refused changes nothing, what is
// accepted is a state to continue from.
func FuzzState(f *testing.F) {
	mixers := []seqmix.Streamer{
		newMixer(f, monarch.MixerConfig{Dim: 3, LMax: 70, Bidirectional: new(false), Width: 4}, 1),
		newCausalMixer(f, monarch.CausalConfig{Dim: 3, LMax: 70, Block: 8}),
	}
	x := randomSeq(1, 2, 35, 3)
	var streams []seqmix.Stream
	for i, m := range mixers {
		s, err := m.NewStream(2)
		if err != nil {
			f.Fatal(err)
		}
		s.Mix(tensor.NewSeq(2, 35, 3), x)
		saved, err := s.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(i, saved)
		f.Add(i, saved[:len(saved)/2])
		streams = append(streams, s)
	}
	f.Fuzz(func(t *testing.T, which int, saved []byte) {
		s := streams[(which%2+2)%2].Clone()
		before, err := s.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		refused := s.UnmarshalBinary(saved) != nil
		after, err := s.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if refused && string(after) != string(before) {
			t.Error("a state that was refused changed the stream")
		}
		if n := s.(interface{ Len() int }).Len(); n < 70 {
			s.Mix(tensor.NewSeq(2, 1, 3), x.Slice(0, 1))
		}
	})
}
