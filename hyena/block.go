package hyena

import (
	"fmt"
	"iter"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A Block is a layer of StripedHyena, Evo or Evo 2: a mixer and a gated network, each
// with a norm before it and the input added after it,
//
//	u   = src + Mixer(PreNorm(src))
//	dst = u + MLP(PostNorm(u))
//
// The mixer is a [Striped] (ParallelGatedConvBlock upstream) or attention
// (AttentionBlock). Parameters are called pre_norm.scale, post_norm.scale, mlp.l1.weight,
// mlp.l2.weight and mlp.l3.weight (see [nn.L1L2L3]), and those of the mixer have Prefix
// in front: "" for a Striped, "inner_mha_cls." for attention.
type Block struct {
	PreNorm, PostNorm *nn.RMSNorm
	Mixer             seqmix.Mixer
	MLP               *nn.GLU
	Prefix            string
}

// A BlockConfig describes what is around the mixer of a [Block]. Dim has to be given; the
// zero value of every other field stands for the choice of StripedHyena-7B. The JSON keys
// are those of its configuration.
type BlockConfig struct {
	Dim        int           `json:"hidden_size"`
	Inner      int           `json:"inner_mlp_size,omitempty"` // width of the network; ⌊8·Dim/3⌋, rounded up to a multiple, by default
	MultipleOf int           `json:"inner_size_multiple_of,omitempty"`
	Activation nn.Activation `json:"mlp_activation,omitempty"` // of the gate, SiLU by default
	Eps        float32       `json:"eps,omitempty"`            // 1e-5 by default

	// FlashNorm says that ε is added inside the root, as the kernel does that
	// StripedHyena-7B is configured with (true by default); Evo's is outside.
	FlashNorm *bool `json:"use_flash_rmsnorm,omitempty"`
}

// NewBlock returns a block around a mixer, with norms of ones and a network of zeros.
func NewBlock(cfg BlockConfig, mixer seqmix.Mixer, prefix string) (*Block, error) {
	fillIn(&cfg.Eps, 1e-5)
	fillIn(&cfg.MultipleOf, 64)
	if cfg.Dim < 1 || cfg.Dim > maxSize || cfg.Inner < 0 || cfg.MultipleOf < 1 || cfg.MultipleOf > maxSize || tooMany(cfg.Inner, cfg.Dim) || !(cfg.Eps >= 0) {
		return nil, fmt.Errorf("hyena: a block with hidden_size %d, inner_mlp_size %d, a multiple of %d, and ε %v", cfg.Dim, cfg.Inner, cfg.MultipleOf, cfg.Eps)
	}
	if mixer.Dim() != cfg.Dim {
		return nil, fmt.Errorf("hyena: a block with hidden_size %d and a mixer of width %d", cfg.Dim, mixer.Dim())
	}
	if cfg.Inner == 0 {
		n := cfg.Dim * 8 / 3
		cfg.Inner = (n + cfg.MultipleOf - 1) / cfg.MultipleOf * cfg.MultipleOf
	}
	mlp, err := nn.NewGLU(nn.GLUConfig{Dim: cfg.Dim, Hidden: cfg.Inner, Activation: cfg.Activation, Layout: nn.L1L2L3})
	if err != nil {
		return nil, fmt.Errorf("hyena: %w", err)
	}
	b := &Block{PreNorm: nn.NewRMSNorm(cfg.Dim, cfg.Eps), PostNorm: nn.NewRMSNorm(cfg.Dim, cfg.Eps), Mixer: mixer, MLP: mlp, Prefix: prefix}
	if cfg.FlashNorm != nil {
		b.PreNorm.Outside, b.PostNorm.Outside = !*cfg.FlashNorm, !*cfg.FlashNorm
	}
	return b, nil
}

// stack returns the block as a stack.
func (b *Block) stack() seqmix.Stack {
	return seqmix.Stack{
		&seqmix.Residual{Norm: b.PreNorm, Mixer: b.Mixer},
		&seqmix.Residual{Norm: b.PostNorm, Mixer: b.MLP},
	}
}

// Dim returns the width of the vectors.
func (b *Block) Dim() int { return b.Mixer.Dim() }

// Params yields the parameters: see [Block].
func (b *Block) Params() iter.Seq2[string, *tensor.Tensor] {
	return prefixed(
		prefixedParams{"", scale("pre_norm.", b.PreNorm)},
		prefixedParams{b.Prefix, b.Mixer.Params()},
		prefixedParams{"", scale("post_norm.", b.PostNorm)},
		prefixedParams{"mlp.", b.MLP.Params()},
	)
}

// scale yields the weight of a norm under the name that it has in StripedHyena.
func scale(prefix string, n *nn.RMSNorm) iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		for name, p := range n.Params() {
			if !yield(prefix+strings.Replace(name, "weight", "scale", 1), p) {
				return
			}
		}
	}
}

// Mix computes whole sequences.
func (b *Block) Mix(dst, src tensor.Seq) { b.stack().Mix(dst, src) }

// MixMasked is Mix for sequences with padding, for a block whose mixer is a [Striped]:
// see [Striped.MixMasked]. The mask also multiplies the input of the second half. It
// panics if the mixer is something else.
func (b *Block) MixMasked(dst, src tensor.Seq, mask []float32) {
	m := b.Mixer.(*Striped)
	normed, out := tensor.NewSeq(src.Batch, src.Len, src.Dim), tensor.NewSeq(src.Batch, src.Len, src.Dim)
	b.PreNorm.Mix(normed, src)
	m.MixMasked(out, normed, mask)
	tensor.AddSeq(out, out, src)
	applyMask(out, mask)
	b.stack()[1].Mix(dst, out)
}

// NewStream returns a stream at the beginning of batch sequences. The error wraps
// errors.ErrUnsupported if the mixer does not stream.
func (b *Block) NewStream(batch int) (seqmix.Stream, error) { return b.stack().NewStream(batch) }

// Record records the block. The error wraps errors.ErrUnsupported if the mixer is not
// trainable.
func (b *Block) Record(dst, src tensor.Seq) (seqmix.Tape, error) { return b.stack().Record(dst, src) }

// RecordSegment records a segment of the block: see [seqmix.Stack.RecordSegment].
func (b *Block) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	return b.stack().RecordSegment(dst, src, first)
}
