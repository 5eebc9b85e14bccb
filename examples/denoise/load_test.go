package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/tensor"
)

func TestSizes(t *testing.T) {
	n := tinyNetwork(1, tinyMamba).build(t)
	if n.hop() != 8 || n.frame() != 22 || n.lookAhead() != 21 {
		t.Errorf("hop %d, frame %d, look-ahead %d, want 8, 22, 21", n.hop(), n.frame(), n.lookAhead())
	}
	for _, test := range []struct{ length, want int }{{0, 22}, {1, 22}, {22, 22}, {23, 30}, {30, 30}, {31, 38}} {
		if got := n.padded(test.length); got != test.want {
			t.Errorf("%d samples are padded to %d, want %d", test.length, got, test.want)
		}
	}
	want := 0
	for _, p := range tinyNetwork(1, tinyMamba) {
		want += p.Len()
	}
	if n.parameters != want {
		t.Errorf("%d parameters, want %d", n.parameters, want)
	}
}

func TestLoadErrors(t *testing.T) {
	mamba, s4, attention := tinyNetwork(1, tinyMamba), tinyNetwork(1, tinyS4), tinyNetwork(1, tinyAttention)
	for _, test := range []struct {
		name   string
		ts     tensors
		change func(ts tensors)
		want   string
	}{
		{"empty", mamba, func(ts tensors) { clear(ts) }, "no tensor encoder.0.0.weight"},
		{"missing gate", mamba, func(ts tensors) { delete(ts, "encoder.1.2.weight") }, "no tensor encoder.1.2.weight"},
		{"missing bias", mamba, func(ts tensors) { delete(ts, "decoder.1.2.bias") }, "missing decoder.1.2.bias"},
		{"one more", mamba, func(ts tensors) { ts["x"] = tensor.New(1) }, "unused x"},
		{"scalar", mamba, func(ts tensors) { ts["encoder.0.0.weight"] = tensor.New() }, "tensor encoder.0.0.weight of shape []"},
		{"no elements", mamba, func(ts tensors) { ts["decoder.0.0.weight"] = tensor.New(8, 0, 1) }, "tensor decoder.0.0.weight of shape [8 0 1]"},
		{"too wide", mamba, func(ts tensors) { ts["encoder.0.0.weight"] = tensor.New(maxWidth+1, 1, 1) }, "tensor encoder.0.0.weight"},
		{"odd gate", mamba, func(ts tensors) { ts["encoder.0.2.weight"] = tensor.New(19, 5, 1) }, "misshapen encoder.0.2.weight"},
		{"five taps", mamba, func(ts tensors) { ts["encoder.0.0.weight"] = tensor.New(5, 1, 5) }, "misshapen encoder.0.0.weight"},
		{"wrong widths", mamba, func(ts tensors) { ts["tsfm_conv2.weight"] = tensor.New(13, 11, 1) }, "misshapen tsfm_conv2.weight"},
		{"infinity", mamba, func(ts tensors) {
			ts["norm_f.bias"] = tensor.FromFloat32s(slices.Repeat([]float32{float32(math.Inf(1))}, tinyDim), tinyDim)
		}, "unusable norm_f.bias"},
		{"no bottleneck", mamba, func(ts tensors) {
			maps.DeleteFunc(ts, func(name string, _ *tensor.Tensor) bool { return strings.HasPrefix(name, "tsfm_Mamba") })
		}, "no bottleneck of a known kind"},
		{"incomplete Mamba", mamba, func(ts tensors) { delete(ts, "tsfm_Mamba_layers.1.mixer.A_log") }, "tsfm_Mamba_layers.1.mixer: ssm: not the parameters of a Mamba"},
		{"narrow mixer", mamba, func(ts tensors) {
			ts["tsfm_Mamba_layers.1.mixer.in_proj.weight"] = tensor.New(48, tinyDim-1)
			ts["tsfm_Mamba_layers.1.mixer.out_proj.weight"] = tensor.New(tinyDim-1, 24)
		}, "tsfm_Mamba_layers.1.mixer: 11 wide, want 12"},
		{"incomplete S4", s4, func(ts tensors) { delete(ts, "tsfm_Mamba_layers.1.mixer.ssm.layer.kernel.A_real") }, "tsfm_Mamba_layers.1.mixer: not the parameters of a gated S4"},
		{"S4 of other sizes", s4, func(ts tensors) { ts["tsfm_Mamba_layers.0.mixer.ssm.layer.kernel.P"] = tensor.New(2, 3, 4, 2) }, "misshapen tsfm_Mamba_layers.0.mixer.ssm.layer.kernel.P"},
		{"LSTM", mamba, func(ts tensors) {
			delete(ts, "tsfm_Mamba_layers.0.mixer.x_proj.weight")
			ts["tsfm_Mamba_layers.weight_ih_l0"] = tensor.New(8, 2)
		}, "LSTM, which is not supported"},
		{"attention", attention, func(ts tensors) { delete(ts, "tsfm_encoder.layer_stack.1.pos_ffn.w_2.weight") }, "missing tsfm_encoder.layer_stack.1.pos_ffn.w_2.weight"},
	} {
		ts := maps.Clone(test.ts)
		test.change(ts)
		_, err := buildNetwork(ts.source(t), config{Heads: 4})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
	if _, err := buildNetwork(attention.source(t), config{}); err == nil || !strings.Contains(err.Error(), "tsfm_n_head") {
		t.Errorf("attention without a number of heads: error %v", err)
	}
	if _, err := buildNetwork(attention.source(t), config{Heads: 5}); err == nil {
		t.Error("5 heads for a width of 12 give no error")
	}
}

func TestTooManyLevels(t *testing.T) {
	ts := tensors{}
	for i := range maxLevels + 1 {
		name := fmt.Sprintf("encoder.%d", i)
		ts[name+".0.weight"] = tensor.New(1, 1, taps)
		ts[name+".0.bias"] = tensor.New(1)
		ts[name+".2.weight"] = tensor.New(2, 1, 1)
		ts[name+".2.bias"] = tensor.New(2)
	}
	if _, err := buildNetwork(ts.source(t), config{}); err == nil || !strings.Contains(err.Error(), "more than 12 encoder levels") {
		t.Errorf("error %v", err)
	}
}
