package seqmix_test

import (
	"fmt"
	"log"
	"math/rand/v2"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A sequence is taken in segments: the gradients of the second flow into the first, by
// the state between them, and no further back.
func ExampleRecordSegment() {
	r := rand.New(rand.NewPCG(1, 2))
	conv := nn.NewCausalConv1D(2, 3, true, nn.SiLU)
	conv.Init(r)
	m := seqmix.Stack{conv, newLinear(r, 2)}
	x, dy := randomSeq(r, 1, 8, 2), randomSeq(r, 1, 8, 2)

	y, dx, grads := tensor.NewSeq(1, 8, 2), tensor.NewSeq(1, 8, 2), seqmix.NewGrads(m)
	var state *seqmix.State
	var tapes []seqmix.SegmentTape
	for i := 0; i < 8; i += 4 {
		var tape seqmix.SegmentTape
		var err error
		if tape, state, err = seqmix.RecordSegment(m, y.Slice(i, i+4), x.Slice(i, i+4), state); err != nil {
			log.Fatal(err)
		}
		tapes = append(tapes, tape)
	}
	dstate := tapes[1].BackwardSegment(dx.Slice(4, 8), dy.Slice(4, 8), nil, grads)
	tapes[0].BackwardSegment(dx.Slice(0, 4), dy.Slice(0, 4), dstate, grads)
	fmt.Println("positions before the end:", state.Position)
	fmt.Println("inputs in the state of the convolution:", state.Parts[0].Tensors[0].Shape())

	whole := tensor.NewSeq(1, 8, 2)
	tape, err := seqmix.Record(m, y, x)
	if err != nil {
		log.Fatal(err)
	}
	tape.Backward(whole, dy, nil)
	fmt.Println("as the whole:", distance(dx, whole) < 1e-6)
	// Output:
	// positions before the end: 8
	// inputs in the state of the convolution: [1 2 2]
	// as the whole: true
}
