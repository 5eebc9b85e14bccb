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

// A long sequence is taken back through segments of 50 positions: what goes from one to
// the next has the size of the state of a stream, and the gradient is that of the whole.
// With nil for dstate it would be truncated.
func ExampleMamba_RecordSegment() {
	m, err := ssm.NewMamba(ssm.MambaConfig{DModel: 16})
	if err != nil {
		panic(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	m.Init(r)
	x, y, dy := tensor.NewSeq(1, 1000, 16), tensor.NewSeq(1, 1000, 16), tensor.NewSeq(1, 1000, 16)
	for i := range x.Data {
		x.Data[i], dy.Data[i] = float32(r.NormFloat64()), float32(r.NormFloat64())
	}
	part := func(s tensor.Seq, i int) tensor.Seq { return s.Slice(50*i, 50*(i+1)) }
	states := make([]*seqmix.State, 21) // in front of each segment, and the last
	for i := range 20 {
		if _, states[i+1], err = m.RecordSegment(part(y, i), part(x, i), states[i]); err != nil {
			panic(err)
		}
	}
	dx, grads := tensor.NewSeq(1, 1000, 16), seqmix.NewGrads(m)
	var dstate *seqmix.State
	for i := 19; i >= 0; i-- { // one tape at a time
		tape, _, err := m.RecordSegment(part(y, i), part(x, i), states[i])
		if err != nil {
			panic(err)
		}
		dstate = tape.BackwardSegment(part(dx, i), part(dy, i), dstate, grads)
	}
	fmt.Println("state:", states[20].Tensors[0].Shape(), states[20].Tensors[1].Shape())

	tape, err := m.Record(y, x)
	if err != nil {
		panic(err)
	}
	whole := tensor.NewSeq(1, 1000, 16)
	tape.Backward(whole, dy, nil)
	difference := float32(0)
	for i, d := range whole.Data {
		difference = max(difference, d-dx.Data[i], dx.Data[i]-d)
	}
	fmt.Println("as the whole:", difference < 1e-5)
	// Output:
	// state: [1 3 32] [1 32 16]
	// as the whole: true
}
