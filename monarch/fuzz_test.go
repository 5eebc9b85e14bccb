package monarch_test

import (
	"math"
	"slices"
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

// FuzzMatrix compares products of matrices of any shape with the definition.
func FuzzMatrix(f *testing.F) {
	f.Add(uint8(3), uint8(4), uint8(2), uint8(6), uint8(5), uint8(9))
	f.Add(uint8(4), uint8(48), uint8(40), uint8(4), uint8(33), uint8(33))
	f.Fuzz(func(t *testing.T, k, q, p, l, s, count uint8) {
		limit := func(v uint8) int { return int(v)%40 + 1 }
		shape := monarch.Shape{K: limit(k), Q: limit(q), P: limit(p), L: limit(l), S: limit(s)}
		for shape.K*shape.Q%shape.L != 0 {
			shape.L--
		}
		shape.R = shape.K * shape.Q / shape.L
		r := newRand(1)
		w1, w2 := randomFactors(r, shape)
		m, err := monarch.New(w1, w2)
		if err != nil {
			t.Fatal(err)
		}
		src := randomMat(r, limit(count), shape.In())
		got := apply(t, m, src, shape.Out())
		size1, size2 := magnitudes(w1), magnitudes(w2)
		for i := range src.Rows {
			x := tensor.FromFloat32s(src.Row(i), shape.In())
			want, size := naive(shape, w1, w2, x.Data()), naive(shape, size1, size2, magnitudes(x).Data())
			for j, v := range got.Row(i) {
				if e := math.Abs(float64(v) - want[j]); !(e <= 1e-6*size[j]) {
					t.Fatalf("%+v: element %d is off by %g, of terms of %g", shape, j, e, size[j])
				}
			}
		}
		d := m.Transpose().Transpose().Dense().Data()
		if !slices.Equal(d, m.Dense().Data()) {
			t.Errorf("%+v: the transpose of the transpose is another matrix", shape)
		}
	})
}

// magnitudes returns the magnitudes of the elements.
func magnitudes(t *tensor.Tensor) *tensor.Tensor {
	m := tensor.New(t.Shape()...)
	for i, v := range t.Data() {
		m.Data()[i] = max(v, -v)
	}
	return m
}
