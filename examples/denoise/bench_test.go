package main

import (
	"runtime"
	"testing"

	"github.com/seqmix/seqmix/tensor"
)

// BenchmarkNetworks streams hop by hop on one thread, with the published networks. RTF
// is the real-time factor: the time it takes, as a part of the time it lasts.
func BenchmarkNetworks(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	clip := speech(b, "noisy", published[1].clip)
	for _, name := range networks {
		b.Run(name, func(b *testing.B) {
			n := loadPublished(b, name)
			d, err := newDenoiser(n, 0.1)
			if err != nil {
				b.Fatal(err)
			}
			hop := n.hop()
			i := 0
			next := func() {
				if i+hop > len(clip) {
					// A new clip in the same memory.
					d.bottleneck.Reset()
					i = 0
				}
				d.feed(clip[i : i+hop])
				i += hop
			}
			for range 10 {
				next()
			}
			b.ReportAllocs()
			for b.Loop() {
				next()
			}
			b.ReportMetric(b.Elapsed().Seconds()/(float64(b.N)*seconds(hop)), "RTF")
			b.Logf("hop of %.0f ms, tier %s", 1e3*seconds(hop), tensor.CPU())
		})
	}
}
