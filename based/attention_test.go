package based_test

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/tensor"
)

// phi returns the features of x in float64, by their definitions.
func phi(m based.FeatureMap, x []float32, position int) []float64 {
	var out []float64
	each := func(f func(v float64) float64) {
		for _, v := range x {
			out = append(out, f(float64(v)))
		}
	}
	softmax := func(sign float64) {
		sum := 0.0
		for _, v := range x {
			sum += math.Exp(sign * float64(v))
		}
		each(func(v float64) float64 { return math.Exp(sign*v) / sum })
	}
	switch m := m.(type) {
	case nil, based.Taylor:
		f := math.Sqrt(math.Sqrt(float64(len(x))))
		out = append(out, 1)
		each(func(v float64) float64 { return v / f })
		for _, a := range x { // all f² products
			each(func(v float64) float64 { return float64(a) * v / (math.Sqrt2 * f * f) })
		}
	case based.Identity:
		each(func(v float64) float64 { return v })
	case based.ELU:
		each(func(v float64) float64 {
			if v > 0 {
				return v + 1
			}
			return math.Exp(v)
		})
	case based.ReLU:
		each(func(v float64) float64 { return max(v, 1e-12) })
	case based.Square:
		each(func(v float64) float64 { return v * v })
	case based.Exp:
		each(func(v float64) float64 { return math.Exp(max(v, 0)) })
		each(func(v float64) float64 { return math.Exp(max(-v, 0)) })
	case based.Softmax:
		softmax(1)
		softmax(-1)
	case based.HalfSoftmax:
		softmax(1)
	case based.CosFormer:
		a := math.Pi / 2 * float64(position+1) / float64(m.Length)
		each(func(v float64) float64 { return max(v, 0) * math.Sin(a) })
		each(func(v float64) float64 { return max(v, 0) * math.Cos(a) })
	case based.Polynomial:
		n := len(x)
		for i := range m.Proj1.Dim(0) {
			var a, b float64
			for j, v := range x {
				a += float64(m.Proj1.Data()[i*n+j]) * float64(v)
				b += float64(m.Proj2.Data()[i*n+j]) * float64(v) * float64(v)
			}
			out = append(out, (a*a+b)/math.Sqrt2)
		}
	}
	return out
}

// head returns the elements of one head at a position.
func head(s tensor.Seq, b, i, h, width int) []float32 { return s.At(b, i)[h*width : (h+1)*width] }

