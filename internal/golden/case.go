package golden

import (
	"fmt"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/tensor"
)

// seqOf describes a tensor of a case, which has the channels last, as a batch: all
// dimensions but the last two are the batch.
func seqOf(c *goldentest.Case, name string) tensor.Seq {
	shape := c.Shape(name)
	batch, length, dim := 1, 1, shape[len(shape)-1]
	if len(shape) > 1 {
		length = shape[len(shape)-2]
	}
	for _, d := range shape[:max(len(shape)-2, 0)] {
		batch *= d
	}
	return tensor.SeqOf(c.Tensor(name), batch, length, dim)
}

// channelsLast turns a tensor of a case that has the length last into a batch. All
// dimensions between the first and the last one are channels; if there is only one
// dimension, it is the length.
func channelsLast(c *goldentest.Case, name string) tensor.Seq {
	shape, v := c.Shape(name), c.Tensor(name)
	batch, length := shape[0], shape[len(shape)-1]
	if len(shape) == 1 {
		batch = 1
	}
	return transposed(v, batch, len(v)/max(batch*length, 1), length)
}

// transposed turns values of shape (batch, channels, length) into a batch.
func transposed(v []float32, batch, channels, length int) tensor.Seq {
	s := tensor.NewSeq(batch, length, channels)
	for i, x := range v {
		s.At(i/length/channels, i%length)[i/length%channels] = x
	}
	return s
}

// channelsFirst returns the elements of s with shape (batch, channels, length).
func channelsFirst(s tensor.Seq) []float32 {
	v := make([]float32, s.Batch*s.Len*s.Dim)
	for i := range v {
		v[i] = s.At(i/s.Len/s.Dim, i%s.Len)[i/s.Len%s.Dim]
	}
	return v
}

func like(s tensor.Seq) tensor.Seq { return tensor.NewSeq(s.Batch, s.Len, s.Dim) }

// tensorOf returns a tensor of a case, or nil if it has none of this name.
func tensorOf(c *goldentest.Case, name string) *tensor.Tensor {
	if !c.Has(name) {
		return nil
	}
	return tensor.FromFloat32s(c.Tensor(name), c.Shape(name)...)
}

// setParams fills all parameters of m with those of the case whose names begin with
// prefix. Both must have the same ones, with as many elements.
func setParams(c *goldentest.Case, m seqmix.Mixer, prefix string) error {
	n := 0
	for name, p := range m.Params() {
		name = "param." + prefix + name
		values := c.Tensor(name)
		if values == nil || len(values) != p.Len() {
			return fmt.Errorf("%s: shape %v in the case, %v in the mixer", name, c.Shape(name), p.Shape())
		}
		p.SetFloat32s(values)
		n++
	}
	if all := len(c.Names("param." + prefix)); n != all {
		return fmt.Errorf("the mixer has %d of %d parameters %s*", n, all, prefix)
	}
	return nil
}
