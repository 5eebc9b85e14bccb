package main

import (
	"fmt"
	"math"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// rows is a sequence of vectors in float64.
type rows [][]float64

// TestDefinition compares the stream with the definition of the network, whole clips
// in float64. Only the mixers of the bottleneck are the same in both.
func TestDefinition(t *testing.T) {
	for kind, bottleneck := range tinyBottlenecks {
		ts := tinyNetwork(3, bottleneck)
		n := ts.build(t)
		for _, length := range []int{1, 21, 22, 23, 30, 31, 200, 1001} {
			x := noise(uint64(length), length)
			const level = 0.2
			d, err := newDenoiser(n, level)
			if err != nil {
				t.Fatal(err)
			}
			got := append([]float32(nil), d.feed(x)...)
			got = append(got, d.finish()...)
			want := ts.define(n, x, level)
			if err := distance(got, want); !(err < 1e-5) {
				t.Errorf("%s: %d samples: off by %.2g", kind, length, err)
			}
		}
	}
}

// distance is |got - want| / |want|.
func distance(got []float32, want []float64) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	var diff, size float64
	for i, w := range want {
		diff += (float64(got[i]) - w) * (float64(got[i]) - w)
		size += w * w
	}
	return math.Sqrt(diff / size)
}

// define computes the network by its definition.
func (ts tensors) define(n *network, clip []float32, level float64) []float64 {
	levels := len(tinyLevels)
	hop, frame := 1<<levels, 1
	for range levels {
		frame = 2*(frame-1) + 4
	}
	length := max(len(clip), frame)
	for (length-frame)%hop != 0 {
		length++
	}
	x := make(rows, length)
	for i := range x {
		x[i] = []float64{0}
		if i < len(clip) {
			x[i][0] = float64(clip[i]) / level
		}
	}
	var skips []rows
	for i := range levels {
		name := fmt.Sprintf("encoder.%d.", i)
		x = ts.gate(name+"2", relu(ts.stridedConv(name+"0", x)))
		skips = append(skips, x)
	}
	x = ts.pointwise("tsfm_conv2", ts.mix(n, ts.pointwise("tsfm_conv1", x)))
	for i := range levels {
		for t, skip := range skips[levels-1-i] {
			for c, v := range skip {
				x[t][c] += v
			}
		}
		name := fmt.Sprintf("decoder.%d.", i)
		x = ts.spread(name+"2", ts.gate(name+"0", x))
		if i < levels-1 {
			x = relu(x)
		}
	}
	y := make([]float64, len(clip))
	for i := range y {
		y[i] = x[i][0] * level
	}
	return y
}

// at returns an element of a tensor.
func (ts tensors) at(name string, index ...int) float64 {
	p := ts[name]
	i := 0
	for k, v := range index {
		i = i*p.Dim(k) + v
	}
	return float64(p.Data()[i])
}

// stridedConv is y[t][o] = b[o] + Σ w[o][c][k]·x[2t+k][c].
func (ts tensors) stridedConv(name string, x rows) rows {
	w := ts[name+".weight"]
	y := make(rows, (len(x)-4)/2+1)
	for t := range y {
		for o := range w.Dim(0) {
			sum := ts.at(name+".bias", o)
			for c := range w.Dim(1) {
				for k := range 4 {
					sum += ts.at(name+".weight", o, c, k) * x[2*t+k][c]
				}
			}
			y[t] = append(y[t], sum)
		}
	}
	return y
}

// spread is the transposed convolution: y[2t+k][o] is the sum of w[c][o][k]·x[t][c],
// and b[o] once.
func (ts tensors) spread(name string, x rows) rows {
	w := ts[name+".weight"]
	y := make(rows, 2*len(x)+2)
	for t := range y {
		for o := range w.Dim(1) {
			y[t] = append(y[t], ts.at(name+".bias", o))
		}
	}
	for t := range x {
		for k := range 4 {
			for o := range w.Dim(1) {
				for c := range w.Dim(0) {
					y[2*t+k][o] += ts.at(name+".weight", c, o, k) * x[t][c]
				}
			}
		}
	}
	return y
}

func (ts tensors) pointwise(name string, x rows) rows {
	w := ts[name+".weight"]
	y := make(rows, len(x))
	for t := range x {
		for o := range w.Dim(0) {
			sum := ts.at(name+".bias", o)
			for c := range w.Dim(1) {
				sum += ts.at(name+".weight", o, c, 0) * x[t][c]
			}
			y[t] = append(y[t], sum)
		}
	}
	return y
}

// gate is a pointwise convolution and a gated linear unit.
func (ts tensors) gate(name string, x rows) rows {
	y := ts.pointwise(name, x)
	for t, row := range y {
		half := len(row) / 2
		for c := range half {
			row[c] /= 1 + math.Exp(-row[half+c])
		}
		y[t] = row[:half]
	}
	return y
}

func relu(x rows) rows {
	for _, row := range x {
		for c, v := range row {
			row[c] = max(v, 0)
		}
	}
	return x
}

// layerNorm computes a norm of every row.
func (ts tensors) layerNorm(name string, x rows, eps float64) rows {
	y := make(rows, len(x))
	for t, row := range x {
		var mean, variance float64
		for _, v := range row {
			mean += v / float64(len(row))
		}
		for _, v := range row {
			variance += (v - mean) * (v - mean) / float64(len(row))
		}
		for c, v := range row {
			y[t] = append(y[t], ts.at(name+"weight", c)*(v-mean)/math.Sqrt(variance+eps)+ts.at(name+"bias", c))
		}
	}
	return y
}

// plus returns x + m(input).
func plus(x, input rows, m seqmix.Mixer) rows {
	dim := len(x[0])
	seq := tensor.NewSeq(1, len(x), dim)
	for t, row := range input {
		for c, v := range row {
			seq.At(0, t)[c] = float32(v)
		}
	}
	m.Mix(seq, seq)
	y := make(rows, len(x))
	for t, row := range x {
		for c, v := range row {
			y[t] = append(y[t], v+float64(seq.At(0, t)[c]))
		}
	}
	return y
}

// mix computes the bottleneck: its mixers and MLPs in float32, what is around them by
// its definition.
func (ts tensors) mix(n *network, x rows) rows {
	if ts["norm_f.weight"] == nil {
		return ts.mixPostNorm(n.bottleneck.(seqmix.Stack), x)
	}
	blocks := n.bottleneck.(seqmix.Stack)
	for i, block := range blocks[:len(blocks)-1] {
		name := fmt.Sprintf("tsfm_Mamba_layers.%d.norm.", i)
		x = plus(x, ts.layerNorm(name, x, 1e-5), block.(*seqmix.Residual).Mixer)
	}
	return ts.layerNorm("norm_f.", x, 1e-5)
}

func (ts tensors) mixPostNorm(layers seqmix.Stack, x rows) rows {
	x = ts.layerNorm("tsfm_encoder.layer_norm.", x, 1e-6)
	for i, layer := range layers[1:] {
		name := fmt.Sprintf("tsfm_encoder.layer_stack.%d.", i)
		attention, mlp := layer.(seqmix.Stack)[0].(*seqmix.Residual).Mixer, layer.(seqmix.Stack)[2].(*seqmix.Residual).Mixer
		x = ts.layerNorm(name+"slf_attn.layer_norm.", plus(x, x, attention), 1e-6)
		x = ts.layerNorm(name+"pos_ffn.layer_norm.", plus(x, x, mlp), 1e-6)
	}
	return x
}
