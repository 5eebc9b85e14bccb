package attention_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/tensor"
)

type coreCase struct {
	d                 attention.DotProduct
	batch, nq, nk, hd int
}

func (c coreCase) String() string {
	left := -1
	if c.d.Left != nil {
		left = *c.d.Left
	}
	return fmt.Sprintf("%d of %d heads of %d, %d queries of %d keys, batch %d, left %d, right %d, softcap %v, ALiBi %v",
		c.d.Heads, c.d.KVHeads, c.hd, c.nq, c.nk, c.batch, left, c.d.Right, c.d.Softcap, c.d.Slopes != nil)
}

func (c coreCase) inputs() (q, k, v tensor.Seq) {
	r := newRand(uint64(c.nq*1000 + c.nk))
	kv := c.d.KVHeads
	if kv == 0 {
		kv = c.d.Heads
	}
	return randomSeq(r, c.batch, c.nq, c.d.Heads*c.hd), randomSeq(r, c.batch, c.nk, kv*c.hd), randomSeq(r, c.batch, c.nk, kv*c.hd)
}

// coreCases have lengths around the borders of blocks, strips and tiles, odd widths,
// and each option.
func coreCases() []coreCase {
	type dp = attention.DotProduct
	var cases []coreCase
	for _, n := range []int{1, 2, 11, 12, 13, 31, 32, 33, 95, 96, 97, 127, 128, 129, 200, 257} {
		cases = append(cases, coreCase{dp{Heads: 2}, 1, n, n, 8}, coreCase{dp{Heads: 3, KVHeads: 1}, 1, n, n, 5})
	}
	for _, hd := range []int{1, 3, 7, 16, 31, 32, 33, 64, 70, 80, 112, 130} {
		cases = append(cases, coreCase{dp{Heads: 4, KVHeads: 2}, 2, 21, 21, hd})
	}
	for _, left := range []int{-3, 0, 1, 3, 31, 32, 63, 64, 127, 128, 130, 500} {
		cases = append(cases, coreCase{dp{Heads: 2, KVHeads: 1, Left: new(left)}, 1, 150, 150, 12},
			coreCase{dp{Heads: 1, Left: new(left)}, 2, 9, 300, 16})
	}
	for _, lengths := range [][2]int{{1, 140}, {1, 1000}, {5, 129}, {40, 128}, {7, 3}, {3, 0}, {0, 4}, {130, 20}} {
		for _, right := range []int{0, -1, 2} {
			cases = append(cases, coreCase{dp{Heads: 4, KVHeads: 2, Right: right}, 2, lengths[0], lengths[1], 6})
		}
		cases = append(cases, coreCase{dp{Heads: 2, Right: 40, Left: new(33), Slopes: []float32{.3, .1}}, 1, lengths[0], lengths[1], 6})
	}
	cases = append(cases,
		coreCase{dp{Heads: 3, Softcap: 2}, 1, 140, 140, 9},
		coreCase{dp{Heads: 3, Scale: 0.7}, 1, 40, 40, 9},
		coreCase{dp{Heads: 3, Scale: -0.3}, 1, 40, 40, 9},
		coreCase{dp{Heads: 6, KVHeads: 3, Slopes: attention.Slopes(6)}, 1, 150, 300, 8},
		coreCase{dp{Heads: 2, Slopes: attention.Slopes(2), Softcap: 3, Right: -1}, 1, 150, 150, 8},
		coreCase{dp{Heads: 71, KVHeads: 1}, 1, 1, 2300, 4},     // segments
		coreCase{dp{Heads: 12, KVHeads: 2}, 1, 15, 2500, 4},    // segments of rows
		coreCase{dp{Heads: 1, Left: new(2200)}, 1, 1, 3500, 8}, // segments of a window
		coreCase{dp{Heads: 2, Slopes: []float32{0.01, 1}}, 1, 3, 2100, 8},
		coreCase{dp{Heads: 1, Right: -1}, 2, 3, 2305, 8},
	)
	return cases
}

func TestDotProduct(t *testing.T) {
	cases := coreCases()
	wants := make([][]float64, len(cases))
	for i, c := range cases {
		q, k, v := c.inputs()
		wants[i] = naive(c.d, q, k, v)
	}
	cputest.ForEachTier(t, func(t *testing.T) {
		for i, c := range cases {
			q, k, v := c.inputs()
			dst := tensor.NewSeq(q.Batch, q.Len, q.Dim)
			c.d.Apply(dst, q, k, v)
			near(t, c.String(), dst.Data, wants[i])
			c.d.Apply(q, q, k, v)
			if !slices.Equal(q.Data, dst.Data) {
				t.Errorf("%v: in place it differs", c)
			}
		}
	})
}

