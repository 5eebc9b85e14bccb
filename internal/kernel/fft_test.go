package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu"
	"github.com/seqmix/seqmix/internal/cpu/cputest"
)

// fftCase is a problem for a ConvPlan: rows of x and h with distances ldx and ldh.
type fftCase struct {
	n, channels, ldx, ldh int
	x, h                  []float32
}

func newFFTCase(n, channels, gap int) *fftCase {
	c := &fftCase{n: n, channels: channels, ldx: channels + gap, ldh: channels + 2*gap}
	c.x, c.h = random(n*c.ldx, 1), random(n*c.ldh, 2)
	for i := range c.h {
		c.h[i] *= float32(math.Exp(-4 * float64(i/c.ldh) / float64(n)))
	}
	return c
}

// at returns element (t, ch) of the convolution or the correlation.
func (c *fftCase) at(t, ch int, correlate bool) float64 {
	var sum float64
	if correlate {
		for i := t; i < c.n; i++ {
			sum += float64(c.h[(i-t)*c.ldh+ch]) * float64(c.x[i*c.ldx+ch])
		}
		return sum
	}
	for i := range t + 1 {
		sum += float64(c.h[(t-i)*c.ldh+ch]) * float64(c.x[i*c.ldx+ch])
	}
	return sum
}

// check compares y, with distance ldx, at about samples places.
func (c *fftCase) check(t *testing.T, y []float32, correlate bool, samples int) {
	t.Helper()
	var worst, size float64
	step := max(1, c.n*c.channels/samples)
	for i := c.n*c.channels - 1; i >= 0; i -= step {
		want := c.at(i/c.channels, i%c.channels, correlate)
		size = max(size, math.Abs(want))
		d := math.Abs(float64(y[i/c.channels*c.ldx+i%c.channels]) - want)
		if !(d <= worst) { // also if d is NaN
			worst = d
		}
	}
	if !(worst <= 1e-6*size) {
		t.Errorf("n=%d channels=%d correlate=%v: error %.3g of the largest element", c.n, c.channels, correlate, worst/size)
	}
}

func (c *fftCase) run(p *ConvPlan, y []float32, correlate bool) {
	blocks := (c.channels + ConvBlock - 1) / ConvBlock
	spectrum, scratch := make([]float32, p.SpectrumLen(c.channels)), make([]float32, p.ScratchLen())
	p.Spectrum(spectrum, c.h, c.ldh, c.n, c.channels, 0, blocks)
	f := p.Convolve
	if correlate {
		f = p.Correlate
	}
	half := blocks / 2
	f(y, c.ldx, c.x, c.ldx, c.n, c.channels, spectrum, scratch, half, blocks)
	f(y, c.ldx, c.x, c.ldx, c.n, c.channels, spectrum, scratch, 0, half)
}

func TestConvPlan(t *testing.T) {
	lengths := []int{1, 2, 3, 31, 63, 64, 65, 100, 128, 129, 256, 300, 512, 1024, 2048}
	if !testing.Short() {
		lengths = append(lengths, 127, 511, 1000, 4096, 8192, 16384, 32768, 65536, 131072)
	}
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, n := range lengths {
			for _, channels := range []int{1, 15, 16, 17, 40} {
				if n > 4096 && channels != 17 || n > 16384 && cpu.Active() == cpu.TierGeneric {
					continue
				}
				c := newFFTCase(n, channels, 3)
				p := NewConvPlan(n)
				for _, correlate := range []bool{false, true} {
					y := random(len(c.x), 3)
					old := slices.Clone(y)
					c.run(p, y, correlate)
					c.check(t, y, correlate, 1000_000/n+20)
					for i := range y {
						if i%c.ldx >= channels && y[i] != old[i] {
							t.Fatalf("n=%d channels=%d: wrote beside the rows", n, channels)
						}
					}
				}
			}
		}
	})
}

// TestConvPlanLonger convolves few positions by a plan for many.
func TestConvPlanLonger(t *testing.T) {
	p := NewConvPlan(1024)
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 17, 511, 512, 513, 1023} {
			c := newFFTCase(n, 20, 0)
			y := make([]float32, len(c.x))
			c.run(p, y, false)
			if n > 0 {
				c.check(t, y, false, 20*n)
			}
		}
	})
}

// TestConvPlanInPlace proves that the result may replace the input, and that blocks
// do not depend on each other.
func TestConvPlanInPlace(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, n := range []int{60, 64, 1024, 2000} {
			c := newFFTCase(n, 35, 1)
			p := NewConvPlan(n)
			y := make([]float32, len(c.x))
			c.run(p, y, false)
			x := slices.Clone(c.x)
			c.run(p, c.x, false)
			for i := range y {
				if i%c.ldx < 35 && math.Float32bits(y[i]) != math.Float32bits(c.x[i]) {
					t.Fatalf("n=%d: element %d is %v in place, else %v", n, i, c.x[i], y[i])
				}
			}
			c.x = x
		}
	})
}

