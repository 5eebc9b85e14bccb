package ssm_test

import (
	"fmt"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// A Mamba learns to repeat its input with a delay of two positions, by plain gradient
// descent.
func ExampleMamba_Record() {
	m, err := ssm.NewMamba(ssm.MambaConfig{DModel: 4})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := rand.New(rand.NewPCG(1, 2))
	m.Init(r)
	src, dst := tensor.NewSeq(8, 16, 4), tensor.NewSeq(8, 16, 4)
	for i := range src.Data {
		src.Data[i] = float32(r.NormFloat64())
	}
	step := func() (loss float64) {
		tape, err := m.Record(dst, src)
		if err != nil {
			panic(err)
		}
		n := float32(len(dst.Data))
		for b := range dst.Batch {
			for t := range dst.Len {
				for i, y := range dst.At(b, t) {
					d := y
					if t >= 2 {
						d -= src.At(b, t-2)[i]
					}
					loss += float64(d*d) / float64(n)
					dst.At(b, t)[i] = 2 * d / n // the gradient of the loss
				}
			}
		}
		grads := seqmix.NewGrads(m)
		tape.Backward(dst, dst, grads)
		for p, g := range grads {
			tensor.Axpy(-0.5, g.Data(), p.Data())
		}
		return loss
	}
	first, last := step(), 0.0
	for range 300 {
		last = step()
	}
	fmt.Println(last < first/2)
	// Output: true
}
