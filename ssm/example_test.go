package ssm_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// A prompt is read at once, and then one position at a time: with the same stream.
func ExampleMamba() {
	m, err := ssm.NewMamba(ssm.MambaConfig{DModel: 64})
	if err != nil {
		panic(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	m.Init(r)
	x := tensor.NewSeq(1, 100, 64)
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	whole := tensor.NewSeq(1, 100, 64)
	m.Mix(whole, x)

	stream, err := m.NewStream(1)
	if err != nil {
		panic(err)
	}
	y := tensor.NewSeq(1, 100, 64)
	stream.Mix(y.Slice(0, 90), x.Slice(0, 90))
	for i := 90; i < 100; i++ {
		stream.Mix(y.Slice(i, i+1), x.Slice(i, i+1))
	}
	difference := 0.0
	for i := range y.Data {
		difference = max(difference, math.Abs(float64(y.Data[i]-whole.Data[i])))
	}
	fmt.Println("the same:", difference < 1e-5)
	conv, h := stream.(*ssm.MambaStream).State()
	fmt.Println("state:", conv.Shape(), h.Shape())
	// Output:
	// the same: true
	// state: [1 3 128] [1 128 16]
}

// The configuration of a checkpoint: what is not said is as in the paper.
func ExampleMambaConfig() {
	var cfg ssm.MambaConfig
	const text = `{"d_model": 768, "dt_rank": "auto"}`
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		panic(err)
	}
	m, err := ssm.NewMamba(cfg)
	if err != nil {
		panic(err)
	}
	full := m.Config()
	fmt.Println(full.DInner, full.DState, full.DConv, full.DTRank)
	// Output: 1536 16 4 48
}

// One state that halves at each position: Δ = softplus(0) = log 2, A = -1.
func ExampleSelectiveScan() {
	u := tensor.SeqOf([]float32{1, 0, 0, 0}, 1, 4, 1)
	one := tensor.FromFloat32s([]float32{1}, 1, 1)
	ssm.SelectiveScan(u, u, ssm.Scan{
		A: tensor.FromFloat32s([]float32{-1}, 1, 1), Delta: tensor.NewSeq(1, 4, 1), Softplus: true,
		ConstB: one, ConstC: one,
	})
	fmt.Printf("%.4f\n", u.Data)
	// Output: [0.6931 0.3466 0.1733 0.0866]
}

// Two channels that remember for different times. What a mixer does to an impulse is
// its kernel; what it does to anything else is the convolution with that.
func ExampleS4D() {
	m, err := ssm.NewS4D(ssm.S4DConfig{DModel: 2, DState: 1, Real: true})
	if err != nil {
		panic(err)
	}
	for name, p := range m.Params() {
		switch name {
		case "kernel.log_dt":
			p.SetFloat32s([]float32{float32(math.Log(math.Ln2)), float32(math.Log(math.Ln2 / 2))})
		case "kernel.C":
			p.SetFloat32s([]float32{1, 1})
		}
	}
	// A = -exp(0) = -1: the states decay by exp(-Δ), a half and its root.
	fmt.Printf("%.3f\n", m.Kernel(5).Data())

	impulse := tensor.NewSeq(1, 5, 2)
	copy(impulse.At(0, 0), []float32{1, 1})
	stream, err := m.NewStream(1)
	if err != nil {
		panic(err)
	}
	stream.Mix(impulse, impulse)
	fmt.Printf("%.3f\n", impulse.Data)
	// Output:
	// [1.000 0.500 0.250 0.125 0.062 0.586 0.414 0.293 0.207 0.146]
	// [1.000 0.586 0.500 0.414 0.250 0.293 0.125 0.207 0.062 0.146]
}

// Checkpoints of S4 hold C for the length that they were trained with. C can be had for
// another, or none; the system stays the same.
func ExampleS4_SetKernelLength() {
	m, err := ssm.NewS4(ssm.S4Config{DModel: 4, DState: 32})
	if err != nil {
		panic(err)
	}
	m.Init(rand.New(rand.NewPCG(3, 4)))
	before := m.Kernel(200).Data()
	if err := m.SetKernelLength(64); err != nil {
		panic(err)
	}
	after := m.Kernel(200).Data()
	difference, size := 0.0, 0.0
	for i := range before {
		difference = max(difference, math.Abs(float64(before[i]-after[i])))
		size = max(size, math.Abs(float64(before[i])))
	}
	fmt.Println("the same:", difference < 1e-5*size)
	// Output: the same: true
}

// A Modal with one real pole is an exponential average.
func ExampleModal() {
	m, err := ssm.NewModal(ssm.ModalConfig{DModel: 1, Reals: 1})
	if err != nil {
		panic(err)
	}
	for name, p := range m.Params() {
		switch name {
		case "reals.decay", "reals.residue":
			p.SetFloat32s([]float32{0.25})
		}
	}
	x := tensor.SeqOf([]float32{1, 1, 1, 1, 1, 1}, 1, 6, 1)
	m.Mix(x, x)
	fmt.Printf("%.3f\n", x.Data)
	// Output: [0.250 0.438 0.578 0.684 0.763 0.822]
}

// A layer as in models/s4/s4d.py of state-spaces/s4, under its names.
func ExampleS4Block() {
	m, err := ssm.NewS4Block(ssm.S4BlockConfig{DModel: 128, S4D: &ssm.S4DConfig{}})
	if err != nil {
		panic(err)
	}
	for name, p := range m.Params() {
		fmt.Println(name, p.Shape())
	}
	// Output:
	// D [128]
	// kernel.C [128 32 2]
	// kernel.log_dt [128]
	// kernel.log_A_real [128 32]
	// kernel.A_imag [128 32]
	// output_linear.0.weight [256 128]
	// output_linear.0.bias [256]
}

// The memory of S4: HiPPO's scaled Legendre polynomials.
func ExampleNewHiPPO() {
	h, err := ssm.NewHiPPO(ssm.InitLegS, 3, 1)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%.2f\n%.2f\n", h.A, h.B)
	// Output:
	// [-1.00 0.00 0.00 -1.73 -2.00 0.00 -2.24 -3.87 -3.00]
	// [1.00 1.73 2.24]
}
