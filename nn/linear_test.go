package nn

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/tensor"
)

func randomSeq(r *rand.Rand, batch, length, dim int) tensor.Seq {
	s := tensor.NewSeq(batch, length, dim)
	for i := range s.Data {
		s.Data[i] = float32(r.NormFloat64())
	}
	return s
}

// strided returns a copy of s whose sequences do not follow one another.
func strided(s tensor.Seq) tensor.Seq {
	part := tensor.NewSeq(s.Batch, s.Len+3, s.Dim).Slice(2, s.Len+2)
	tensor.Copy(part, s)
	return part
}

// equal reports whether two sequences have the same elements.
func equal(a, b tensor.Seq) bool {
	for i := range a.Batch {
		if !slices.Equal(a.Sequence(i).Data, b.Sequence(i).Data) {
			return false
		}
	}
	return a.Batch == b.Batch
}

func near(a, b []float32, tol float64) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Abs(float64(x)-float64(y)) <= tol*(1+math.Abs(float64(y))) })
}

// TestLinearFormats runs the contract tests with weights of every format and order.
func TestLinearFormats(t *testing.T) {
	for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16, tensor.Int8, tensor.Int4} {
		for _, packed := range []bool{false, true} {
			l := NewLinear(45, 45, true)
			l.Init(newRand())
			l.Weight.Convert(d)
			if packed {
				l.Weight.Pack()
			}
			if err := mixtest.Test(l, mixtest.Options{}); err != nil {
				t.Errorf("%v: %v", l.Weight, err)
			}
			if err := mixtest.TestTrainer(l, mixtest.Options{Len: 30, Batch: 3}); err != nil {
				t.Errorf("%v: %v", l.Weight, err)
			}
		}
	}
}

// TestLinearWidths tests a layer whose output is wider than its input against sums.
func TestLinearWidths(t *testing.T) {
	r := newRand()
	l := NewLinear(3, 5, true)
	l.Init(r)
	if l.In() != 3 || l.Out() != 5 || l.Dim() != 3 {
		t.Errorf("from %d to %d, width %d", l.In(), l.Out(), l.Dim())
	}
	src, ddst := strided(randomSeq(r, 2, 4, 3)), strided(randomSeq(r, 2, 4, 5))
	dst, dsrc := strided(tensor.NewSeq(2, 4, 5)), strided(tensor.NewSeq(2, 4, 3))
	l.Apply(dst, src)
	grads := seqmix.NewGrads(l)
	l.Backward(dsrc, ddst, src, grads)

	w, bias := l.Weight.Data(), l.Bias.Data()
	dw, db := make([]float32, 15), make([]float32, 5)
	for b := range 2 {
		for i := range 4 {
			x, y, dx, dy := src.At(b, i), slices.Clone(bias), make([]float32, 3), ddst.At(b, i)
			for j := range y {
				db[j] += dy[j]
				for k := range x {
					y[j] += w[j*3+k] * x[k]
					dx[k] += w[j*3+k] * dy[j]
					dw[j*3+k] += dy[j] * x[k]
				}
			}
			if !near(dst.At(b, i), y, 1e-6) || !near(dsrc.At(b, i), dx, 1e-6) {
				t.Errorf("sequence %d, position %d: output %v, want %v; gradient %v, want %v", b, i, dst.At(b, i), y, dsrc.At(b, i), dx)
			}
		}
	}
	if !near(grads.Of(l.Weight), dw, 1e-5) || !near(grads.Of(l.Bias), db, 1e-5) {
		t.Errorf("gradient of the weight %v, want %v; of the bias %v, want %v", grads.Of(l.Weight), dw, grads.Of(l.Bias), db)
	}
	mustShapePanic(t, "Mix", func() { l.Mix(src, src) })
	mustShapePanic(t, "Record", func() { l.Record(src, src) })
	mustShapePanic(t, "Apply", func() { l.Apply(src, src) })
	mustShapePanic(t, "Backward", func() { l.Backward(dsrc, src, src, nil) })
	if _, err := l.NewStream(1); err == nil {
		t.Error("a stream from 3 to 5 channels: no error")
	}
}

func TestLinearApplyMat(t *testing.T) {
	r := newRand()
	l := NewLinear(6, 40, true)
	l.Init(r)
	x, y := randomSeq(r, 1, 9, 20), tensor.NewSeq(1, 9, 100)
	l.ApplyMat(y.Mat().Slice(30, 70), x.Mat().Slice(11, 17))
	in, want := tensor.NewSeq(1, 9, 6), tensor.NewSeq(1, 9, 40)
	for i := range 9 {
		copy(in.At(0, i), x.At(0, i)[11:17])
	}
	l.Apply(want, in)
	for i := range 9 {
		row := y.At(0, i)
		if !slices.Equal(row[30:70], want.At(0, i)) {
			t.Errorf("row %d: ApplyMat and Apply differ", i)
		}
		if slices.ContainsFunc(slices.Concat(row[:30], row[70:]), func(v float32) bool { return v != 0 }) {
			t.Errorf("row %d: ApplyMat wrote beside its columns", i)
		}
	}
	part, parts := tensor.NewSeq(1, 7, 8), tensor.PartsOf(in.Mat(), l.Weight)
	l.ApplyPart(part.Mat(), &parts, 2, 32)
	parts.Release()
	for i := range 7 {
		if !slices.Equal(part.At(0, i), want.At(0, 2+i)[32:]) {
			t.Errorf("row %d: ApplyPart and Apply differ", i)
		}
	}
}
