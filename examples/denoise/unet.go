package main

import (
	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A network is CleanUMamba (arXiv:2410.11062) or the CleanUNet it grew from
// (arXiv:2202.07790): a causal U-Net of strided convolutions around a sequence mixer.
// Waveform in, waveform out, 16 kHz.
//
// Level i of the encoder halves the rate, level len(encoder)-1-i of the decoder
// doubles it again and adds what the encoder had there. Only the bottleneck looks
// back further than a few frames, and any seqmix.Streamer can be one.
type network struct {
	encoder    []encoderLevel
	into, out  *nn.Linear // between the U-Net's width and the bottleneck's
	bottleneck seqmix.Streamer
	decoder    []decoderLevel

	kind       string // what the bottleneck is
	parameters int
}

const (
	taps   = 4 // of the strided convolutions
	stride = 2
)

// An encoderLevel is a convolution with stride, ReLU, and a gated 1×1 convolution.
// Convolutions are matrix products: of the windows of their input, position after
// position, with all taps side by side.
type encoderLevel struct {
	conv *nn.Linear // (mid, taps·in): a window of positions in, one out
	gate *nn.Linear // (2·out, mid): value above gate
}

// A decoderLevel is a gated 1×1 convolution and a transposed convolution with
// stride, followed by ReLU except at the last. A position of the former adds to four of
// the latter; seen from there, each pair is made of two positions.
type decoderLevel struct {
	gate *nn.Linear // (2·mid, in): value above gate
	conv *nn.Linear // (stride·out, 2·mid): the position before and this one in, a pair out
	last bool
}

// hop is the number of samples from one bottleneck frame to the next.
func (n *network) hop() int { return 1 << len(n.encoder) }

// frame is the number of samples that one bottleneck frame sees.
func (n *network) frame() int {
	f := 1
	for range n.encoder {
		f = (f-1)*stride + taps
	}
	return f
}

// lookAhead is the largest number of samples that follow one before its clean value is
// known. For the last of every hop there are hop-1 fewer.
func (n *network) lookAhead() int { return n.frame() - 1 }

// padded is the length to which the end of a clip is filled with zeros, so that
// every level works on whole windows.
func (n *network) padded(length int) int {
	f, h := n.frame(), n.hop()
	return f + (max(length-f, 0)+h-1)/h*h
}

// run computes the outputs of the windows in src.
func (l *encoderLevel) run(s *tensor.Scratch, src tensor.Mat) tensor.Mat {
	mid := takeMat(s, windows(src.Rows), l.conv.Out())
	l.conv.ApplyMat(mid, tensor.Mat{Data: src.Data, Rows: mid.Rows, Cols: taps * src.Cols, Stride: stride * src.Cols})
	tensor.ReLU(mid.Data, mid.Data)
	dst := takeMat(s, mid.Rows, l.gate.Out()/2)
	gated(s, dst, mid, l.gate)
	return dst
}

// windows is the number of whole windows in n positions.
func windows(n int) int {
	if n < taps {
		return 0
	}
	return (n-taps)/stride + 1
}

// run computes two positions for each of src. before is the gated position in front of
// them, zero at the beginning, and becomes the last of them.
func (l *decoderLevel) run(s *tensor.Scratch, src tensor.Mat, before []float32) tensor.Mat {
	x := takeMat(s, 1+src.Rows, len(before))
	copy(x.Row(0), before)
	gated(s, x.SliceRows(1, x.Rows), src, l.gate)
	copy(before, x.Row(x.Rows-1))
	return l.pairs(s, x)
}

// end computes the two positions to which only before still adds.
func (l *decoderLevel) end(s *tensor.Scratch, before []float32) tensor.Mat {
	x := takeMat(s, 2, len(before))
	copy(x.Row(0), before)
	clear(x.Row(1))
	return l.pairs(s, x)
}

// pairs computes two positions for each of x but the first.
func (l *decoderLevel) pairs(s *tensor.Scratch, x tensor.Mat) tensor.Mat {
	y := takeMat(s, x.Rows-1, l.conv.Out())
	l.conv.ApplyMat(y, tensor.Mat{Data: x.Data, Rows: y.Rows, Cols: 2 * x.Cols, Stride: x.Cols})
	if !l.last {
		tensor.ReLU(y.Data, y.Data)
	}
	return tensor.MatOf(y.Data, stride*y.Rows, y.Cols/stride)
}

// gated computes value · σ(gate) of the two halves of proj(src).
func gated(s *tensor.Scratch, dst, src tensor.Mat, proj *nn.Linear) {
	both := takeMat(s, src.Rows, 2*dst.Cols)
	proj.ApplyMat(both, src)
	for i := range src.Rows {
		row := both.Row(i)
		tensor.SigmoidMul(dst.Row(i), row[dst.Cols:], row[:dst.Cols])
	}
}

func takeMat(s *tensor.Scratch, rows, cols int) tensor.Mat {
	return tensor.MatOf(s.Take(rows*cols), rows, cols)
}
