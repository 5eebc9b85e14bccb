package mixtest_test

import (
	"fmt"
	"math/rand/v2"

	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A careless mixer forgets that dst may be src.
type careless struct{ *nn.LayerNorm }

func (c careless) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("careless.Mix", dst, src, c.Dim())
	for b := range dst.Batch {
		for i := range dst.Len {
			clear(dst.At(b, i))
		}
	}
	c.LayerNorm.Mix(dst, src)
}

func ExampleTestMixer() {
	norm := nn.NewLayerNorm(8, 1e-5)
	nn.Uniform(norm.Weight, rand.New(rand.NewPCG(1, 2)), 1)
	fmt.Println(mixtest.TestMixer(norm, mixtest.Options{}))
	fmt.Println(mixtest.TestMixer(careless{norm}, mixtest.Options{}) != nil)
	// Output:
	// <nil>
	// true
}
