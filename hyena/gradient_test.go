package hyena

import (
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/tape"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/tensor"
)

// masker is a Striped or a Block around one.
type masker interface {
	seqmix.Mixer
	MixMasked(dst, src tensor.Seq, mask []float32)
	RecordMasked(dst, src tensor.Seq, mask []float32) (seqmix.Tape, error)
}

// masked is a mixer of sequences of which every third position is padding.
type masked struct{ masker }

func (masked) mask(src tensor.Seq) []float32 {
	mask := make([]float32, src.Batch*src.Len)
	for i := range mask {
		if i%max(src.Len, 1)%3 != 1 {
			mask[i] = 1
		}
	}
	return mask
}

func (m masked) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("hyena.masked.Mix", dst, src, m.Dim())
	m.MixMasked(dst, src, m.mask(src))
}

func (m masked) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("hyena.masked.Record", dst, src, m.Dim())
	return m.RecordMasked(dst, src, m.mask(src))
}

func TestMaskedGradient(t *testing.T) {
	m := newStriped(t, CascadeConfig{Dim: 6, Heads: 2}, 1)
	block, err := NewBlock(BlockConfig{Dim: 6, Inner: 8}, m, "")
	if err != nil {
		t.Fatal(err)
	}
	block.MLP.Init(newRand(2))
	for _, m := range []masker{m, block} {
		if err := mixtest.TestTrainer(masked{m}, mixtest.Options{}); err != nil {
			t.Errorf("%T: %v", m, err)
		}
	}
}

// cascaded is a cascade as a mixer: its inputs are made from the channels of a position.
type cascaded struct{ *Cascade }

func (c cascaded) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("hyena.cascaded.Mix", dst, src, c.Dim())
	y := like(src)
	c.Apply(y, c.wide(src))
	tensor.Copy(dst, y)
}

// wide returns three copies of every vector.
func (c cascaded) wide(src tensor.Seq) tensor.Seq {
	z := tensor.NewSeq(src.Batch, src.Len, 3*src.Dim)
	for b := range z.Batch {
		for i := range z.Len {
			for j := range z.Dim {
				z.At(b, i)[j] = src.At(b, i)[j%src.Dim]
			}
		}
	}
	return z
}

func (c cascaded) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	tensor.CheckMix("hyena.cascaded.Record", dst, src, c.Dim())
	return tape.Record(c, dst, src)
}

func (c cascaded) Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads) {
	tape.Check("hyena.cascaded.Backward", dsrc, ddst, src, c.Dim())
	dz := tensor.NewSeq(src.Batch, src.Len, 3*src.Dim)
	c.Cascade.Backward(dz, ddst, c.wide(src), grads)
	for b := range dz.Batch {
		for i := range dz.Len {
			clear(dsrc.At(b, i))
			for j, v := range dz.At(b, i) {
				dsrc.At(b, i)[j%src.Dim] += v
			}
		}
	}
}

func TestCascadeGradient(t *testing.T) {
	for _, name := range []string{"Evo", "hcm", "hcs"} {
		c, err := NewCascade(stripeds[name])
		if err != nil {
			t.Fatal(err)
		}
		c.Init(newRand(3))
		if err := mixtest.TestTrainer(cascaded{c}, mixtest.Options{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
