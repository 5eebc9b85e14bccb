package attention_test

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/tensor"
)

// naiveGradient computes the gradients of attention from its definition, in float64.
func naiveGradient(d attention.DotProduct, q, k, v, dout tensor.Seq) (dq, dk, dv []float64) {
	kvHeads := max(d.KVHeads, 1)
	if d.KVHeads == 0 {
		kvHeads = d.Heads
	}
	dim := q.Dim / d.Heads
	scale := float64(d.Scale)
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(dim))
	}
	dq, dk, dv = make([]float64, len(q.Data)), make([]float64, len(k.Data)), make([]float64, len(v.Data))
	for b := range q.Batch {
		for i := range q.Len {
			for h := range d.Heads {
				kv := h / (d.Heads / kvHeads)
				p := k.Len - q.Len + i
				qAt := (b*q.Len+i)*q.Dim + h*dim
				at := func(j int) int { return (b*k.Len+j)*k.Dim + kv*dim }
				slope, weights, top := map[int]float64{}, map[int]float64{}, math.Inf(-1)
				for j := range k.Len {
					if d.Left != nil && *d.Left >= 0 && j < p-*d.Left || d.Right >= 0 && j > p+d.Right {
						continue
					}
					var s float64
					for c := range dim {
						s += scale * float64(q.Data[qAt+c]) * float64(k.Data[at(j)+c])
					}
					slope[j] = 1
					if c := float64(d.Softcap); c != 0 {
						tanh := math.Tanh(s / c)
						s, slope[j] = c*tanh, 1-tanh*tanh
					}
					if d.Slopes != nil {
						s -= float64(d.Slopes[h]) * math.Abs(float64(p-j))
					}
					weights[j] = s
					top = max(top, s)
				}
				var sum, inner float64
				for j, s := range weights {
					weights[j] = math.Exp(s - top)
					sum += weights[j]
				}
				dw := map[int]float64{}
				for j := range weights {
					weights[j] /= sum
					for c := range dim {
						dw[j] += float64(dout.Data[qAt+c]) * float64(v.Data[at(j)+c])
					}
					inner += weights[j] * dw[j]
				}
				for j, w := range weights {
					ds := scale * slope[j] * w * (dw[j] - inner)
					for c := range dim {
						dq[qAt+c] += ds * float64(k.Data[at(j)+c])
						dk[at(j)+c] += ds * float64(q.Data[qAt+c])
						dv[at(j)+c] += w * float64(dout.Data[qAt+c])
					}
				}
			}
		}
	}
	return dq, dk, dv
}

// gradientCase is attention of some shape.
type gradientCase struct {
	dot                   attention.DotProduct
	batch, n, keys, width int
}

func (c gradientCase) String() string {
	left := "all"
	if c.dot.Left != nil {
		left = fmt.Sprint(*c.dot.Left)
	}
	return fmt.Sprintf("%d queries, %d keys, %d of %d heads of %d, left %s, right %d, softcap %v, %d slopes, batch %d",
		c.n, c.keys, c.dot.KVHeads, c.dot.Heads, c.width, left, c.dot.Right, c.dot.Softcap, len(c.dot.Slopes), c.batch)
}

