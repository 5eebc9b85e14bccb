package based_test

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/tensor"
)

// naiveWeight is the weight of a key k for a query q, and its gradients with respect to
// both, from the definition of a map.
func naiveWeight(m based.FeatureMap, q, k []float64) (w float64, dq, dk []float64) {
	dq, dk = make([]float64, len(q)), make([]float64, len(k))
	switch m.(type) {
	case nil, based.Taylor:
		root := math.Sqrt(float64(len(q)))
		s := dot(q, k) / root
		for i := range q {
			dq[i], dk[i] = (1+s)*k[i]/root, (1+s)*q[i]/root
		}
		return 1 + s + s*s/2, dq, dk
	case based.Identity:
		return dot(q, k), k, q
	case based.ELU:
		phi := func(x float64) (y, dy float64) {
			if x > 0 {
				return x + 1, 1
			}
			return math.Exp(x), math.Exp(x)
		}
		for i := range q {
			a, da := phi(q[i])
			b, db := phi(k[i])
			w += a * b
			dq[i], dk[i] = da*b, a*db
		}
		return w, dq, dk
	}
	panic(fmt.Sprintf("no naive weights of %T", m))
}

// naiveGradient computes the gradients of attention from its definition, in float64.
func naiveGradient(a based.Attention, q, k, v, dout tensor.Seq) (dq, dk, dv []float64) {
	dq, dk, dv = make([]float64, len(q.Data)), make([]float64, len(k.Data)), make([]float64, len(v.Data))
	f, d := q.Dim/a.Heads, v.Dim/a.Heads
	for b := range q.Batch {
		for h := range a.Heads {
			head := func(s tensor.Seq, i, n int) []float64 { return float64s(s.At(b, i)[h*n : (h+1)*n]) }
			for i := range q.Len {
				query, dy := head(q, i, f), head(dout, i, d)
				out := make([]float64, d)
				sum := 0.0
				for j := range i + 1 {
					w, _, _ := naiveWeight(a.Map, query, head(k, j, f))
					sum += w
					for c, x := range head(v, j, d) {
						out[c] += w * x
					}
				}
				dz := -dot(dy, out) / (sum * sum)
				if a.Unnormalized {
					sum, dz = 1, 0
				}
				for j := range i + 1 {
					w, wq, wk := naiveWeight(a.Map, query, head(k, j, f))
					dw := dot(dy, head(v, j, d))/sum + dz
					qAt, kAt, vAt := (b*q.Len+i)*q.Dim+h*f, (b*k.Len+j)*k.Dim+h*f, (b*v.Len+j)*v.Dim+h*d
					for c := range f {
						dq[qAt+c] += dw * wq[c]
						dk[kAt+c] += dw * wk[c]
					}
					for c := range d {
						dv[vAt+c] += w * dy[c] / sum
					}
				}
			}
		}
	}
	return dq, dk, dv
}

// TestAttentionGradient compares with the definition, on every tier, and asks for the
// same bits on one core and several. Longer sequences than 448 are cut into chunks.
func TestAttentionGradient(t *testing.T) {
	cases := []struct {
		attention        based.Attention
		batch, length, f int
		width            int // of values
		slow             bool
	}{
		{based.Attention{Heads: 1}, 2, 1, 4, 3, false},
		{based.Attention{Heads: 2}, 2, 33, 5, 7, false},
		{based.Attention{Heads: 1}, 2, 64, 16, 64, false},
		{based.Attention{Heads: 3}, 1, 150, 16, 33, false},
		{based.Attention{Heads: 1, Unnormalized: true}, 1, 140, 8, 32, false},
		{based.Attention{Heads: 1, Map: based.ELU{}}, 2, 300, 8, 16, false},
		{based.Attention{Heads: 1}, 1, 449, 4, 5, true},
		{based.Attention{Heads: 2}, 1, 600, 16, 40, true},
		{based.Attention{Heads: 1, Unnormalized: true}, 1, 513, 3, 1, true},
		{based.Attention{Heads: 1, Map: based.ELU{}}, 1, 530, 9, 37, true},
		{based.Attention{Heads: 2, Map: based.Identity{}, Unnormalized: true}, 1, 512, 6, 8, true},
	}
	operands := func(i int) (q, k, v, dout tensor.Seq) {
		c, r := cases[i], newRand(uint64(i))
		wide := func(n int) tensor.Seq { return randomSeq(r, c.batch, c.length, c.attention.Heads*n) }
		return wide(c.f), wide(c.f), wide(c.width), wide(c.width)
	}
	wants := make([][3][]float64, len(cases))
	for i, c := range cases {
		if !c.slow || !testing.Short() {
			q, k, v, dout := operands(i)
			wants[i][0], wants[i][1], wants[i][2] = naiveGradient(c.attention, q, k, v, dout)
		}
	}
	cputest.ForEachTier(t, func(t *testing.T) {
		for i, c := range cases {
			if c.slow && testing.Short() {
				continue
			}
			q, k, v, dout := operands(i)
			y, want := like(v), like(v)
			c.attention.Apply(want, q, k, v)
			tape, err := c.attention.Record(y, q, k, v)
			if err != nil {
				t.Fatal(err)
			}
			if !equal(y, want) {
				t.Errorf("%+v: Record does not compute what Apply does", c)
			}
			var first [3]tensor.Seq
			for _, procs := range []int{1, 4} {
				got := [3]tensor.Seq{like(q), like(k), like(v)}
				for _, s := range got {
					for i := range s.Data {
						s.Data[i] = float32(math.NaN())
					}
				}
				withProcs(procs, func() { tape.Backward(got[0], got[1], got[2], dout, nil) })
				what := fmt.Sprintf("%+v: ", c)
				gradientNear(t, what+"dq", got[0].Data, wants[i][0])
				gradientNear(t, what+"dk", got[1].Data, wants[i][1])
				gradientNear(t, what+"dv", got[2].Data, wants[i][2])
				if procs == 1 {
					first = got
				} else if !equal(got[0], first[0]) || !equal(got[1], first[1]) || !equal(got[2], first[2]) {
					t.Errorf("%+v: the bits depend on the number of cores", c)
				}
			}
		}
	})
}

