package hyena

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/checkpoint"
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
		wantClose(t, "filter", m.taps(1000).Data, at("filter"), 1e-5)
		in, want := at("mixer.in"), at("mixer.out")
		src := tensor.SeqOf(in, 1, 1000, 128)
		wantClose(t, fmt.Sprintf("layer %d", layer), mix(m, src).Data, want, 1e-5)
		s, err := seqmix.NewStream(m, 1)
		if err != nil {
			t.Fatal(err)
		}
		got := like(src)
		s.Mix(got.Slice(0, 333), src.Slice(0, 333))
		for i := 333; i < src.Len; i++ {
			s.Mix(got.Slice(i, i+1), src.Slice(i, i+1))
		}
		wantClose(t, fmt.Sprintf("stream of layer %d", layer), got.Data, want, 1e-5)
	}
}

// loadHyenaDNA returns the operator of a layer.
func loadHyenaDNA(t *testing.T, model *checkpoint.File, layer int) *Hyena {
	t.Helper()
	m, err := New(Config{DModel: 128, LMax: 1026, EmbDim: 5, W: 10, Shift: 0.05})
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