func dot(a, b []float64) (s float64) {
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

// naiveForm computes attention of one head in float64, given the features.
type naiveForm func(q, k [][]float64, v [][]float32, eps float64) [][]float64

// quadratic weighs all keys for each query.
func quadratic(q, k [][]float64, v [][]float32, eps float64) [][]float64 {
	return chunkwise(len(q))(q, k, v, eps)
}

// recurrent carries sums from position to position.
func recurrent(q, k [][]float64, v [][]float32, eps float64) [][]float64 {
	var out [][]float64
	s, z := make([][]float64, len(v[0])), make([]float64, len(k[0]))
	for d := range s {
		s[d] = make([]float64, len(k[0]))
	}
	for i := range q {
		for m, x := range k[i] {
			z[m] += x
			for d := range s {
				s[d][m] += x * float64(v[i][d])
			}
		}
		row := make([]float64, len(s))
		for d := range s {
			row[d] = dot(q[i], s[d]) / (dot(q[i], z) + eps)
		}
		out = append(out, row)
	}
	return out
}

// chunkwise weighs the keys of a chunk and carries sums from chunk to chunk.
func chunkwise(n int) naiveForm {
	return func(q, k [][]float64, v [][]float32, eps float64) [][]float64 {
		var out [][]float64
		s, z := make([][]float64, len(v[0])), make([]float64, len(k[0]))
		for d := range s {
			s[d] = make([]float64, len(k[0]))
		}
		for i := range q {
			start := i / n * n
			if i == start {
				for j := max(0, start-n); j < start; j++ {
					for m, x := range k[j] {
						z[m] += x
						for d := range s {
							s[d][m] += x * float64(v[j][d])
						}
					}
				}
			}
			row, sum := make([]float64, len(s)), dot(q[i], z)
			for d := range s {
				row[d] = dot(q[i], s[d])
			}
			for j := start; j <= i; j++ {
				w := dot(q[i], k[j])
				sum += w
				for d := range row {
					row[d] += w * float64(v[j][d])
				}
			}
			for d := range row {
				row[d] /= sum + eps
			}
			out = append(out, row)
		}
		return out
	}
}

// naive computes attention with all heads.
func naive(a based.Attention, form naiveForm, q, k, v tensor.Seq) []float64 {
	eps := float64(a.Eps)
	if eps == 0 {
		eps = 1e-12
	}
	f, d := q.Dim/a.Heads, v.Dim/a.Heads
	out := make([]float64, len(v.Data))
	for b := range q.Batch {
		for h := range a.Heads {
			var qs, ks [][]float64
			var vs [][]float32
			for i := range q.Len {
				qs = append(qs, phi(a.Map, head(q, b, i, h, f), i))
				ks = append(ks, phi(a.Map, head(k, b, i, h, f), i))
				vs = append(vs, head(v, b, i, h, d))
			}
			for i, row := range form(qs, ks, vs, eps) {
				copy(out[(b*v.Len+i)*v.Dim+h*d:], row)
			}
		}
	}
	return out
}

func featureMaps(r interface{ NormFloat64() float64 }, f int) map[string]based.FeatureMap {
	p := based.Polynomial{Proj1: tensor.New(f+1, f), Proj2: tensor.New(f+1, f)}
	for i := range p.Proj1.Data() {
		p.Proj1.Data()[i] = float32(r.NormFloat64())
		p.Proj2.Data()[i] = float32(math.Abs(r.NormFloat64()))
	}
	return map[string]based.FeatureMap{
		"default": nil, "Taylor": based.Taylor{}, "ELU": based.ELU{}, "ReLU": based.ReLU{}, "Square": based.Square{}, "Exp": based.Exp{},
		"Softmax": based.Softmax{}, "HalfSoftmax": based.HalfSoftmax{}, "CosFormer": based.CosFormer{Length: 1000}, "Polynomial": p,
	}
}

// TestNaiveForms makes sure that the definitions agree with each other.
func TestNaiveForms(t *testing.T) {
	r := newRand(1)
	a := based.Attention{Heads: 2}
	q, k, v := randomSeq(r, 2, 40, 2*4), randomSeq(r, 2, 40, 2*4), randomSeq(r, 2, 40, 2*3)
	want := naive(a, quadratic, q, k, v)
	for name, form := range map[string]naiveForm{"recurrent": recurrent, "chunks of 7": chunkwise(7), "chunks of 1": chunkwise(1)} {
		got := naive(a, form, q, k, v)
		for i := range got {
			if math.Abs(got[i]-want[i]) > 1e-11 {
				t.Fatalf("%s: element %d is %v, want %v", name, i, got[i], want[i])
			}
		}
	}
}

// TestAttentionAgainstDefinition compares with a plain loop, as a whole and as a stream.
func TestAttentionAgainstDefinition(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		r := newRand(2)
		for _, size := range []struct{ heads, f, d, length int }{
			{1, 1, 1, 5}, {1, 4, 2, 70}, {2, 3, 33, 131}, {3, 8, 5, 64}, {1, 16, 64, 65}, {2, 16, 40, 300}, {1, 16, 8, 460}, {1, 17, 32, 129}, {1, 24, 7, 40},
		} {
			q, k := randomSeq(r, 2, size.length, size.heads*size.f), randomSeq(r, 2, size.length, size.heads*size.f)
			v := randomSeq(r, 2, size.length, size.heads*size.d)
			for name, m := range featureMaps(r, size.f) {
				a := based.Attention{Heads: size.heads, Map: m, Eps: 1e-6}
				testAttention(t, fmt.Sprintf("%s %+v", name, size), a, q, k, v)
			}
		}
	})
}

func testAttention(t *testing.T, name string, a based.Attention, q, k, v tensor.Seq) {
	t.Helper()
	want := naive(a, recurrent, q, k, v)
	got := like(v)
	a.Apply(got, q, k, v)
	near(t, name, got.Data, want, 2e-5)
	s, err := a.NewState(q.Batch, q.Dim/a.Heads, v.Dim/a.Heads)
	if err != nil {
		t.Fatal(err)
	}
	parts := like(v)
	s.Apply(parts, q, k, v)
	near(t, name+" by a state", parts.Data, want, 2e-5)
	inPlace := like(v)
	tensor.Copy(inPlace, v)
	a.Apply(inPlace, q, k, inPlace)
	if !equal(inPlace, got) {
		t.Errorf("%s: the result with dst as v differs", name)
	}
}

