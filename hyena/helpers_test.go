package hyena

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 3)) }

func randomSeq(r *rand.Rand, batch, length, dim int) tensor.Seq {
	s := tensor.NewSeq(batch, length, dim)
	for i := range s.Data {
		s.Data[i] = float32(r.NormFloat64())
	}
	return s
}

func like(s tensor.Seq) tensor.Seq { return tensor.NewSeq(s.Batch, s.Len, s.Dim) }

func mix(m seqmix.Mixer, src tensor.Seq) tensor.Seq {
	dst := like(src)
	m.Mix(dst, src)
	return dst
}

// relError returns the largest difference relative to the largest magnitude wanted.
func relError[T float32 | float64](got []float32, want []T) float64 {
	worst, size := 0.0, 1e-30
	for i, w := range want {
		size = max(size, math.Abs(float64(w)))
		if d := math.Abs(float64(got[i]) - float64(w)); !(d <= worst) {
			worst = d
		}
	}
	return worst / size
}

func wantClose[T float32 | float64](t *testing.T, name string, got []float32, want []T, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", name, len(got), len(want))
	}
	if e := relError(got, want); !(e <= tol) {
		t.Errorf("%s: off by %.3g, tolerance %.3g", name, e, tol)
	}
}

func param(t testing.TB, m seqmix.Mixer, name string) *tensor.Tensor {
	t.Helper()
	for n, p := range m.Params() {
		if n == name {
			return p
		}
	}
	t.Fatalf("no parameter %s", name)
	return nil
}

// naiveLinear is y = W x + b in float64.
func naiveLinear(l *nn.Linear, x []float64) []float64 {
	y := make([]float64, l.Out())
	w := l.Weight.Float32s()
	for o := range y {
		if l.Bias != nil {
			y[o] = float64(l.Bias.Data()[o])
		}
		for i, v := range x {
			y[o] += float64(w[o*len(x)+i]) * v
		}
	}
	return y
}

func float64s(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// naiveShort is a short causal convolution of z[t][c] in float64.
func naiveShort(w, bias []float32, taps int, z [][]float64) [][]float64 {
	y := make([][]float64, len(z))
	for t := range z {
		y[t] = make([]float64, len(z[t]))
		for c := range y[t] {
			if bias != nil {
				y[t][c] = float64(bias[c])
			}
			for k := range taps {
				if i := t - taps + 1 + k; i >= 0 {
					y[t][c] += float64(w[c*taps+k]) * z[i][c]
				}
			}
		}
	}
	return y
}

// column returns columns from to to-1 of every row.
func columns(z [][]float64, from, to int) [][]float64 {
	y := make([][]float64, len(z))
	for t := range z {
		y[t] = z[t][from:to]
	}
	return y
}

func product(a, b [][]float64) [][]float64 {
	y := make([][]float64, len(a))
	for t := range a {
		y[t] = make([]float64, len(a[t]))
		for c := range a[t] {
			y[t][c] = a[t][c] * b[t][c]
		}
	}
	return y
}

// sameBits is mixtest.Test of a mixer whose results are to be the same bits, however a
// sequence is cut. Its gradients need not be.
func sameBits(m seqmix.Mixer, o mixtest.Options) error {
	exact := o
	exact.Tol = 1e-12
	return errors.Join(mixtest.TestMixer(m, exact), mixtest.TestStreamer(m.(seqmix.Streamer), exact), mixtest.TestTrainer(m.(seqmix.Trainer), o))
}
