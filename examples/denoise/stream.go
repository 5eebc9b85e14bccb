package main

import (
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// A denoiser is a network in the middle of a clip. Samples go in by feed, in pieces
// of any size, and come out as soon as nothing that follows can change them; finish
// gives the rest. The result does not depend on the pieces.
type denoiser struct {
	net        *network
	bottleneck seqmix.Stream
	level      float32 // samples are divided by this on the way in

	pending []queue     // inputs of each encoder level that begin the next window
	skips   []queue     // outputs of each encoder level that the decoder has not reached
	before  [][]float32 // last position of each decoder level in front of its convolution

	samples, emitted int
	scratch          tensor.Scratch
}

// A queue holds rows of a matrix that is consumed from the front.
type queue struct {
	data  []float32
	width int
}

func (q *queue) push(m tensor.Mat) { q.data = append(q.data, m.Data...) }
func (q *queue) rows() tensor.Mat  { return tensor.MatOf(q.data, len(q.data)/q.width, q.width) }

// pop removes n rows. It moves the others to the front, so that the memory of the
// queue does not grow.
func (q *queue) pop(n int) { q.data = q.data[:copy(q.data, q.data[n*q.width:])] }

// newDenoiser begins a clip. level is its loudness, the standard deviation of its
// samples: the networks expect one of 1.
func newDenoiser(net *network, level float32) (*denoiser, error) {
	bottleneck, err := net.bottleneck.NewStream(1)
	if err != nil {
		return nil, err
	}
	d := &denoiser{net: net, bottleneck: bottleneck, level: level}
	width := 1
	for _, l := range net.encoder {
		d.pending = append(d.pending, queue{width: width})
		width = l.gate.Out() / 2
		d.skips = append(d.skips, queue{width: width})
	}
	for _, l := range net.decoder {
		d.before = append(d.before, make([]float32, l.gate.Out()/2))
	}
	return d, nil
}

// feed takes the next samples and returns those of the clean signal that became
// final. The result is valid until the next call.
func (d *denoiser) feed(samples []float32) []float32 {
	d.samples += len(samples)
	d.scratch.Reset()
	x := takeMat(&d.scratch, len(samples), 1)
	tensor.Scale(x.Data, 1/d.level, samples)
	x = d.encode(x)
	if x.Rows == 0 {
		return nil
	}
	return d.deliver(d.decode(d.mix(x), 0))
}

// encode runs x through the encoder, as far as there are whole windows, and keeps
// what the decoder will add.
func (d *denoiser) encode(x tensor.Mat) tensor.Mat {
	for i := range d.net.encoder {
		q := &d.pending[i]
		q.push(x)
		x = d.net.encoder[i].run(&d.scratch, q.rows())
		q.pop(stride * x.Rows)
		d.skips[i].push(x)
	}
	return x
}

// mix runs the bottleneck.
func (d *denoiser) mix(x tensor.Mat) tensor.Mat {
	h := takeMat(&d.scratch, x.Rows, d.net.into.Out())
	d.net.into.ApplyMat(h, x)
	seq := tensor.SeqOf(h.Data, 1, h.Rows, h.Cols)
	d.bottleneck.Mix(seq, seq)
	y := takeMat(&d.scratch, x.Rows, x.Cols)
	d.net.out.ApplyMat(y, h)
	return y
}

// decode runs x through the decoder from the given level on.
func (d *denoiser) decode(x tensor.Mat, level int) tensor.Mat {
	for i := level; i < len(d.net.decoder); i++ {
		q := &d.skips[len(d.skips)-1-i]
		tensor.Add(x.Data, x.Data, q.data[:len(x.Data)])
		q.pop(x.Rows)
		x = d.net.decoder[i].run(&d.scratch, x, d.before[i])
	}
	return x
}

// deliver scales the output back and counts it.
func (d *denoiser) deliver(y tensor.Mat) []float32 {
	d.emitted += y.Rows
	tensor.Scale(y.Data, d.level, y.Data)
	return y.Data
}

// finish ends the clip and returns the samples still missing. They are computed as
// if zeros followed, without letting these become part of the clip.
func (d *denoiser) finish() []float32 {
	missing := d.samples - d.emitted
	end := slices.Clone(d.feed(make([]float32, d.net.padded(d.samples)-d.samples)))
	// Every decoder level has two more positions to give, deepest level first.
	for i := range d.net.decoder {
		d.scratch.Reset()
		x := d.net.decoder[i].end(&d.scratch, d.before[i])
		end = append(end, d.deliver(d.decode(x, i+1))...)
	}
	return end[:missing]
}
