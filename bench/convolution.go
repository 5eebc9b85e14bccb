package main

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// convChannels is the number of channels of the convolutions that are measured.
const convChannels = 768

// convLengths are the lengths of their sequences, and of their filters.
var convLengths = []int{1024, 4096, 16384}

// convInput and convTap are the numbers that everybody convolves.
func convInput(t, c int) float32 { return float32((t*31+c*17)%64-32) / 32 }

func convTap(t, c, length int) float32 {
	return float32((t*13+c*7)%32-16) / 16 * float32(math.Exp(-3*float64(t)/float64(length)))
}

// A convolver answers the commands conv and logits with seqmix; see peers/fftw.c.
type convolver struct {
	conv *nn.LongConv
	x, y tensor.Seq
}

func (v *convolver) do(line string) (reply, error) {
	var n int
	if line == "logits" && v.y.Len > 0 {
		var r reply
		for _, x := range v.y.Slice(v.y.Len-1, v.y.Len).Data[:convChannels] {
			r.Logits = append(r.Logits, float64(x))
		}
		return r, nil
	}
	if k, _ := fmt.Sscanf(line, "conv %d", &n); k != 1 || n < 1 {
		return reply{}, fmt.Errorf("unknown command %q", line)
	}
	if n != v.x.Len {
		v.prepare(n)
	}
	begin := time.Now()
	v.conv.Mix(v.y, v.x)
	return reply{Seconds: time.Since(begin).Seconds()}, nil
}

// prepare makes the input, and computes the spectra of the filters.
func (v *convolver) prepare(n int) {
	v.x, v.y = tensor.NewSeq(1, n, convChannels), tensor.NewSeq(1, n, convChannels)
	taps := tensor.NewSeq(1, n, convChannels)
	for i := range v.x.Data {
		t, c := i/convChannels, i%convChannels
		v.x.Data[i], taps.Data[i] = convInput(t, c), convTap(t, c, n)
	}
	v.conv = nn.NewLongConv(taps.Mat())
	v.conv.Mix(v.y, v.x)
}

// A convResult is what was measured of one contestant at one length.
type convResult struct {
	Length       int
	Who, Version string
	Times        samples // their rates are convolutions of all channels a second
	Deviation    float64 // from seqmix
}

// convFlops is the textbook count.
func convFlops(n int) float64 {
	return convChannels * float64(n) * (10*math.Log2(float64(n)) + 6)
}

// convolutions measures long convolutions of seqmix and, if it is there, FFTW.
func (b *bench) convolutions() ([]convResult, error) {
	c, err := b.startOurs("conv", "float32")
	if err != nil {
		return nil, err
	}
	running := []*contestant{c}
	if b.fftw != nil {
		if c, err = b.fftw.start(b.o.threads); err != nil {
			return nil, errors.Join(err, stopAll(running))
		}
		running = append(running, c)
	}
	bar := newBar(len(convLengths)*b.o.rounds, "long convolutions")
	defer bar.Finish()
	var results []convResult
	for _, n := range convLengths {
		r, err := b.convolutionsOf(n, running, func() { bar.Add(1) })
		if err != nil {
			return nil, errors.Join(err, stopAll(running))
		}
		results = append(results, r...)
	}
	return results, stopAll(running)
}

func (b *bench) convolutionsOf(n int, running []*contestant, step func()) ([]convResult, error) {
	results := make([]convResult, len(running))
	command := fmt.Sprint("conv ", n)
	var reference []float64
	for i, c := range running {
		if _, err := c.do(command); err != nil { // which prepares
			return nil, err
		}
		r, err := c.do("logits")
		if err != nil {
			return nil, err
		}
		if i == 0 {
			reference = r.Logits
		}
		results[i] = convResult{Length: n, Who: c.name, Version: c.version, Deviation: deviation(r.Logits, reference)}
		if d := results[i].Deviation; !(d <= ourTolerance) {
			return nil, fmt.Errorf("%s: convolutions differ by %g", c.name, d)
		}
	}
	for range b.o.rounds {
		for i, c := range running {
			before := b.probed()
			best := math.Inf(1)
			for range 5 {
				r, err := c.do(command)
				if err != nil {
					return nil, err
				}
				best = min(best, r.Seconds)
			}
			time.Sleep(20 * time.Millisecond)
			l := before.max(b.probed())
			results[i].Times = append(results[i].Times, sample{1 / best, ratio(1e-9*convFlops(n)/best, l.FMA)})
		}
		step()
	}
	return results, nil
}