// TestStateBits proves that it does not matter where a sequence is cut.
func TestStateBits(t *testing.T) {
	const length = 210
	cputest.ForEachTier(t, func(t *testing.T) {
		r := newRand(3)
		q, k, v := randomSeq(r, 2, length, 2*16), randomSeq(r, 2, length, 2*16), randomSeq(r, 2, length, 2*24)
		for name, m := range map[string]based.FeatureMap{"Taylor": nil, "ELU": based.ELU{}} {
			a := based.Attention{Heads: 2, Map: m}
			whole, _ := a.NewState(2, 16, 24)
			want := like(v)
			whole.Apply(want, q, k, v)
			for range 6 {
				s, _ := a.NewState(2, 16, 24)
				got, at := like(v), 0
				pieces := randomPieces(r, length)
				for _, n := range pieces {
					s.Apply(got.Slice(at, at+n), q.Slice(at, at+n), k.Slice(at, at+n), v.Slice(at, at+n))
					at += n
				}
				if !equal(got, want) || s.Position() != length {
					t.Errorf("%s: in pieces of %v, the bits differ", name, pieces)
				}
				a, _ := s.AppendBinary(nil)
				if b, _ := whole.AppendBinary(nil); !bytes.Equal(a, b) {
					t.Errorf("%s: after pieces of %v, the state differs", name, pieces)
				}
			}
		}
	})
}

// TestSums compares the state with its definition, and continues from it.
func TestSums(t *testing.T) {
	const f, d, heads = 5, 34, 2
	r := newRand(4)
	for name, m := range featureMaps(r, f) {
		a := based.Attention{Heads: heads, Map: m}
		for _, n := range []int{0, 1, 31, 32, 63, 64, 65, 150} {
			q, k, v := randomSeq(r, 2, n+10, heads*f), randomSeq(r, 2, n+10, heads*f), randomSeq(r, 2, n+10, heads*d)
			s, err := a.NewState(2, f, d)
			if err != nil {
				t.Fatal(err)
			}
			out := like(v)
			s.Apply(out.Slice(0, n), q.Slice(0, n), k.Slice(0, n), v.Slice(0, n))
			kv, z := s.Sums()
			features := z.Dim(-1)
			for b := range 2 {
				for h := range heads {
					wantKV, wantZ := make([]float64, d*features), make([]float64, features)
					for i := range n {
						p := make([]float32, features)
						mapOf(m).Map(p, head(k, b, i, h, f), i)
						for j, x := range p {
							wantZ[j] += float64(x)
							for c, w := range head(v, b, i, h, d) {
								wantKV[c*features+j] += float64(x) * float64(w)
							}
						}
					}
					u := b*heads + h
					near(t, fmt.Sprintf("%s: kv after %d", name, n), kv.Data()[u*d*features:(u+1)*d*features], wantKV, 3e-6)
					near(t, fmt.Sprintf("%s: z after %d", name, n), z.Data()[u*features:(u+1)*features], wantZ, 3e-6)
				}
			}
			c, _ := a.NewState(2, f, d)
			c.SetSums(kv, z, n)
			want, got := like(v).Slice(n, n+10), like(v).Slice(n, n+10)
			s.Apply(want, q.Slice(n, n+10), k.Slice(n, n+10), v.Slice(n, n+10))
			c.Apply(got, q.Slice(n, n+10), k.Slice(n, n+10), v.Slice(n, n+10))
			near(t, fmt.Sprintf("%s: continued after %d", name, n), flat(got), flat(want), 1e-5)
		}
	}
}

func mapOf(m based.FeatureMap) based.FeatureMap {
	if m == nil {
		return based.Taylor{}
	}
	return m
}

func flat(s tensor.Seq) []float32 {
	c := like(s)
	tensor.Copy(c, s)
	return c.Data
}

// TestProperties checks what must hold of normalised weights.
func TestProperties(t *testing.T) {
	const length, heads, f, d = 200, 2, 16, 8
	r := newRand(5)
	q, k, v := randomSeq(r, 1, length, heads*f), randomSeq(r, 1, length, heads*f), randomSeq(r, 1, length, heads*d)
	a := based.Attention{Heads: heads}
	got := like(v)
	a.Apply(got, q, k, v)
	if want := v.At(0, 0); relError(got.At(0, 0), want) > 1e-6 {
		t.Errorf("the first output is %v, want the first value %v", got.At(0, 0), want)
	}
	constant := like(v)
	for i := range constant.Data {
		constant.Data[i] = float32(i%v.Dim) - 3
	}
	a.Apply(got, q, k, constant)
	near(t, "equal values", got.Data, constant.Data, 1e-6)

	mean := make([]float64, v.Dim)
	clear(q.Data)
	a.Apply(got, q, k, v)
	for i := range length {
		want := make([]float64, v.Dim)
		for c := range mean {
			mean[c] += float64(v.At(0, i)[c])
			want[c] = mean[c] / float64(i+1)
		}
		near(t, "queries of zeros", got.At(0, i), want, 1e-5)
	}
}

