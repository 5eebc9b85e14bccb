package hyena_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/tensor"
)

// TestHyenaDNA compares the operators of the published HyenaDNA tiny-1k with activations
// that a float64 program computed from the same file.
func TestHyenaDNA(t *testing.T) {
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA is not set")
	}
	dir := filepath.Join(root, "weights", "hyenadna-tiny-1k")
	model := openFile(t, filepath.Join(dir, "model.safetensors"))
	golden := openFile(t, filepath.Join(dir, "golden.safetensors"))
	for layer := range 2 {
		m := loadHyenaDNA(t, model, layer)
		at := func(name string) []float32 { return tensorOf(t, golden, fmt.Sprintf("layers.%d.%s", layer, name)) }
		taps := tensor.NewSeq(1, 1000, 128)
		m.Filter().Taps(taps.Mat())
		wantClose(t, "filter", taps.Data, at("filter"))
		in, want := at("mixer.in"), at("mixer.out")
		src := tensor.SeqOf(in, 1, 1000, 128)
		wantClose(t, fmt.Sprintf("layer %d", layer), mix(m, src).Data, want)
		s, err := seqmix.NewStream(m, 1)
		if err != nil {
			t.Fatal(err)
		}
		got := tensor.NewSeq(1, 1000, 128)
		s.Mix(got.Slice(0, 333), src.Slice(0, 333))
		for i := 333; i < src.Len; i++ {
			s.Mix(got.Slice(i, i+1), src.Slice(i, i+1))
		}
		wantClose(t, fmt.Sprintf("stream of layer %d", layer), got.Data, want)
	}
}

// loadHyenaDNA returns the operator of a layer.
func loadHyenaDNA(t *testing.T, model *checkpoint.File, layer int) *hyena.Hyena {
	t.Helper()
	m, err := hyena.New(hyena.Config{DModel: 128, LMax: 1026, EmbDim: 5, W: 10, Shift: 0.05})
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range m.Params() {
		p.SetFloat32s(tensorOf(t, model, fmt.Sprintf("hyena.backbone.layers.%d.mixer.", layer)+name))
	}
	return m
}

func openFile(t *testing.T, path string) *checkpoint.File {
	t.Helper()
	f, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func tensorOf(t *testing.T, f *checkpoint.File, name string) []float32 {
	t.Helper()
	e, ok := f.Lookup(name)
	if !ok {
		t.Fatalf("no tensor %s", name)
	}
	v := make([]float32, e.Len())
	if err := e.ReadFloat32s(v, 0); err != nil {
		t.Fatal(err)
	}
	return v
}

func mix(m seqmix.Mixer, src tensor.Seq) tensor.Seq {
	dst := tensor.NewSeq(src.Batch, src.Len, src.Dim)
	m.Mix(dst, src)
	return dst
}

// wantClose compares with what the float64 program computed.
func wantClose(t *testing.T, name string, got, want []float32) {
	t.Helper()
	const tol = 1e-5
	worst, size := 0.0, 0.0
	for i, w := range want {
		d := math.Abs(float64(got[i]) - float64(w))
		if !(d <= worst) {
			worst = d
		}
		size = max(size, math.Abs(float64(w)))
	}
	if len(got) != len(want) || !(worst <= tol*size) {
		t.Errorf("%s: off by %.3g, tolerance %.3g", name, worst/size, tol)
	}
}

// TestDistillHyenaDNA distills the operators of HyenaDNA tiny-1k. Their filters do not
// decay to the end, so poles have to grow.
func TestDistillHyenaDNA(t *testing.T) {
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" || testing.Short() {
		t.Skip("SEQMIX_TESTDATA is not set, or the test is to be short")
	}
	dir := filepath.Join(root, "weights", "hyenadna-tiny-1k")
	model, golden := openFile(t, filepath.Join(dir, "model.safetensors")), openFile(t, filepath.Join(dir, "golden.safetensors"))
	for layer := range 2 {
		m := loadHyenaDNA(t, model, layer)
		src := tensor.SeqOf(tensorOf(t, golden, fmt.Sprintf("layers.%d.mixer.in", layer)), 1, 1000, 128)
		want := mix(m, src)
		d, fits, err := m.Distill(hyena.FitOptions{Order: 64})
		if err != nil {
			t.Fatal(err)
		}
		var errs []float64
		for _, f := range fits {
			errs = append(errs, f.L2)
		}
		slices.Sort(errs)
		var sum, size float64
		for i, v := range mix(d, src).Data {
			e, w := float64(v)-float64(want.Data[i]), float64(want.Data[i])
			sum, size = sum+e*e, size+w*w
		}
		e := math.Sqrt(sum / size)
		t.Logf("layer %d, 64 poles: error of the taps %.3g in the median and %.3g in the worst channel, of the result %.3g", layer, errs[64], errs[127], e)
		if errs[64] > 1e-3 || e > 1e-3 {
			t.Errorf("layer %d: errors %.3g and %.3g", layer, errs[64], e)
		}
	}
}
