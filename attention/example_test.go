package attention_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"

	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/tensor"
)

// The attention layer of a Mistral model. Its sliding_window of 4096 keys counts the
// position's own.
func ExampleNewMultiHead() {
	var cfg attention.MultiHeadConfig
	const text = `{"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}`
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		panic(err)
	}
	cfg.RoPE = &attention.RoPEConfig{Base: 10000}
	cfg.Left = new(4096 - 1)
	m, err := attention.NewMultiHead(cfg)
	if err != nil {
		panic(err)
	}
	for name, p := range m.Params() {
		fmt.Println(name, p)
	}
	// Output:
	// q_proj.weight float32[4096 4096]
	// k_proj.weight float32[1024 4096]
	// v_proj.weight float32[1024 4096]
	// o_proj.weight float32[4096 4096]
}

// Reading a prompt and then decoding token by token gives what the whole sequence does,
// to the bit.
func ExampleMultiHead_NewStream() {
	m, err := attention.NewMultiHead(attention.MultiHeadConfig{Dim: 64, Heads: 4, RoPE: &attention.RoPEConfig{}})
	if err != nil {
		panic(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	m.Init(r)
	src := tensor.NewSeq(1, 200, 64)
	for i := range src.Data {
		src.Data[i] = float32(r.NormFloat64())
	}
	whole, pieces := tensor.NewSeq(1, 200, 64), tensor.NewSeq(1, 200, 64)
	m.Mix(whole, src)

	stream, err := m.NewStream(1)
	if err != nil {
		panic(err)
	}
	stream.Mix(pieces.Slice(0, 150), src.Slice(0, 150))
	for i := 150; i < 200; i++ {
		stream.Mix(pieces.Slice(i, i+1), src.Slice(i, i+1))
	}
	fmt.Println(firstDifference(whole.Data, pieces.Data) < 0)
	// Output: true
}

// With equal keys, a query that sees two of them returns the mean of their values.
func ExampleDotProduct_Apply() {
	d := attention.DotProduct{Heads: 1, Left: new(1)}
	q, k := tensor.SeqOf([]float32{1, 1, 1, 1}, 1, 4, 1), tensor.SeqOf([]float32{1, 1, 1, 1}, 1, 4, 1)
	v := tensor.SeqOf([]float32{0, 10, 20, 50}, 1, 4, 1)
	dst := tensor.NewSeq(1, 4, 1)
	d.Apply(dst, q, k, v)
	fmt.Println(dst.Data)
	// Output: [0 5 15 35]
}

// The product of a rotated query and a rotated key depends on their distance alone.
func ExampleRoPE_Rotate() {
	r, err := attention.NewRoPE(attention.RoPEConfig{}, 4)
	if err != nil {
		panic(err)
	}
	rotated := func(pos int, v ...float32) []float32 {
		x := tensor.SeqOf(v, 1, 1, 4)
		r.Rotate(x, x, pos)
		return x.Data
	}
	for _, pos := range []int{0, 7, 1000} {
		q, k := rotated(pos+3, 1, 2, 3, 4), rotated(pos, 4, 3, 2, 1)
		fmt.Printf("%.3f\n", tensor.Dot(q, k))
	}
	// Output:
	// -1.616
	// -1.616
	// -1.616
}

// ALiBi of eight heads.
func ExampleSlopes() {
	fmt.Println(attention.Slopes(8))
	// Output: [0.5 0.25 0.125 0.0625 0.03125 0.015625 0.0078125 0.00390625]
}

// The gradients of attention on its own: a query that sees one key has no influence on
// the result, and so a gradient of zero.
func ExampleDotProduct_Record() {
	q, k, v := tensor.NewSeq(1, 3, 4), tensor.NewSeq(1, 3, 4), tensor.NewSeq(1, 3, 4)
	for i := range q.Data {
		q.Data[i], k.Data[i], v.Data[i] = float32(i%3), float32(i%2), float32(i)
	}
	dst := tensor.NewSeq(1, 3, 4)
	tape := attention.DotProduct{Heads: 1}.Record(dst, q, k, v)

	ddst := tensor.NewSeq(1, 3, 4) // of the loss that sums up the first elements
	for i := range ddst.Len {
		ddst.At(0, i)[0] = 1
	}
	dq, dk, dv := tensor.NewSeq(1, 3, 4), tensor.NewSeq(1, 3, 4), tensor.NewSeq(1, 3, 4)
	tape.Backward(dq, dk, dv, ddst)
	fmt.Printf("%.3f\n", dq.At(0, 0))
	fmt.Printf("%.3f\n", dv.At(0, 2))
	// Output:
	// [0.000 0.000 0.000 0.000]
	// [0.333 0.000 0.000 0.000]
}
