package kernel

import (
	"testing"
	"time"
)

// benchShare runs f, which does work, in turn with a probe of the machine's limit,
// and reports the best rate of both and their ratio. Best of many short windows is
// what the machine does when nobody disturbs it; the mean says more about its other
// users.
func benchShare(b *testing.B, work float64, probe func() float64, unit string, f func()) {
	b.Helper()
	var best, limit float64
	f()
	for b.Loop() {
		limit = max(limit, probe())
		begin := time.Now()
		f()
		best = max(best, work/float64(time.Since(begin).Nanoseconds()))
	}
	b.ReportMetric(best, unit)
	if limit > 0 {
		b.ReportMetric(100*best/limit, "%limit")
	}
}