// gradientNear is near for gradients. If nothing is wanted, as where a query sees one key,
// there is the rounding of the products that cancel.
func gradientNear(t *testing.T, what string, got []float32, want []float64) {
	t.Helper()
	scale := 0.3
	for _, w := range want {
		scale = max(scale, math.Abs(w))
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= 1e-5*scale) {
			t.Errorf("%s: element %d is %v, want %v", what, i, got[i], w)
			return
		}
	}
}

func withProcs(n int, f func()) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
	f()
}

// TestAttentionTapeInPlace has the memory of the result be that of values, and that of the
// gradient of values that of the gradient of the result.
func TestAttentionTapeInPlace(t *testing.T) {
	for _, length := range []int{50, 500} {
		r := newRand(3)
		a := based.Attention{Heads: 2}
		q, k, v, dout := randomSeq(r, 1, length, 12), randomSeq(r, 1, length, 12), randomSeq(r, 1, length, 10), randomSeq(r, 1, length, 10)
		wantQ, wantK, wantV := naiveGradient(a, q, k, v, dout)
		tape, err := a.Record(v, q, k, v)
		if err != nil {
			t.Fatal(err)
		}
		dq, dk := like(q), like(k)
		tape.Backward(dq, dk, dout, dout, nil)
		near(t, "dq", dq.Data, wantQ, 1e-5)
		near(t, "dk", dk.Data, wantK, 1e-5)
		near(t, "dv", dout.Data, wantV, 1e-5)
	}
}

// TestSpecifiedGradient has the numbers that stand in the specification of the
// references, of sines as inputs.
func TestSpecifiedGradient(t *testing.T) {
	sines := func(n int, a, b float64) tensor.Seq {
		s := tensor.NewSeq(1, 5, n)
		for i := range s.Data {
			s.Data[i] = float32(math.Sin(a*float64(i+1) + b))
		}
		return s
	}
	q, k, v, dout := sines(4, 0.7, 0), sines(4, 1.1, 0.3), sines(2, 0.9, -0.2), sines(2, 0.5, 0.1)
	y, dq, dk, dv := like(v), like(q), like(k), like(v)
	tape, err := based.Attention{Heads: 1}.Record(y, q, k, v)
	if err != nil {
		t.Fatal(err)
	}
	tape.Backward(dq, dk, dv, dout, nil)
	near(t, "last dq", dq.At(0, 4), []float64{-0.182600484, -0.397125694, -0.177668865, 0.235945878}, 1e-6)
	near(t, "first dk", dk.At(0, 0), []float64{-0.070514927, -0.056851281, -0.016449589, 0.031688602}, 3e-6)
	near(t, "dv", dv.Data[:4], []float64{1.085419603, 1.110090268, 0.249715948, -0.078148984}, 1e-6)
}

