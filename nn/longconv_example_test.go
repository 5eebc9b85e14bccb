package nn_test

import (
	"fmt"

	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// The taps of each channel are a column. Here the first adds up what came so far, the
// second delays by two positions.
func ExampleLongConv() {
	taps := tensor.MatOf([]float32{
		1, 0,
		1, 0,
		1, 1,
		1, 0,
	}, 4, 2)
	conv := nn.NewLongConv(taps)
	x := tensor.SeqOf([]float32{
		1, 1,
		2, 2,
		3, 3,
		4, 4,
	}, 1, 4, 2)
	conv.Mix(x, x)
	for i := range x.Len {
		fmt.Println(x.At(0, i))
	}
	// Output:
	// [1 0]
	// [3 0]
	// [6 1]
	// [10 2]
}

// The taps of all lags come from one small network.
func ExampleImplicitFilter() {
	f, err := nn.NewImplicitFilter(nn.ImplicitFilterConfig{Channels: 2, LMax: 1000, Width: 4})
	if err != nil {
		panic(err)
	}
	f.Out.Weight.SetFloat32s([]float32{1, 0, 0, 0, 1, 0, 0, 0})
	for _, l := range f.Hidden {
		nn.Fill(l.Bias, 1)
	}
	nn.Fill(f.Freq, 1)
	h := tensor.NewSeq(1, 1000, 2).Mat()
	f.Taps(h)
	conv := nn.NewLongConv(h)
	fmt.Println(conv.Taps(), "taps of", conv.Dim(), "channels")
	for _, n := range []int{0, 100, 999} { // the windows decay at different speeds
		fmt.Printf("%.4f\n", h.Row(n))
	}
	// Output:
	// 1000 taps of 2 channels
	// [0.8415 0.8415]
	// [0.6188 0.1810]
	// [0.0391 0.0000]
}
