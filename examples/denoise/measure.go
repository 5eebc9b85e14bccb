package main

import (
	"fmt"
	"io"
	"time"

	"github.com/seqmix/seqmix/tensor"
)

// timing is how long the calls of a stream took.
type timing struct {
	total, longest time.Duration
	calls, chunk   int
}

// stream runs a clip through a network in chunks, as if they were arriving, and calls
// progress with the length of each.
func stream(net *network, clip []float32, level float32, chunk int, progress func(int)) ([]float32, timing, error) {
	d, err := newDenoiser(net, level)
	if err != nil {
		return nil, timing{}, err
	}
	out := make([]float32, 0, len(clip))
	t := timing{chunk: chunk}
	for rest := clip; len(rest) > 0; {
		n := min(chunk, len(rest))
		start := time.Now()
		out = append(out, d.feed(rest[:n])...)
		t.add(time.Since(start))
		rest = rest[n:]
		progress(n)
	}
	start := time.Now()
	out = append(out, d.finish()...)
	t.total += time.Since(start)
	return out, t, nil
}

func (t *timing) add(d time.Duration) {
	t.total += d
	t.longest = max(t.longest, d)
	t.calls++
}

// report prints how fast the network was and, if clean is known, how good.
func report(w io.Writer, net *network, t timing, threads int, noisy, out, clean []float32) {
	clip := seconds(len(noisy))
	fmt.Fprintf(w, "speed    real-time factor %.4f: %v for %.2f s of speech (%s, -threads %d)\n",
		t.total.Seconds()/clip, t.total.Round(100*time.Microsecond), clip, tensor.CPU(), threads)
	fmt.Fprintf(w, "latency  %.1f ms: the network looks so far ahead; a chunk of %.1f ms then takes %.2f ms, the longest %.2f ms\n",
		1e3*seconds(net.lookAhead()), 1e3*seconds(t.chunk), milliseconds(t.total)/float64(max(t.calls, 1)), milliseconds(t.longest))
	if clean != nil {
		before, after := siSDR(noisy, clean), siSDR(out, clean)
		fmt.Fprintf(w, "SI-SDR   %.2f dB in, %.2f dB out, %+.2f dB\n", before, after, after-before)
	}
}

func seconds(samples int) float64 { return float64(samples) / sampleRate }

func milliseconds(d time.Duration) float64 { return 1e3 * d.Seconds() }