// TestMapGradients compares with finite differences of Map.
func TestMapGradients(t *testing.T) {
	r := newRand(4)
	maps := featureMaps(r, 6)
	delete(maps, "default") // nil
	for name, f := range maps {
		m := f.(based.DifferentiableMap)
		x, dphi := make([]float32, 6), make([]float32, m.Features(6))
		randomize(r, x, 1)
		randomize(r, dphi, 1)
		loss := func() (sum float64) {
			phi := make([]float32, len(dphi))
			m.Map(phi, x, 3)
			return dot(float64s(phi), float64s(dphi))
		}
		dx := make([]float32, 6)
		m.Backward(dx, dphi, x, 3, seqmix.Grads{})
		for i, v := range x {
			const h = 1.0 / 256
			x[i] = v + h
			up := loss()
			x[i] = v - h
			want := (up - loss()) / (2 * h)
			x[i] = v
			if math.Abs(float64(dx[i])-want) > 2e-3*(1+math.Abs(want)) {
				t.Errorf("%s: dx[%d] is %v, by finite differences %v", name, i, dx[i], want)
			}
		}
	}
}

// fixedMap is a map that nobody knows the gradient of.
type fixedMap struct{}

func (fixedMap) Features(n int) int          { return n }
func (fixedMap) Map(dst, x []float32, _ int) { copy(dst, x) }

func TestNotTrainable(t *testing.T) {
	m := linearAttention(t, based.LinearAttentionConfig{DModel: 8, Heads: 2, FeatureDim: 4, Map: fixedMap{}}, 1)
	x := tensor.NewSeq(1, 3, 8)
	if _, err := m.Record(like(x), x); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a map without a gradient: error %v", err)
	}
}

// TestPolynomialGradient runs the contract of training with inputs and matrices for which
// weights are positive.
func TestPolynomialGradient(t *testing.T) {
	r := newRand(8)
	positive := func() *tensor.Tensor {
		v := make([]float32, 5*4)
		for i := range v {
			v[i] = 0.2 + r.Float32()
		}
		return tensor.FromFloat32s(v, 5, 4)
	}
	m, err := based.NewLinearAttention(based.LinearAttentionConfig{
		DModel: 8, Heads: 2, FeatureDim: 4, Map: based.Polynomial{Proj1: positive(), Proj2: positive()}})
	if err != nil {
		t.Fatal(err)
	}
	m.Init(r)
	for _, n := range []int{13, 60} {
		if err := mixtest.TestTrainer(m, mixtest.Options{Len: n}); err != nil {
			t.Error(err)
		}
	}
}

// TestLongGradient runs the contract of training where there are chunks.
func TestLongGradient(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	for name, cfg := range map[string]based.LinearAttentionConfig{
		"Taylor": {DModel: 8, Heads: 2, FeatureDim: 5},
		"ELU":    {DModel: 8, Heads: 2, FeatureDim: 4, Map: based.ELU{}},
	} {
		if err := mixtest.TestTrainer(linearAttention(t, cfg, 2), mixtest.Options{Batch: 1, Len: 460}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// BenchmarkTraining measures a forward and a backward pass over a batch of short
// sequences, as of associative recall, and over a long one. It counts the multiply-adds
// of the projections three times, and of those of pairs that causality leaves what both
// passes need; where there are chunks, those of the sums.
func BenchmarkTraining(b *testing.B) {
	for _, c := range []struct{ batch, n, d, heads int }{{64, 64, 64, 1}, {8, 256, 128, 2}, {1, 2048, 256, 4}} {
		for _, procs := range []int{1, 2} {
			b.Run(fmt.Sprintf("B=%d/L=%d/d=%d/procs=%d", c.batch, c.n, c.d, procs), func(b *testing.B) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				m := linearAttention(b, based.LinearAttentionConfig{DModel: c.d, Heads: c.heads}, 1)
				x := randomSeq(newRand(1), c.batch, c.n, c.d)
				dst, dx, grads := like(x), like(x), seqmix.NewGrads(m)
				flops := trainingWork(c.batch, c.n, c.d, c.heads)
				bestOf(b, flops, procs, func() {
					tape, err := m.Record(dst, x)
					if err != nil {
						b.Fatal(err)
					}
					tape.Backward(dx, x, grads)
				})
			})
		}
	}
}

// trainingWork counts the operations of BenchmarkTraining.
func trainingWork(batch, n, d, heads int) float64 {
	const f, features, chunk = 16, 153, 64
	hd := float64(d / heads)
	projections := 3 * 2 * float64(d) * (2*f*float64(heads) + 2*float64(d))
	pairs := float64(n+1) / 2
	sums := 0.0
	if n > 448 {
		pairs, sums = float64(chunk+1)/2, 7*2*features*hd
	}
	return float64(batch*n) * (projections + float64(heads)*(pairs*2*(f+hd+3*f+2*hd)+sums))
}
