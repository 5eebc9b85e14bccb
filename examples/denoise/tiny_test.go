package main

import (
	"fmt"
	"iter"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// tensors is a checkpoint in memory, under the names of the files.
type tensors map[string]*tensor.Tensor

// Params makes it a checkpoint.Model.
func (ts tensors) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		for _, name := range slices.Sorted(maps.Keys(ts)) {
			if !yield(name, ts[name]) {
				return
			}
		}
	}
}

func (ts tensors) source(t testing.TB) checkpoint.Source {
	t.Helper()
	src, err := checkpoint.FromModel(ts, nil)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// save writes the tensors to NAME.safetensors in a new folder, which it returns.
func (ts tensors) save(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := checkpoint.Save(filepath.Join(dir, name+".safetensors"), ts, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

// add collects the parameters of m.
func (ts tensors) add(prefix string, m checkpoint.Model) {
	for name, p := range m.Params() {
		ts[prefix+name] = p
	}
}

// random adds a tensor of numbers that keep a sum of fanIn of them at the size of one.
func (ts tensors) random(rng *rand.Rand, fanIn int, name string, shape ...int) {
	p := tensor.New(shape...)
	for i := range p.Data() {
		p.Data()[i] = float32(rng.NormFloat64() / math.Sqrt(float64(fanIn)))
	}
	ts[name] = p
}

// tinyDim is the width of the bottlenecks of tiny networks.
const tinyDim = 12

// tinyLevels are their widths at the input of a level, after the encoder's
// convolution, and after the decoder's gate. As in pruned networks, none is a multiple
// of another.
var tinyLevels = []struct{ in, encoder, decoder int }{{1, 5, 7}, {9, 6, 4}, {7, 11, 10}}

const tinyDeepest = 13

// tinyNetwork makes a random network around a bottleneck whose tensors it is given.
func tinyNetwork(seed uint64, bottleneck func(ts tensors, rng *rand.Rand)) tensors {
	rng := rand.New(rand.NewPCG(seed, 1))
	ts := tensors{}
	for i, l := range tinyLevels {
		deeper := tinyDeepest
		if i+1 < len(tinyLevels) {
			deeper = tinyLevels[i+1].in
		}
		name := fmt.Sprintf("encoder.%d.", i)
		ts.random(rng, l.in*taps/2, name+"0.weight", l.encoder, l.in, taps)
		ts.random(rng, 9, name+"0.bias", l.encoder)
		ts.random(rng, l.encoder/2, name+"2.weight", 2*deeper, l.encoder, 1)
		ts.random(rng, 9, name+"2.bias", 2*deeper)
		name = fmt.Sprintf("decoder.%d.", len(tinyLevels)-1-i)
		ts.random(rng, deeper/2, name+"0.weight", 2*l.decoder, deeper, 1)
		ts.random(rng, 9, name+"0.bias", 2*l.decoder)
		ts.random(rng, l.decoder, name+"2.weight", l.decoder, l.in, taps)
		ts.random(rng, 9, name+"2.bias", l.in)
	}
	ts.random(rng, tinyDeepest, "tsfm_conv1.weight", tinyDim, tinyDeepest, 1)
	ts.random(rng, 9, "tsfm_conv1.bias", tinyDim)
	ts.random(rng, tinyDim, "tsfm_conv2.weight", tinyDeepest, tinyDim, 1)
	ts.random(rng, 9, "tsfm_conv2.bias", tinyDeepest)
	bottleneck(ts, rng)
	return ts
}

// tinyBottlenecks are what can be in the middle.
var tinyBottlenecks = map[string]func(ts tensors, rng *rand.Rand){
	"Mamba":     tinyMamba,
	"Mamba-2":   tinyMamba2,
	"S4":        tinyS4,
	"attention": tinyAttention,
}

// tinyMamba has mixers of different sizes, as pruned networks do.
func tinyMamba(ts tensors, rng *rand.Rand) {
	for i, cfg := range []ssm.MambaConfig{
		{DModel: tinyDim, DInner: 10, DState: 5, DTRank: 11},
		{DModel: tinyDim, DInner: 24, DState: 16, DTRank: 1},
	} {
		m, err := ssm.NewMamba(cfg)
		if err != nil {
			panic(err)
		}
		m.Init(rng)
		ts.add(fmt.Sprintf("tsfm_Mamba_layers.%d.mixer.", i), m)
		ts.norm(rng, fmt.Sprintf("tsfm_Mamba_layers.%d.norm.", i))
	}
	ts.norm(rng, "norm_f.")
}

func tinyMamba2(ts tensors, rng *rand.Rand) {
	for i := range 2 {
		m, err := ssm.NewMamba2(ssm.Mamba2Config{DModel: tinyDim, DInner: 15, HeadDim: 5, DState: 6})
		if err != nil {
			panic(err)
		}
		m.Init(rng)
		ts.add(fmt.Sprintf("tsfm_Mamba_layers.%d.mixer.", i), m)
		ts.norm(rng, fmt.Sprintf("tsfm_Mamba_layers.%d.norm.", i))
	}
	ts.norm(rng, "norm_f.")
}

// tinyS4 has systems that are narrower than what is around them.
func tinyS4(ts tensors, rng *rand.Rand) {
	for i := range 2 {
		m, err := ssm.NewGatedS4(ssm.GatedS4Config{DModel: tinyDim, DInner: 10, SSM: ssm.S4BlockConfig{S4: ssm.S4Config{DModel: 3, DState: 8}}})
		if err != nil {
			panic(err)
		}
		m.Init(rng)
		ts.add(fmt.Sprintf("tsfm_Mamba_layers.%d.mixer.", i), m)
		ts.norm(rng, fmt.Sprintf("tsfm_Mamba_layers.%d.norm.", i))
	}
	ts.norm(rng, "norm_f.")
}

// tinyAttention has the four heads that tensors.build says.
func tinyAttention(ts tensors, rng *rand.Rand) {
	const hidden = 18
	ts.norm(rng, "tsfm_encoder.layer_norm.")
	for i := range 2 {
		name := fmt.Sprintf("tsfm_encoder.layer_stack.%d.slf_attn.", i)
		for _, w := range []string{"w_qs", "w_ks", "w_vs", "fc"} {
			ts.random(rng, tinyDim, name+w+".weight", tinyDim, tinyDim)
		}
		ts.norm(rng, name+"layer_norm.")
		name = fmt.Sprintf("tsfm_encoder.layer_stack.%d.pos_ffn.", i)
		ts.random(rng, tinyDim, name+"w_1.weight", hidden, tinyDim)
		ts.random(rng, 9, name+"w_1.bias", hidden)
		ts.random(rng, hidden, name+"w_2.weight", tinyDim, hidden)
		ts.random(rng, 9, name+"w_2.bias", tinyDim)
		ts.norm(rng, name+"layer_norm.")
	}
}

func (ts tensors) norm(rng *rand.Rand, name string) {
	ts.random(rng, 4, name+"weight", tinyDim)
	ts.random(rng, 4, name+"bias", tinyDim)
}

// build makes the network of the tensors.
func (ts tensors) build(t testing.TB) *network {
	t.Helper()
	n, err := buildNetwork(ts.source(t), config{Heads: 4})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// noise is a random clip.
func noise(seed uint64, n int) []float32 {
	rng := rand.New(rand.NewPCG(seed, 2))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(0.1 * rng.NormFloat64())
	}
	return x
}
