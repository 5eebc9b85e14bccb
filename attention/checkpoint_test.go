package attention_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/tensor"
)

// TestCleanUNet runs the three layers of a public speech denoiser, from the folder of
// checkpoints if it is there, on what comes to them in the reference implementation.
func TestCleanUNet(t *testing.T) {
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA does not name a folder with checkpoints")
	}
	dir := filepath.Join(root, "weights", "cleanumamba")
	weights, want := open(t, filepath.Join(dir, "mha.safetensors")), open(t, filepath.Join(dir, "golden", "mha.safetensors"))
	for layer := range 3 {
		m, err := attention.NewMultiHead(attention.MultiHeadConfig{Dim: 64, Heads: 4, Layout: attention.WqsWksWvs})
		if err != nil {
			t.Fatal(err)
		}
		src := checkpoint.Sub(weights, fmt.Sprintf("tsfm_encoder.layer_stack.%d.slf_attn.", layer))
		src = checkpoint.Without(src, func(name string) bool { return strings.HasPrefix(name, "layer_norm.") })
		if err := checkpoint.Load(m, src, nil); err != nil {
			t.Fatal(err)
		}
		in, out := entry(t, want, fmt.Sprintf("block.%d.in", layer)), entry(t, want, fmt.Sprintf("block.%d.attn", layer))
		x := tensor.SeqOf(in, 1, len(in)/64, 64)
		y, parts := like(x), like(x)
		m.Mix(y, x)
		near(t, fmt.Sprint("layer ", layer), y.Data, float64s(out))
		s := newStream(t, m, 1)
		for at := 0; at < x.Len; {
			n := min(1+at%7, x.Len-at)
			s.Mix(parts.Slice(at, at+n), x.Slice(at, at+n))
			at += n
		}
		if i := firstDifference(parts.Data, y.Data); i >= 0 {
			t.Errorf("layer %d: streamed, element %d is %v, want %v", layer, i, parts.Data[i], y.Data[i])
		}
	}
}

func open(t *testing.T, path string) *checkpoint.File {
	t.Helper()
	f, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// entry returns the elements of a tensor.
func entry(t *testing.T, f *checkpoint.File, name string) []float32 {
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