// TestDotProductCores checks that the number of cores does not change a bit.
func TestDotProductCores(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, c := range coreCases() {
		q, k, v := c.inputs()
		var first []float32
		for _, procs := range []int{1, 2, 4} {
			runtime.GOMAXPROCS(procs)
			dst := tensor.NewSeq(q.Batch, q.Len, q.Dim)
			c.d.Apply(dst, q, k, v)
			if first == nil {
				first = dst.Data
			} else if !slices.Equal(first, dst.Data) {
				t.Errorf("%v: %d cores give other bits", c, procs)
			}
		}
	}
}

// TestDotProductParts reads and writes parts of longer sequences.
func TestDotProductParts(t *testing.T) {
	r := newRand(1)
	q, k, v := randomSeq(r, 3, 40, 24), randomSeq(r, 3, 40, 12), randomSeq(r, 3, 40, 12)
	d := attention.DotProduct{Heads: 4, KVHeads: 2}
	dst := tensor.NewSeq(3, 50, 24)
	d.Apply(dst.Slice(7, 17), q.Slice(20, 30), k.Slice(5, 30), v.Slice(5, 30))
	got := tensor.NewSeq(3, 10, 24)
	tensor.Copy(got, dst.Slice(7, 17))
	near(t, "parts", got.Data, naive(d, q.Slice(20, 30), k.Slice(5, 30), v.Slice(5, 30)))
	for b := range dst.Batch {
		for i := range dst.Len {
			if (i < 7 || i >= 17) && !slices.Equal(dst.At(b, i), make([]float32, 24)) {
				t.Fatalf("position %d of sequence %d was written", i, b)
			}
		}
	}
}

func TestDotProductPanics(t *testing.T) {
	seq := tensor.NewSeq
	d := attention.DotProduct{Heads: 4, KVHeads: 2}
	for name, f := range map[string]func(){
		"no heads": func() { attention.DotProduct{}.Apply(seq(1, 2, 8), seq(1, 2, 8), seq(1, 2, 8), seq(1, 2, 8)) },
		"heads": func() {
			attention.DotProduct{Heads: 3, KVHeads: 2}.Apply(seq(1, 2, 6), seq(1, 2, 6), seq(1, 2, 4), seq(1, 2, 4))
		},
		"width of q":    func() { d.Apply(seq(1, 2, 9), seq(1, 2, 9), seq(1, 2, 4), seq(1, 2, 4)) },
		"width of k":    func() { d.Apply(seq(1, 2, 8), seq(1, 2, 8), seq(1, 2, 8), seq(1, 2, 4)) },
		"length of v":   func() { d.Apply(seq(1, 2, 8), seq(1, 2, 8), seq(1, 2, 4), seq(1, 3, 4)) },
		"batch of k":    func() { d.Apply(seq(1, 2, 8), seq(1, 2, 8), seq(2, 2, 4), seq(2, 2, 4)) },
		"length of dst": func() { d.Apply(seq(1, 3, 8), seq(1, 2, 8), seq(1, 2, 4), seq(1, 2, 4)) },
		"slopes": func() {
			attention.DotProduct{Heads: 2, Slopes: make([]float32, 3)}.Apply(seq(1, 2, 8), seq(1, 2, 8), seq(1, 2, 8), seq(1, 2, 8))
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// TestDotProductExtremes checks scores that are far apart: the softmax must not
// overflow. The numbers have few bits, so that no score is rounded: where scores are as
// large, their rounding decides which key wins, and which are tied.
func TestDotProductExtremes(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		r := newRand(2)
		for _, size := range []float32{0x1p-100, 30, 1e4, 0x1p40, 0x1p100} {
			q, k, v := randomSeq(r, 1, 150, 8), randomSeq(r, 1, 150, 8), randomSeq(r, 1, 150, 8)
			for i := range q.Data {
				q.Data[i] *= size
			}
			for i := range k.Data {
				q.Data[i] = float32(int(q.Data[i]/size*4)) * size
				k.Data[i] = float32(int(k.Data[i] * 4))
			}
			d := attention.DotProduct{Heads: 1, Scale: 1}
			dst := tensor.NewSeq(1, 150, 8)
			d.Apply(dst, q, k, v)
			near(t, fmt.Sprintf("queries of size %v", size), dst.Data, naive(d, q, k, v))
		}
	})
}
