package kernel

import "time"

//go:generate sh -c "cd _asm && go run ./probe -out ../probe_amd64.s -stubs ../probe_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group probe -out ../probe_arm64.s -stubs ../probe_stub_arm64.go"

// PeakFMA measures for about 100 µs how many billion floating-point operations a
// second one core does in the tier in use, a multiply-add counting as two. It is
// what benchmarks compare matrix products with; a benchmark calls it in turn with
// what it measures, since the clock of the machine drifts. In tiers without a probe
// it returns 0.
func PeakFMA() float64 {
	const rounds = 4000
	begin := time.Now()
	lanes := probeFMA(rounds)
	return float64(2*48*rounds*lanes) / float64(time.Since(begin).Nanoseconds())
}

// PeakRead measures how many bytes per nanosecond one core reads from x. In tiers
// without a probe it returns 0.
func PeakRead(x []float32) float64 {
	const piece = 1 << 16
	bytes := 0
	begin := time.Now()
	for ; len(x) >= piece; x = x[piece:] {
		bytes += probeRead(x[:piece])
	}
	return float64(bytes) / float64(time.Since(begin).Nanoseconds())
}