func TestTaylorMap(t *testing.T) {
	// Section 10, case 2 of the definition: the same product of features in all layouts.
	x, y := []float32{.5, -1, .25, 2}, []float32{1.5, .3, -.7, .2}
	const want = 1.394453125
	taylor := based.Taylor{}
	n := taylor.Features(4)
	px, py, fx, fy := make([]float32, n), make([]float32, n), make([]float32, 21), make([]float32, 21)
	taylor.Map(px, x, 0)
	taylor.Map(py, y, 0)
	taylor.Expand(fx, px, 4)
	taylor.Expand(fy, py, 4)
	for name, p := range map[string][2][]float32{"packed": {px, py}, "expanded": {fx, fy}} {
		if got := tensor.Dot(p[0], p[1]); math.Abs(float64(got)-want) > 2e-7 {
			t.Errorf("%s: the product of the features is %v, want %v", name, got, want)
		}
	}
	back := make([]float32, n)
	taylor.Pack(back, fx, 4)
	near(t, "packed again", back, px, 1e-7)
}

// TestPublishedCase is case 1 of section 10 of the definition.
func TestPublishedCase(t *testing.T) {
	seq := func(a, b float64, dim int) tensor.Seq {
		s := tensor.NewSeq(1, 5, dim)
		for i := range s.Data {
			s.Data[i] = float32(math.Sin(a*float64(i+1) + b))
		}
		return s
	}
	v := seq(.9, -.2, 2)
	based.Attention{Heads: 1}.Apply(v, seq(.7, 0, 4), seq(1.1, .3, 4), v)
	near(t, "case 1", v.Data, []float64{.644217687, .999573603, .629392679, .592821716, .224247393, -.193821077, .081591516, .482195904, .151394344, -.092162941}, 3e-7)
}

func TestAttentionErrors(t *testing.T) {
	a := based.Attention{Heads: 2}
	s := tensor.NewSeq
	for name, f := range map[string]func(){
		"q not of the heads": func() { a.Apply(s(1, 2, 6), s(1, 2, 7), s(1, 2, 7), s(1, 2, 6)) },
		"k narrower":         func() { a.Apply(s(1, 2, 6), s(1, 2, 8), s(1, 2, 6), s(1, 2, 6)) },
		"k shorter":          func() { a.Apply(s(1, 2, 6), s(1, 2, 8), s(1, 1, 8), s(1, 2, 6)) },
		"v longer":           func() { a.Apply(s(1, 2, 6), s(1, 2, 8), s(1, 2, 8), s(1, 3, 6)) },
		"another batch":      func() { a.Apply(s(2, 2, 6), s(1, 2, 8), s(1, 2, 8), s(2, 2, 6)) },
		"dst wider":          func() { a.Apply(s(1, 2, 8), s(1, 2, 8), s(1, 2, 8), s(1, 2, 6)) },
		"no queries":         func() { a.Apply(s(1, 2, 6), s(1, 2, 0), s(1, 2, 0), s(1, 2, 6)) },
	} {
		mustPanic(t, name, f)
	}
	state, err := a.NewState(1, 4, 3)
	if err != nil {
		t.Fatal(err)
	}
	mustPanic(t, "wider heads", func() { state.Apply(s(1, 2, 6), s(1, 2, 10), s(1, 2, 10), s(1, 2, 6)) })
	mustPanic(t, "another batch than the state", func() { state.Apply(s(2, 2, 6), s(2, 2, 8), s(2, 2, 8), s(2, 2, 6)) })
	mustPanic(t, "sums of another shape", func() { state.SetSums(tensor.New(1, 2, 3, 14), tensor.New(1, 2, 15), 0) })
	for _, bad := range []based.Attention{{}, {Heads: -1}, {Heads: 1, Eps: -1}, {Heads: 1, Eps: float32(math.Inf(1))}} {
		if _, err := bad.NewState(1, 4, 4); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
	for _, n := range [][3]int{{0, 1, 1}, {1, 0, 1}, {1, 1, 0}, {1 << 20, 1 << 10, 1 << 10}} {
		if _, err := a.NewState(n[0], n[1], n[2]); err == nil {
			t.Errorf("a state of %v: no error", n)
		}
	}
}
