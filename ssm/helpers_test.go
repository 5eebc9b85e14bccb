package ssm_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/tensor"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 77)) }

func randomSeq(r *rand.Rand, batch, length, dim int) tensor.Seq {
	s := tensor.NewSeq(batch, length, dim)
	for i := range s.Data {
		s.Data[i] = float32(r.NormFloat64())
	}
	return s
}

func randomize(r *rand.Rand, v []float32, scale float64) {
	for i := range v {
		v[i] = float32(r.NormFloat64() * scale)
	}
}

func like(s tensor.Seq) tensor.Seq { return tensor.NewSeq(s.Batch, s.Len, s.Dim) }

func clone(s tensor.Seq) tensor.Seq {
	c := like(s)
	tensor.Copy(c, s)
	return c
}

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

func wantClose[T float32 | float64](t *testing.T, what string, got []float32, want []T, tol float64) {
	t.Helper()
	if e := relError(got, want); !(e <= tol) {
		t.Errorf("%s: off by %.3g, want at most %.3g", what, e, tol)
	}
}

func wantSame(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: not the same bits; off by %.3g", what, relError(got, want))
	}
}

// param returns a parameter by its name.
func param(t testing.TB, m seqmix.Mixer, name string) *tensor.Tensor {
	t.Helper()
	for n, p := range m.Params() {
		if n == name {
			return p
		}
	}
	t.Fatalf("%T has no parameter %s", m, name)
	return nil
}

// setParams fills all parameters of m from a golden case.
func setParams(t *testing.T, c *goldentest.Case, m seqmix.Mixer, prefix string) {
	t.Helper()
	n := 0
	for name, p := range m.Params() {
		name = "param." + prefix + name
		if !c.Has(name) {
			t.Fatalf("the case has no %s", name)
		}
		if values := c.Tensor(name); len(values) != p.Len() {
			t.Fatalf("%s has shape %v, the parameter %v", name, c.Shape(name), p.Shape())
		} else {
			p.SetFloat32s(values)
		}
		n++
	}
	if all := len(c.Names("param." + prefix)); n != all {
		t.Fatalf("the mixer has %d of the %d parameters of the case", n, all)
	}
}

// seqOf describes a tensor (B, L, D) of a case.
func seqOf(c *goldentest.Case, name string) tensor.Seq {
	shape := c.Shape(name)
	return tensor.SeqOf(c.Tensor(name), shape[0], shape[1], shape[2])
}

// channelsLast turns values of shape (batch, channels, length) into sequences.
func channelsLast(v []float32, batch, channels, length int) tensor.Seq {
	s := tensor.NewSeq(batch, length, channels)
	for i, x := range v {
		s.At(i/length/channels, i%length)[i/length%channels] = x
	}
	return s
}

// channelsFirst is the inverse of channelsLast.
func channelsFirst(s tensor.Seq) []float32 {
	v := make([]float32, s.Batch*s.Len*s.Dim)
	for i := range v {
		v[i] = s.At(i/s.Len/s.Dim, i%s.Len)[i/s.Len%s.Dim]
	}
	return v
}

// golden runs all cases of a family on every tier of kernels.
func golden(t *testing.T, prefix string, run func(t *testing.T, c *goldentest.Case)) {
	f, err := goldentest.Load(prefix)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Cases) == 0 {
		t.Fatal("no cases")
	}
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, c := range f.Cases {
			t.Run(c.Name, func(t *testing.T) { run(t, c) })
		}
	})
}

// compare compares what was computed with all outputs and states of the case.
func compare(t *testing.T, c *goldentest.Case, got map[string][]float32) {
	t.Helper()
	for _, prefix := range []string{"out.", "state."} {
		for _, name := range c.Names(prefix) {
			if got[name] == nil {
				t.Errorf("%s was not computed", name)
			} else if err := c.Compare(name, got[name]); err != nil {
				t.Error(err)
			}
		}
	}
	for name := range got {
		if !c.Has(name) {
			t.Errorf("%s was computed, but is not in the case", name)
		}
	}
}