// TestConvPlanTiers proves that spectra do not depend on the tier beyond rounding, and
// that they are those of the definition.
func TestConvPlanTiers(t *testing.T) {
	for _, n := range []int{64, 128, 256, 512, 1024} {
		c := newFFTCase(n, 16, 0)
		p := NewConvPlan(n)
		cputest.ForEachTier(t, func(t *testing.T) {
			spectrum := make([]float32, p.SpectrumLen(16))
			p.Spectrum(spectrum, c.h, 16, n, 16, 0, 1)
			for row := 0; row < n; row += 1 + n/64 {
				freq := 0
				for b := 1; b < n; b *= 2 {
					freq *= 2
					if row&b != 0 {
						freq++
					}
				}
				const ch = 5
				var re, im, size float64
				for i := range n {
					turn := float64(i)/float64(4*n) - float64(freq*i%n)/float64(n)
					sin, cos := math.Sincos(2 * math.Pi * turn)
					v := float64(c.h[i*16+ch])
					re, im, size = re+v*cos/float64(n), im+v*sin/float64(n), size+math.Abs(v)/float64(n)
				}
				gotRe, gotIm := float64(spectrum[row*32+ch]), float64(spectrum[row*32+16+ch])
				if math.Hypot(gotRe-re, gotIm-im) > 1e-6*size {
					t.Fatalf("n=%d: frequency %d is %v+%vi, want %v+%vi", n, freq, gotRe, gotIm, re, im)
				}
			}
		})
	}
}

func TestConvPlanGuard(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, s := range [][2]int{{64, 16}, {64, 5}, {100, 33}, {1024, 32}, {2048, 16}} {
			n, channels := s[0], s[1]
			p := NewConvPlan(n)
			blocks := (channels + ConvBlock - 1) / ConvBlock
			x, h, y := guardedFloats(t, n*channels), guardedFloats(t, n*channels), guardedFloats(t, n*channels)
			spectrum, scratch := guardedFloats(t, p.SpectrumLen(channels)), guardedFloats(t, p.ScratchLen())
			copy(x, random(len(x), 1))
			p.Spectrum(spectrum, h, channels, n, channels, 0, blocks)
			p.Convolve(y, channels, x, channels, n, channels, spectrum, scratch, 0, blocks)
			p.Correlate(y, channels, x, channels, n, channels, spectrum, scratch, 0, blocks)
		}
	})
}

func TestConvPlanAllocatesNothing(t *testing.T) {
	c := newFFTCase(1000, 17, 0)
	p := NewConvPlan(1000)
	spectrum, scratch := make([]float32, p.SpectrumLen(17)), make([]float32, p.ScratchLen())
	n := testing.AllocsPerRun(5, func() {
		p.Spectrum(spectrum, c.h, 17, 1000, 17, 0, 2)
		p.Convolve(c.x, 17, c.x, 17, 1000, 17, spectrum, scratch, 0, 2)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConvPlanPanics(t *testing.T) {
	p := NewConvPlan(64)
	x, spectrum, scratch := make([]float32, 64*3), make([]float32, p.SpectrumLen(3)), make([]float32, p.ScratchLen())
	for i, f := range []func(){
		func() { NewConvPlan(0) },
		func() { p.Convolve(x, 3, x, 3, 65, 3, spectrum, scratch, 0, 1) },
		func() { p.Convolve(x, 3, x[1:], 3, 64, 3, spectrum, scratch, 0, 1) },
		func() { p.Convolve(x[1:], 3, x, 3, 64, 3, spectrum, scratch, 0, 1) },
		func() { p.Convolve(x, 3, x, 3, 64, 3, spectrum[1:], scratch, 0, 1) },
		func() { p.Convolve(x, 3, x, 3, 64, 3, spectrum, scratch[1:], 0, 1) },
		func() { p.Convolve(x, 3, x, 3, 64, 3, spectrum, scratch, 0, 2) },
		func() { p.Spectrum(spectrum[1:], x, 3, 64, 3, 0, 1) },
	} {
		mustPanic(t, fmt.Sprintf("case %d", i), f)
	}
}

func mustPanic(t *testing.T, name string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s did not panic", name)
		}
	}()
	f()
}

// BenchmarkConvolve convolves 768 channels. The share is that of the floating-point
// operations of the textbook count, 10·n·log₂n + 6n for each channel, in the
// multiply-add peak, of which a transform, mostly additions, cannot reach all.
func BenchmarkConvolve(b *testing.B) {
	for _, n := range []int{1024, 4096, 16384} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			const channels = 768
			c := newFFTCase(n, channels, 0)
			p := NewConvPlan(n)
			spectrum, scratch := make([]float32, p.SpectrumLen(channels)), make([]float32, p.ScratchLen())
			y := make([]float32, len(c.x))
			cputest.BenchEachTier(b, func(b *testing.B) {
				p.Spectrum(spectrum, c.h, channels, n, channels, 0, channels/ConvBlock)
				flops := channels * float64(n) * (10*math.Log2(float64(n)) + 6)
				benchShare(b, flops, PeakFMA, "GFLOP/s", func() {
					p.Convolve(y, channels, c.x, channels, n, channels, spectrum, scratch, 0, channels/ConvBlock)
				})
			})
		})
	}
}

func FuzzConvPlan(f *testing.F) {
	f.Add(uint(100), uint(17), uint(3), true)
	f.Fuzz(func(t *testing.T, n, channels, gap uint, correlate bool) {
		c := newFFTCase(int(1+n%700), int(1+channels%40), int(gap%5))
		p := NewConvPlan(c.n)
		cputest.ForEachTier(t, func(t *testing.T) {
			y := make([]float32, len(c.x))
			c.run(p, y, correlate)
			c.check(t, y, correlate, 2000)
		})
	})
}