func gradientCases() []gradientCase {
	var list []gradientCase
	for _, n := range []int{1, 2, 12, 33, 64, 97, 130, 300} {
		list = append(list,
			gradientCase{attention.DotProduct{Heads: 1, KVHeads: 1}, 2, n, n, 16},
			gradientCase{attention.DotProduct{Heads: 2, KVHeads: 2, Right: -1}, 1, n, n, 5},
			gradientCase{attention.DotProduct{Heads: 6, KVHeads: 2, Left: new(20)}, 1, n, n, 33},
			gradientCase{attention.DotProduct{Heads: 4, KVHeads: 4, Left: new(7), Right: 40}, 3, n, n, 8})
	}
	return append(list,
		gradientCase{attention.DotProduct{Heads: 2, KVHeads: 1, Left: new(0)}, 1, 140, 140, 7},
		gradientCase{attention.DotProduct{Heads: 2, KVHeads: 1, Softcap: 1.5, Scale: 0.7}, 1, 140, 140, 12},
		gradientCase{attention.DotProduct{Heads: 3, KVHeads: 3, Slopes: []float32{0.5, 0.1, 0.02}}, 1, 140, 140, 12},
		gradientCase{attention.DotProduct{Heads: 4, KVHeads: 2, Slopes: attention.Slopes(4), Softcap: 3, Right: 9}, 2, 140, 140, 12},
		gradientCase{attention.DotProduct{Heads: 2, KVHeads: 2}, 1, 50, 230, 16},
		gradientCase{attention.DotProduct{Heads: 2, KVHeads: 1, Left: new(60)}, 1, 200, 310, 16},
		gradientCase{attention.DotProduct{Heads: 2, KVHeads: 1}, 1, 150, 40, 16}, // of queries without keys
		gradientCase{attention.DotProduct{Heads: 8, KVHeads: 1}, 1, 100, 100, 32},
		gradientCase{attention.DotProduct{Heads: 1, KVHeads: 1}, 1, 20, 0, 4},
		gradientCase{attention.DotProduct{Heads: 9, KVHeads: 9}, 1, 200, 200, 64})
}

func (c gradientCase) operands(seed uint64) (q, k, v, dout tensor.Seq) {
	r := newRand(seed)
	kv := c.dot.KVHeads * c.width
	q, k, v = randomSeq(r, c.batch, c.n, c.dot.Heads*c.width), randomSeq(r, c.batch, c.keys, kv), randomSeq(r, c.batch, c.keys, kv)
	return q, k, v, randomSeq(r, c.batch, c.n, c.dot.Heads*c.width)
}

// TestDotProductGradient compares with the definition, on every tier, and asks for the
// same bits on one core and several.
func TestDotProductGradient(t *testing.T) {
	cases := gradientCases()
	if testing.Short() {
		cases = slices.DeleteFunc(cases, func(c gradientCase) bool { return c.n > 200 })
	}
	wants := make([][3][]float64, len(cases))
	for i, c := range cases {
		q, k, v, dout := c.operands(uint64(i))
		wants[i][0], wants[i][1], wants[i][2] = naiveGradient(c.dot, q, k, v, dout)
	}
	cputest.ForEachTier(t, func(t *testing.T) {
		for i, c := range cases {
			q, k, v, dout := c.operands(uint64(i))
			dst, want := like(q), like(q)
			c.dot.Apply(want, q, k, v)
			tape := c.dot.Record(dst, q, k, v)
			if !slices.Equal(dst.Data, want.Data) {
				t.Errorf("%v: Record does not compute what Apply does", c)
			}
			var first [3]tensor.Seq
			for _, procs := range []int{1, 4} {
				dq, dk, dv := like(q), like(k), like(v)
				for _, s := range []tensor.Seq{dq, dk, dv} {
					fill(s.Data, float32(math.NaN()))
				}
				withProcs(procs, func() { tape.Backward(dq, dk, dv, dout) })
				gradientNear(t, fmt.Sprint(c, ": dq"), dq.Data, wants[i][0])
				gradientNear(t, fmt.Sprint(c, ": dk"), dk.Data, wants[i][1])
				gradientNear(t, fmt.Sprint(c, ": dv"), dv.Data, wants[i][2])
				if procs == 1 {
					first = [3]tensor.Seq{dq, dk, dv}
				} else if !slices.Equal(dq.Data, first[0].Data) || !slices.Equal(dk.Data, first[1].Data) || !slices.Equal(dv.Data, first[2].Data) {
					t.Errorf("%v: the bits depend on the number of cores", c)
				}
			}
		}
	})
}

func fill(x []float32, v float32) {
	for i := range x {
		x[i] = v
	}
}

func withProcs(n int, f func()) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
	f()
}

