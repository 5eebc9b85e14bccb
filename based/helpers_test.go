package based_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 77)) }

func randomSeq(r *rand.Rand, batch, length, dim int) tensor.Seq {
	s := tensor.NewSeq(batch, length, dim)
	randomize(r, s.Data, 1)
	return s
}

func randomize(r *rand.Rand, v []float32, scale float64) {
	for i := range v {
		v[i] = float32(r.NormFloat64() * scale)
	}
}

// randomParams fills the parameters of m with numbers that keep its outputs moderate.
func randomParams(r *rand.Rand, m seqmix.Mixer) {
	for _, p := range m.Params() {
		v := make([]float32, p.Len())
		randomize(r, v, 1/math.Sqrt(float64(p.Dim(-1))))
		p.SetFloat32s(v)
	}
}

func like(s tensor.Seq) tensor.Seq { return tensor.NewSeq(s.Batch, s.Len, s.Dim) }

func mix(m seqmix.Mixer, src tensor.Seq) tensor.Seq {
	dst := like(src)
	m.Mix(dst, src)
	return dst
}

func newStream[S seqmix.Stream](t testing.TB, m seqmix.Streamer, batch int) S {
	t.Helper()
	s, err := m.NewStream(batch)
	if err != nil {
		t.Fatal(err)
	}
	return s.(S)
}

// relError returns max|got-want| / max|want|.
func relError[T float32 | float64](got []float32, want []T) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	worst, scale := 0.0, 1e-30
	for i, w := range want {
		d := math.Abs(float64(got[i]) - float64(w))
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		worst, scale = max(worst, d), max(scale, math.Abs(float64(w)))
	}
	return worst / scale
}

func near[T float32 | float64](t testing.TB, what string, got []float32, want []T, tol float64) {
	t.Helper()
	if e := relError(got, want); !(e <= tol) {
		t.Errorf("%s: off by %.3g, tolerance %.3g", what, e, tol)
	}
}

// feed computes src in pieces of the given lengths, the rest at once.
func feed(s seqmix.Stream, src tensor.Seq, pieces ...int) tensor.Seq {
	dst, at := like(src), 0
	for _, n := range append(pieces, src.Len) {
		n = min(n, src.Len-at)
		s.Mix(dst.Slice(at, at+n), src.Slice(at, at+n))
		at += n
	}
	return dst
}

// randomPieces divides n positions into pieces, most of them short.
func randomPieces(r *rand.Rand, n int) []int {
	var pieces []int
	for n > 0 {
		p := min(n, 1+r.IntN(1+r.IntN(150)))
		pieces, n = append(pieces, p), n-p
	}
	return pieces
}

// mustPanic reports whether f panics with a *tensor.ShapeError.
func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if _, ok := recover().(*tensor.ShapeError); !ok {
			t.Errorf("%s: no *tensor.ShapeError", what)
		}
	}()
	f()
}

func equal(a, b tensor.Seq) bool { return slices.Equal(a.Data, b.Data) }

// withChecksum makes a record of the body of one.
func withChecksum(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
}
