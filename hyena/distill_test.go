package hyena

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/tensor"
)

func distilled(t testing.TB, m *Hyena, o FitOptions) (*Distilled, []ChannelFit) {
	t.Helper()
	d, fits, err := m.Distill(o)
	if err != nil {
		t.Fatal(err)
	}
	return d, fits
}

// TestDistill compares the taps and the results with those of the exact mixer: the errors
// are those reported.
func TestDistill(t *testing.T) {
	for name, cfg := range map[string]Config{
		"order 2":              {DModel: 6, LMax: 120, FilterOrder: 16, W: 2},
		"order 3":              {DModel: 4, LMax: 200, FilterOrder: 16, Order: 3, Shift: 0.05},
		"order 3, order major": {DModel: 4, LMax: 100, FilterOrder: 16, Order: 3, Layout: OrderMajor, Gates: FirstFirst},
	} {
		m := newHyena(t, cfg, 1)
		d, fits := distilled(t, m, FitOptions{Tol: 1e-6})
		if len(fits) != cfg.DModel*(m.cfg.Order-1) {
			t.Fatalf("%s: %d fits", name, len(fits))
		}
		h := m.taps(cfg.LMax)
		for _, f := range fits {
			taps := tensor.MatOf(make([]float32, cfg.LMax*cfg.DModel), cfg.LMax, cfg.DModel)
			d.filters[f.Conv].Taps(taps)
			at := m.filterColumn(f.Conv, f.Channel)
			var sum, size, total float64
			for i := range cfg.LMax {
				want := float64(h.Row(i)[at])
				got := float64(taps.Row(i)[f.Channel])
				if i == 0 {
					want += float64(m.d.Data()[at])
					got += float64(d.filters[f.Conv].d.Data()[f.Channel])
				}
				sum, size, total = sum+(got-want)*(got-want), size+want*want, total+math.Abs(got-want)
			}
			if e := math.Sqrt(sum / size); e > f.L2+1e-5 || total > f.Sum+1e-5*math.Sqrt(size*float64(cfg.LMax)) {
				t.Errorf("%s: convolution %d, channel %d: errors %.3g and %.3g, reported %.3g and %.3g", name, f.Conv, f.Channel, e, total, f.L2, f.Sum)
			}
			if f.L2 > 1e-3 {
				t.Errorf("%s: convolution %d, channel %d: error %.3g with %d poles", name, f.Conv, f.Channel, f.L2, f.Order)
			}
		}
		src := randomSeq(newRand(2), 2, cfg.LMax, cfg.DModel)
		wantClose(t, name, mix(d, src).Data, mix(m, src).Data, 2e-3)
	}
}

func TestDistilledContract(t *testing.T) {
	m := newHyena(t, Config{DModel: 5, LMax: 400, FilterOrder: 8, Order: 3}, 1)
	for _, o := range []FitOptions{{Order: 6, Growth: 1}, {Order: 7}} {
		d, _ := distilled(t, m, o)
		for _, mo := range short.First([]mixtest.Options{{}, {Batch: 3, Len: 140}}) {
			if err := sameBits(d, mo); err != nil {
				t.Error(err)
			}
		}
	}
}

// A stable one takes sequences of any length, with a state of one size.
func TestDistilledLength(t *testing.T) {
	m := newHyena(t, Config{DModel: 4, LMax: 100, FilterOrder: 8}, 1)
	d, _ := distilled(t, m, FitOptions{Order: 8, Growth: 1})
	if n := d.States(0); n < 4 || n > 8 {
		t.Errorf("%d states, want 4 to 8 for order 8", n)
	}
	s, err := d.NewStream(1)
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for range 3 {
		x := randomSeq(newRand(3), 1, 5000, 4)
		s.Mix(x, x)
		for _, v := range x.Data {
			if math.IsNaN(float64(v)) || math.Abs(float64(v)) > 1e6 {
				t.Fatalf("output %v", v)
			}
		}
		saved, err := s.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(saved))
	}
	if slices.Max(sizes) > sizes[0]+4 {
		t.Errorf("the state grows: %v bytes", sizes)
	}
	growing, _ := distilled(t, m, FitOptions{Order: 8})
	defer func() {
		var shape *tensor.ShapeError
		if err, ok := recover().(error); !ok || !errors.As(err, &shape) {
			t.Error("more than LMax positions with poles that may grow: want a panic with a *tensor.ShapeError")
		}
	}()
	x := tensor.NewSeq(1, 101, 4)
	growing.Mix(x, x)
}

func TestDistilledParams(t *testing.T) {
	m := newHyena(t, Config{DModel: 4, LMax: 50, FilterOrder: 8, Order: 3}, 1)
	d, _ := distilled(t, m, FitOptions{Order: 2})
	var names []string
	for name := range d.Params() {
		names = append(names, name)
	}
	want := []string{
		"in_proj.weight", "in_proj.bias", "short_filter.weight", "short_filter.bias", "filter_fn.0.distances", "filter_fn.0.residues", "filter_fn.0.D",
		"filter_fn.1.distances", "filter_fn.1.residues", "filter_fn.1.D", "out_proj.weight", "out_proj.bias",
	}
	if !slices.Equal(names, want) {
		t.Errorf("parameters %q, want %q", names, want)
	}
	if _, _, err := m.Distill(FitOptions{Order: -1}); err == nil {
		t.Error("a negative order: no error")
	}
}
