package main

import (
	"errors"
	"fmt"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/checkpoint"
)

// Larger networks are taken for damaged files: no memory is taken for them.
const (
	maxLevels = 12
	maxWidth  = 1 << 12
)

// loadNetwork reads a network from a checkpoint, a safetensors or a PyTorch file.
func loadNetwork(path string) (*network, error) {
	f, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cfg, err := readConfig(path, f)
	if err != nil {
		return nil, err
	}
	n, err := buildNetwork(f, cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// buildNetwork makes a network of the sizes that the tensors have, since the
// configurations of pruned networks describe what they were before, and loads it.
func buildNetwork(src checkpoint.Source, cfg config) (*network, error) {
	b := &builder{src: src}
	n := &network{}
	channels := []int{1} // at the input of each encoder level
	for i := 0; b.has(fmt.Sprintf("encoder.%d.0.weight", i)); i++ {
		if i == maxLevels {
			return nil, fmt.Errorf("more than %d encoder levels", maxLevels)
		}
		l, width := b.encoderLevel(fmt.Sprintf("encoder.%d.", i), channels[i])
		n.encoder = append(n.encoder, l)
		channels = append(channels, width)
	}
	if len(n.encoder) == 0 {
		return nil, errors.New("not a CleanUMamba network: no tensor encoder.0.0.weight")
	}

	levels := len(n.encoder)
	deepest, dim := channels[levels], b.size("tsfm_conv1.weight", 0)
	n.into = b.conv("tsfm_conv1", deepest, dim, 1)
	n.bottleneck, n.kind = b.bottleneck(dim, cfg)
	n.out = b.conv("tsfm_conv2", dim, deepest, 1)

	for i := range levels {
		l := b.decoderLevel(fmt.Sprintf("decoder.%d.", i), channels[levels-i], channels[levels-i-1])
		l.last = i == levels-1
		n.decoder = append(n.decoder, l)
	}
	if err := b.load(); err != nil {
		return nil, err
	}
	seqmix.Pack(n.bottleneck)
	for _, p := range b.params {
		if len(p.tensor.Shape()) > 0 { // a scalar is a setting: the length that an S4 was trained for
			n.parameters += p.tensor.Len()
		}
	}
	return n, nil
}

// encoderLevel also returns the number of channels that come out.
func (b *builder) encoderLevel(name string, in int) (encoderLevel, int) {
	mid, out := b.size(name+"0.weight", 0), b.size(name+"2.weight", 0)/2
	return encoderLevel{
		conv: b.conv(name+"0", in, mid, taps),
		gate: b.conv(name+"2", mid, 2*out, 1),
	}, out
}

func (b *builder) decoderLevel(name string, in, out int) decoderLevel {
	mid := b.size(name+"0.weight", 0) / 2
	return decoderLevel{
		gate: b.conv(name+"0", in, 2*mid, 1),
		conv: b.transposedConv(name+"2", mid, out),
	}
}
