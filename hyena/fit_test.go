package hyena

import (
	"math"
	"math/cmplx"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/goldentest"
)

// exponentials returns Re Σ R·λ^t.
func exponentials(poles, residues []complex128, n int) []float64 {
	h := make([]float64, n)
	for t := range h {
		for i, p := range poles {
			h[t] += real(residues[i] * cmplx.Pow(p, complex(float64(t), 0)))
		}
	}
	return h
}

// TestFitKnown recovers poles from the taps they make, for short filters and for ones
// that are thinned out.
func TestFitKnown(t *testing.T) {
	r := newRand(5)
	for _, c := range []struct{ states, taps int }{{1, 32}, {2, 64}, {4, 128}, {3, 700}, {4, 6000}} {
		var poles, residues []complex128
		for i := range c.states {
			rate := (0.5 + float64(i)) * 4 / float64(c.taps)
			turn := (0.3 + float64(i)) * 20 / float64(c.taps)
			poles = append(poles, cmplx.Rect(math.Exp(-rate), turn))
			residues = append(residues, complex(r.NormFloat64(), r.NormFloat64()))
		}
		h := exponentials(poles, residues, c.taps)
		f, err := FitModal(h, FitOptions{Tol: 1e-10})
		if err != nil {
			t.Fatal(err)
		}
		if f.Order != 2*c.states || f.L2 > 1e-8 || f.Max > 1e-8 {
			t.Errorf("%d states, %d taps: order %d with errors %.3g and %.3g", c.states, c.taps, f.Order, f.L2, f.Max)
		}
		for _, p := range poles {
			nearest := math.Inf(1)
			for _, d := range f.Distances {
				nearest = min(nearest, cmplx.Abs(1+d-p))
			}
			if nearest > 1e-8 {
				t.Errorf("%d states, %d taps: pole %v is off by %.3g", c.states, c.taps, p, nearest)
			}
		}
		if len(f.Singular) > f.Order && f.Singular[f.Order] > 1e-12*f.Singular[0] {
			t.Errorf("%d states, %d taps: singular value %.3g after the last pole, want zero", c.states, c.taps, f.Singular[f.Order]/f.Singular[0])
		}
	}
}

// The error of a filter without a finite order falls with the order, and is bounded below
// by the singular values.
func TestFitOrders(t *testing.T) {
	const n = 300
	h := make([]float64, n)
	for i := range h {
		x := float64(i) / n
		h[i] = math.Exp(-3*x) * math.Sin(20*x*x+1)
	}
	before := math.Inf(1)
	for order := 2; order <= 24; order += 2 {
		f, err := FitModal(h, FitOptions{Order: order})
		if err != nil {
			t.Fatal(err)
		}
		if f.Order > order || f.L2 > before*1.5 {
			t.Errorf("order %d: error %.3g with %d poles, %.3g with two less", order, f.L2, f.Order, before)
		}
		if f.Sum < f.Singular[order]/2 { // ‖e‖₁ is above the norm of the error as an operator
			t.Errorf("order %d: Σ|e| is %.3g, below the least possible %.3g", order, f.Sum, f.Singular[order])
		}
		before = f.L2
		for _, d := range f.Distances {
			if cmplx.Abs(1+d) >= 1 {
				t.Errorf("order %d: pole %v is not stable", order, 1+d)
			}
		}
	}
	if before > 1e-3 {
		t.Errorf("order 24: error %.3g", before)
	}
}

func TestFitDegenerate(t *testing.T) {
	for name, h := range map[string][]float64{
		"no taps": nil, "one tap": {3}, "two taps": {3, 1}, "zeros": make([]float64, 20), "an impulse": append([]float64{2}, make([]float64, 30)...),
		"constant": slices.Repeat([]float64{1}, 40), "growing": {1, 2, 4, 8, 16, 32, 64, 128, 256, 512},
	} {
		f, err := FitModal(h, FitOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, d := range f.Distances {
			if !(cmplx.Abs(1+d) < 1) {
				t.Errorf("%s: pole %v", name, 1+d)
			}
		}
		if name == "constant" && f.L2 > 1e-6 || name == "an impulse" && (f.L2 > 1e-12 || math.Abs(f.Skip-2) > 1e-12) {
			t.Errorf("%s: error %.3g, skip %v", name, f.L2, f.Skip)
		}
	}
	if _, err := FitModal([]float64{1, math.NaN()}, FitOptions{}); err == nil {
		t.Error("a tap that is not a number: no error")
	}
	if _, err := FitModal([]float64{1, 2}, FitOptions{Order: -1}); err == nil {
		t.Error("a negative order: no error")
	}
}

// TestFitGolden compares with fits of an independent program: poles and residues of
// filters that are sums of exponentials, and errors for orders of filters that are not.
func TestFitGolden(t *testing.T) {
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA is not set")
	}
	family, err := goldentest.Load(filepath.Join(root, "golden", "hyena"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range family.Cases {
		switch {
		case c.Has("param.poles") && c.Has("out.hankel_sv"):
			fitGoldenPoles(t, c)
		case c.Has("out.hankel_sv"):
			fitGoldenOrders(t, c)
		}
	}
}

func fitGoldenPoles(t *testing.T, c *goldentest.Case) {
	f, err := FitModal(float64s(c.Tensor("in.h")), FitOptions{Tol: 1e-6})
	if err != nil {
		t.Fatal(err)
	}
	poles, residues := c.Tensor("param.poles"), c.Tensor("param.residues")
	for i := range len(poles) / 2 {
		want, residue := complex(float64(poles[2*i]), float64(poles[2*i+1])), complex(float64(residues[2*i]), float64(residues[2*i+1]))
		if imag(want) < 0 { // the conjugate has the same real part
			want, residue = cmplx.Conj(want), cmplx.Conj(residue)
		}
		worst := math.Inf(1)
		for k, d := range f.Distances {
			worst = min(worst, max(cmplx.Abs(1+d-want), 0.01*cmplx.Abs(f.Residues[k]-residue)))
		}
		if worst > 1e-6 {
			t.Errorf("%s: pole %v with residue %v is off by %.3g", c.Name, want, residue, worst)
		}
	}
}

func fitGoldenOrders(t *testing.T, c *goldentest.Case) {
	var cfg struct {
		L      int         `json:"L"`
		Orders []int       `json:"orders"`
		Errors [][]float64 `json:"rel_l2_error"`
	}
	if err := c.Config(&cfg); err != nil {
		t.Fatal(err)
	}
	h := float64s(c.Tensor("in.h"))
	for ch, errs := range cfg.Errors {
		for i, want := range errs {
			f, err := FitModal(h[ch*cfg.L:(ch+1)*cfg.L], FitOptions{Order: cfg.Orders[i]})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("channel %d, order %d: error %.3g, reference %.3g", ch, cfg.Orders[i], f.L2, want)
			if f.L2 > 1.02*want+1e-7 {
				t.Errorf("%s: channel %d, order %d: error %.4g, want %.4g", c.Name, ch, cfg.Orders[i], f.L2, want)
			}
		}
	}
}
