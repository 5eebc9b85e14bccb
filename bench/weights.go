package main

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
)

// newMamba describes a file with a random model of Mamba's family, with matrices of the
// given kind. What is in a tensor depends on its name and its shape only, so that files of
// different kinds hold the same model.
func newMamba(s shape, k kind) *gguf {
	g := &gguf{}
	g.set("general.architecture", "mamba")
	g.set("general.name", "random Mamba "+s.name)
	g.set("tokenizer.ggml.model", "no_vocab")
	for key, v := range map[string]int{
		"vocab_size": s.vocabulary, "context_length": 1 << 20, "embedding_length": s.dim, "feed_forward_length": 0,
		"block_count": s.layers, "attention.head_count": 0,
		"ssm.conv_kernel": taps, "ssm.inner_size": s.inner(), "ssm.state_size": stateSize, "ssm.time_step_rank": s.rank(),
	} {
		g.set("mamba."+key, uint32(v))
	}
	g.set("mamba.attention.layer_norm_rms_epsilon", float32(1e-5))
	matrix := func(name string, rows, cols int, scale float64) {
		k := k
		if (k == q8 || k == q4) && cols%block != 0 {
			k = f16 // as llama.cpp does with rows that blocks do not fill
		}
		spread := scale / math.Sqrt(float64(cols))
		g.add(ggufTensor{name, k, []int{rows, cols}, normals(name, func(x float64) float64 { return spread * x })})
	}
	vector := func(name string, f func(x float64) float64, dims ...int) {
		g.add(ggufTensor{name, f32, dims, normals(name, f)})
	}
	gain := func(x float64) float64 { return 1 + 0.1*x }
	small := func(x float64) float64 { return 0.1 * x }
	matrix("token_embd.weight", s.vocabulary, s.dim, 1)
	vector("output_norm.weight", gain, s.dim)
	for i := range s.layers {
		e, in := s.inner(), fmt.Sprintf("blk.%d.", i)
		vector(in+"attn_norm.weight", gain, s.dim)
		matrix(in+"ssm_in.weight", 2*e, s.dim, 1)
		vector(in+"ssm_conv1d.weight", func(x float64) float64 { return 0.5 * x }, e, taps)
		vector(in+"ssm_conv1d.bias", small, e)
		matrix(in+"ssm_x.weight", s.rank()+2*stateSize, e, 1)
		matrix(in+"ssm_dt.weight", e, s.rank(), 1)
		vector(in+"ssm_dt.bias", func(x float64) float64 { return -4.5 + x }, e) // steps around 0.01
		g.add(ggufTensor{in + "ssm_a", f32, []int{e, stateSize}, rates(in + "ssm_a")})
		vector(in+"ssm_d", gain, e)
		matrix(in+"ssm_out.weight", s.dim, e, 1/math.Sqrt(float64(s.layers))) // as models are initialised
	}
	return g
}

// normals returns nearly normal numbers, sums of four uniform ones, through f.
func normals(name string, f func(x float64) float64) func() func(dst []float32) {
	return func() func(dst []float32) {
		r := newRand(name)
		return func(dst []float32) {
			for i := range dst {
				dst[i] = float32(f(normal(r)))
			}
		}
	}
}

// rates returns -1, -2, … for the states of each channel, as models are initialised, with
// some deviation, as trained ones have it.
func rates(name string) func() func(dst []float32) {
	return func() func(dst []float32) {
		r, at := newRand(name), 0
		return func(dst []float32) {
			for i := range dst {
				dst[i] = float32(-float64(1+at%stateSize) * math.Exp(0.1*normal(r)))
				at++
			}
		}
	}
}

func newRand(name string) *rand.PCG {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.NewPCG(h.Sum64(), 1)
}

// normal returns a number of mean 0 and variance 1.
func normal(r *rand.PCG) float64 {
	u := r.Uint64()
	sum := int(u&0xffff) + int(u>>16&0xffff) + int(u>>32&0xffff) + int(u>>48)
	return (float64(sum) - 2*0xffff) * (math.Sqrt(3) / 0x10000)
}
