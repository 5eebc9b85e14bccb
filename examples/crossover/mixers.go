package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// A contender is a mixer to measure. make returns one of the given width, with random
// weights, for sequences of up to length positions. mixing is the number of floating-point
// operations for each position of such a sequence beside those of matrix products with
// weights, on average and without exponentials.
type contender struct {
	name   string
	make   func(dim, heads, length int) (seqmix.Mixer, error)
	mixing func(dim, heads, length float64) float64
}

const attentionName = "attention"

// window is how many keys before its own a position of windowed attention sees.
const window = 127

var contenders = []contender{
	{attentionName, func(dim, heads, _ int) (seqmix.Mixer, error) {
		return started(attention.NewMultiHead(attention.MultiHeadConfig{Dim: dim, Heads: heads, RoPE: new(attention.RoPEConfig)}))
	}, func(d, _, n float64) float64 { return 4 * d * (n + 1) / 2 }},
	{"window", func(dim, heads, _ int) (seqmix.Mixer, error) {
		return started(attention.NewMultiHead(attention.MultiHeadConfig{Dim: dim, Heads: heads, RoPE: new(attention.RoPEConfig), Left: new(window)}))
	}, func(d, _, n float64) float64 { return 4 * d * min((n+1)/2, window+1) }},
	{"mamba", func(dim, _, _ int) (seqmix.Mixer, error) {
		return started(ssm.NewMamba(ssm.MambaConfig{DModel: dim}))
	}, func(d, _, _ float64) float64 { return 2 * d * (6*16 + 2*4) }},
	{"mamba2", func(dim, _, _ int) (seqmix.Mixer, error) {
		return started(ssm.NewMamba2(ssm.Mamba2Config{DModel: dim}))
	}, func(d, _, _ float64) float64 { return 2*d*4*128 + (2*d+2*128)*2*4 }},
	{"hyena", func(dim, _, length int) (seqmix.Mixer, error) {
		return started(hyena.New(hyena.Config{DModel: dim, LMax: length}))
	}, func(d, _, n float64) float64 { return 3*d*2*3 + longConv(d, n) + 2*d }},
	{"monarch", func(dim, _, length int) (seqmix.Mixer, error) {
		return started(monarch.NewMixer(monarch.MixerConfig{Dim: dim, LMax: length, Bidirectional: new(false)}))
	}, func(d, _, n float64) float64 { return 3*d*2*3 + 2*longConv(d, n) + 3*d }},
	{"based", func(dim, heads, _ int) (seqmix.Mixer, error) {
		return started(based.NewLinearAttention(based.LinearAttentionConfig{DModel: dim, Heads: heads}))
	}, func(d, h, _ float64) float64 { return h*153*4*(d/h) + h*128*2*(16+d/h) }},
}

// longConv is the operations of a convolution as long as the sequence, of one position of
// d channels: a transform of n complex numbers and back, and the products.
func longConv(d, n float64) float64 { return d * (2*5*math.Log2(n) + 10) }

// started draws the weights of a mixer that has just been made.
func started[M interface {
	seqmix.Mixer
	Init(*rand.Rand)
}](m M, err error) (seqmix.Mixer, error) {
	if err != nil {
		return nil, err
	}
	m.Init(rand.New(rand.NewPCG(3, 4)))
	return m, nil
}

func names(list []contender) []string {
	var s []string
	for _, c := range list {
		s = append(s, c.name)
	}
	return s
}

// choose returns the contenders of the given names, or all of them.
func choose(list string) ([]contender, error) {
	if list == "" {
		return contenders, nil
	}
	var chosen []contender
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(contenders, func(c contender) bool { return c.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no mixer is called %q (choose from %s)", name, strings.Join(names(contenders), ", "))
		}
		chosen = append(chosen, contenders[i])
	}
	return chosen, nil
}

func cpu() string { return tensor.CPU() }