// gradientNear is near with the rounding of another pass. If nothing is wanted, as
// where a query sees one key, there is the rounding of the products that cancel.
func gradientNear(t testing.TB, what string, got []float32, want []float64) {
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

// TestDotProductTapeInPlace has the memory of the result be that of queries, and that of
// the gradient of queries that of the gradient of the result.
func TestDotProductTapeInPlace(t *testing.T) {
	c := gradientCase{attention.DotProduct{Heads: 4, KVHeads: 2}, 2, 150, 150, 8}
	q, k, v, dout := c.operands(1)
	wantQ, wantK, wantV := naiveGradient(c.dot, q, k, v, dout)
	tape := c.dot.Record(q, q, k, v)
	for range 2 {
		x, dk, dv := like(dout), like(k), like(v)
		tensor.Copy(x, dout)
		tape.Backward(x, dk, dv, x)
		gradientNear(t, "dq", x.Data, wantQ)
		gradientNear(t, "dk", dk.Data, wantK)
		gradientNear(t, "dv", dv.Data, wantV)
	}
}

// TestLongGradient runs the contract where tiles and blocks are many: with several
// sequences and heads, and with so few that tiles are dealt out.
func TestLongGradient(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	for name, cfg := range map[string]attention.MultiHeadConfig{
		"one head":   {Dim: 8, Heads: 1, RoPE: &attention.RoPEConfig{}},
		"two heads":  {Dim: 8, Heads: 2, Layout: attention.Wqkv, QKNorm: true, QKVBias: true, Left: new(140)},
		"many heads": {Dim: 8, Heads: 8, KVHeads: 4, ALiBi: true},
	} {
		m := newMultiHead(t, cfg, 3)
		if err := mixtest.TestTrainer(m, mixtest.Options{Len: 200}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRoPEBackward compares with the transpose: ⟨y, R·x⟩ = ⟨Rᵀ·y, x⟩.
func TestRoPEBackward(t *testing.T) {
	yarn := &attention.Scaling{Type: attention.YaRNScaling, Factor: 4, OriginalPositions: 8}
	for _, cfg := range []attention.RoPEConfig{{}, {Interleaved: true, Dim: 6}, {Scaling: yarn}, {Dim: 4, Interleaved: true, Scaling: yarn}} {
		r := newRoPE(t, cfg, 8)
		x, y := randomSeq(newRand(1), 2, 9, 24), randomSeq(newRand(2), 2, 9, 24)
		rx, ry := like(x), like(y)
		r.Rotate(rx, x, 5)
		r.Backward(ry, y, 5)
		for i := range 18 {
			a, b := tensor.Dot(rx.Data[i*24:(i+1)*24], y.Data[i*24:(i+1)*24]), tensor.Dot(x.Data[i*24:(i+1)*24], ry.Data[i*24:(i+1)*24])
			if math.Abs(float64(a-b)) > 1e-5*(1+math.Abs(float64(a))) {
				t.Errorf("%+v: position %d: %v and %v", cfg, i, a, b)
			}
		}
	}
}

// BenchmarkTraining measures a forward and a backward pass of a layer over a batch of
// short sequences, as of associative recall, and over a long one. It counts the
// multiply-adds that causality leaves: twice those of a forward pass for the backward
// pass, and the scores once more.
func BenchmarkTraining(b *testing.B) {
	for _, c := range []struct{ batch, n, d, heads int }{{64, 64, 64, 1}, {16, 256, 128, 2}, {1, 2048, 512, 8}} {
		for _, procs := range []int{1, 2} {
			b.Run(fmt.Sprintf("B=%d/L=%d/d=%d/procs=%d", c.batch, c.n, c.d, procs), func(b *testing.B) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				m := newMultiHead(b, attention.MultiHeadConfig{Dim: c.d, Heads: c.heads, Layout: attention.Wqkv, QKVBias: true, OutBias: true}, 1)
				x := randomSeq(newRand(1), c.batch, c.n, c.d)
				dst, dx, grads := like(x), like(x), seqmix.NewGrads(m)
				n := float64(c.n)
				flops := float64(c.batch) * (3*8*n*float64(c.d)*float64(c.d) + 3.5*4*float64(c.d)*n*(n+1)/2)
				peak := func() float64 { return float64(procs) * kernel.PeakFMA() }
				benchShare(b, flops, "GFLOP/s", peak, func() {
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
