package mixtest

import (
	"fmt"
	"math"

	"github.com/seqmix/seqmix/tensor"
)

// random returns random sequences.
func (t *tester) random(batch, length int) tensor.Seq {
	s := tensor.NewSeq(batch, length, t.m.Dim())
	for i := range s.Data {
		s.Data[i] = float32(t.rand.NormFloat64() * t.Scale)
	}
	return s
}

// mix returns Mix of src in new memory.
func (t *tester) mix(src tensor.Seq) tensor.Seq {
	dst := like(src)
	t.m.Mix(dst, src)
	return dst
}

// like returns new sequences of the shape of s, filled with NaN: what is not
// written shows.
func like(s tensor.Seq) tensor.Seq {
	n := tensor.NewSeq(s.Batch, s.Len, s.Dim)
	for i := range n.Data {
		n.Data[i] = float32(math.NaN())
	}
	return n
}

func clone(s tensor.Seq) tensor.Seq {
	n := tensor.NewSeq(s.Batch, s.Len, s.Dim)
	tensor.Copy(n, s)
	return n
}

// near returns an error unless got and want agree but for tol times the largest
// magnitude in want.
func near(got, want tensor.Seq, tol float64) error {
	worst, scale, where := 0.0, 0.0, [3]int{}
	for b := range want.Batch {
		for i := range want.Len {
			g, w := got.At(b, i), want.At(b, i)
			for c := range w {
				scale = max(scale, math.Abs(float64(w[c])))
				d := math.Abs(float64(g[c]) - float64(w[c]))
				if math.IsNaN(d) && math.Float32bits(g[c]) != math.Float32bits(w[c]) {
					d = math.Inf(1)
				}
				if d > worst {
					worst, where = d, [3]int{b, i, c}
				}
			}
		}
	}
	if worst <= tol*scale {
		return nil
	}
	b, i, c := where[0], where[1], where[2]
	return fmt.Errorf("sequence %d, position %d, channel %d is %v, want %v: off by %.2g of the largest magnitude, tolerance %.2g",
		b, i, c, got.At(b, i)[c], want.At(b, i)[c], worst/scale, tol)
}

// same returns an error unless got and want agree bit for bit.
func same(got, want tensor.Seq) error {
	for b := range want.Batch {
		for i := range want.Len {
			g, w := got.At(b, i), want.At(b, i)
			for c := range w {
				if math.Float32bits(g[c]) != math.Float32bits(w[c]) {
					return fmt.Errorf("sequence %d, position %d, channel %d is %v, want %v bit for bit", b, i, c, g[c], w[c])
				}
			}
		}
	}
	return nil
}

// sameValues is same for slices.
func sameValues(got, want []float32) error {
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			return fmt.Errorf("element %d is %v, want %v bit for bit", i, got[i], want[i])
		}
	}
	return nil
}

// explain puts what was done in front of an error, if there is one.
func explain(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// margin is how many positions lie before and after those of a framed Seq.
const margin = 2

// framed is a part of longer sequences. The elements around it have a known value.
type framed struct {
	tensor.Seq
	whole tensor.Seq
	value float32
}

// frame returns a copy of s that is part of longer sequences with value around it.
func frame(s tensor.Seq, value float32) framed {
	whole := tensor.NewSeq(s.Batch, s.Len+2*margin, s.Dim)
	for i := range whole.Data {
		whole.Data[i] = value
	}
	f := framed{whole.Slice(margin, margin+s.Len), whole, value}
	tensor.Copy(f.Seq, s)
	return f
}

// intact returns an error if something around the part was written to.
func (f framed) intact() error {
	for b := range f.whole.Batch {
		for i := range f.whole.Len {
			if i >= margin && i < margin+f.Len {
				continue
			}
			for c, v := range f.whole.At(b, i) {
				if math.Float32bits(v) != math.Float32bits(f.value) {
					return fmt.Errorf("wrote %v to channel %d of position %d of sequence %d, which has %d positions", v, c, i-margin, b, f.Len)
				}
			}
		}
	}
	return nil
}
