package seqmix_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// counter is a stateless mixer that counts the positions it computes.
type counter struct {
	seqmix.Mixer
	positions int
}

func (c *counter) Mix(dst, src tensor.Seq) {
	c.positions += src.Len
	tensor.Copy(dst, src)
}

func (c *counter) NewStream(batch int) (seqmix.Stream, error) {
	return seqmix.NewStatelessStream(c, batch, "counter"), nil
}

// What follows the last mixer that has a state is computed for one position.
func TestMixLastComputesLess(t *testing.T) {
	norm := nn.NewRMSNorm(8, 1e-5)
	before, behind := &counter{Mixer: norm}, &counter{Mixer: norm}
	mamba, err := ssm.NewMamba(ssm.MambaConfig{DModel: 8})
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]seqmix.Streamer{
		"stack": seqmix.Stack{before, mamba, behind},
		"stacks and residuals": seqmix.Stack{
			&seqmix.Residual{Mixer: before}, &seqmix.Residual{Norm: norm, Mixer: mamba},
			seqmix.Stack{&seqmix.Residual{Norm: norm, Mixer: behind}, norm},
		},
	} {
		before.positions, behind.positions = 0, 0
		s, err := m.NewStream(2)
		if err != nil {
			t.Fatal(err)
		}
		seqmix.MixLast(s, tensor.NewSeq(2, 1, 8), tensor.NewSeq(2, 5, 8))
		if before.positions != 5 || behind.positions != 1 {
			t.Errorf("%s: %d positions before and %d behind the mixer with a state, want 5 and 1", name, before.positions, behind.positions)
		}
	}
}

// Layers without a state, alone, and mixers that know nothing of MixLast.
func TestMixLastOfStacks(t *testing.T) {
	norm := nn.NewRMSNorm(8, 1e-5)
	conv := nn.NewCausalConv1D(8, 3, true, nn.SiLU)
	for i := range conv.Weight.Data() {
		conv.Weight.Data()[i] = float32(i%5) - 2
	}
	for name, m := range map[string]seqmix.Stack{
		"empty": {}, "stateless": {norm, &seqmix.Residual{Norm: norm, Mixer: norm}}, "convolution": {&seqmix.Residual{Norm: norm, Mixer: conv}, norm},
	} {
		s, err := m.NewStream(2)
		if err != nil {
			t.Fatal(err)
		}
		src, dst, want := tensor.NewSeq(2, 5, 8), tensor.NewSeq(2, 1, 8), tensor.NewSeq(2, 5, 8)
		for i := range src.Data {
			src.Data[i] = float32(i*i%17) - 8
		}
		m.Mix(want, src)
		seqmix.MixLast(s, dst, src)
		for b := range 2 {
			if !slices.Equal(dst.At(b, 0), want.At(b, 4)) {
				t.Errorf("%s: sequence %d: got %v, want %v", name, b, dst.At(b, 0), want.At(b, 4))
			}
		}
	}
}

// Prompts of several blocks of what mixers compute at a time, of two sequences.
func TestMixLastOfBlocks(t *testing.T) {
	const length, tol = 1100, 1e-5
	left := 63
	r := rand.New(rand.NewPCG(1, 2))
	made := func(m interface {
		seqmix.Streamer
		Init(r *rand.Rand)
	}, err error) seqmix.Streamer {
		if err != nil {
			t.Fatal(err)
		}
		m.Init(r)
		return m
	}
	mamba, err1 := ssm.NewMamba(ssm.MambaConfig{DModel: 8})
	mamba2, err2 := ssm.NewMamba2(ssm.Mamba2Config{DModel: 8, HeadDim: 8, DState: 16})
	mamba3, err3 := ssm.NewMamba3(ssm.Mamba3Config{DModel: 8, HeadDim: 8, DState: 16})
	all, err4 := attention.NewMultiHead(attention.MultiHeadConfig{Dim: 8, Heads: 2})
	window, err5 := attention.NewMultiHead(attention.MultiHeadConfig{Dim: 8, Heads: 2, Left: &left})
	for name, m := range map[string]seqmix.Streamer{
		"Mamba": made(mamba, err1), "Mamba-2": made(mamba2, err2), "Mamba-3": made(mamba3, err3),
		"attention": made(all, err4), "window": made(window, err5),
	} {
		s, err := m.NewStream(2)
		if err != nil {
			t.Fatal(err)
		}
		src, want, last, next := randomSeq(r, 2, length+1, 8), tensor.NewSeq(2, length+1, 8), tensor.NewSeq(2, 1, 8), tensor.NewSeq(2, 1, 8)
		m.Mix(want, src)
		prompt := tensor.NewSeq(2, length, 8)
		tensor.Copy(prompt, src.Slice(0, length))
		seqmix.MixLast(s, last, prompt)
		s.Mix(next, src.Slice(length, length+1))
		for b := range 2 {
			for c := range 8 {
				if d := math.Abs(float64(last.At(b, 0)[c] - want.At(b, length-1)[c])); !(d <= tol) {
					t.Errorf("%s: the last output of sequence %d is off by %g", name, b, d)
				}
				if d := math.Abs(float64(next.At(b, 0)[c] - want.At(b, length)[c])); !(d <= tol) {
					t.Errorf("%s: the output after it of sequence %d is off by %g", name, b, d)
				}
			}
		}
	}
}
