package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sameTensors checks that every tensor of a is in b, with the same type, shape and
// bits.
func sameTensors(t *testing.T, a, b Source) {
	t.Helper()
	n := 0
	for name := range a.Names() {
		x, _ := a.Lookup(name)
		y, ok := b.Lookup(name)
		if !ok || !equal(x, y) {
			t.Errorf("%s is %v, and %v in the other file, or their bits differ", name, x, y)
			continue
		}
		u, err1 := x.Float32s()
		v, err2 := y.Float32s()
		if err1 != nil || err2 != nil || !bytes.Equal(floats(u...), floats(v...)) {
			t.Errorf("%s: as float32s, the tensors differ (%v, %v)", name, err1, err2)
		}
		n++
	}
	if n == 0 {
		t.Error("no tensors")
	}
}

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestTorchFiles reads files that PyTorch has written.
func TestTorchFiles(t *testing.T) {
	// Among the tensors of this one are objects of _io.BytesIO.
	evo := open(t, "testdata/evo2.pt")
	sameTensors(t, evo, open(t, "testdata/evo2.safetensors"))
	sameTensors(t, open(t, "testdata/evo2.safetensors"), evo)
	extra, _ := evo.Root().(*Dict).Get("blocks.0.projections._extra_state")
	if o, ok := extra.(*Opaque); !ok || o.Class != "_io.BytesIO" || string(o.State.(Tuple)[0].([]byte)) != "\x00fp8-meta" {
		t.Errorf("_extra_state is %v", extra)
	}

	// A checkpoint of PyTorch Lightning, with tensors that share memory.
	lightning := open(t, "testdata/lightning.ckpt")
	stores := map[*storage]bool{}
	n := 0
	for name := range lightning.Names() {
		if !strings.HasPrefix(name, "model.") {
			t.Errorf("%s is not of the state dict", name)
		}
		e, _ := lightning.Lookup(name)
		stores[e.store] = true
		n++
	}
	if n != 60 || len(stores) != 55 {
		t.Errorf("%d tensors on %d storages, want 60 on 55", n, len(stores))
	}
	raw, err := OpenTorch("testdata/lightning.ckpt")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	sameTensors(t, lightning, Sub(raw, "state_dict."))

	// A state dict with the attribute _metadata.
	state := open(t, "testdata/metadata.bin").Root().(*Dict)
	metadata, _ := state.Attr("_metadata")
	version, _ := metadata.(*Dict).Get("backbone.norm_f")
	if v, ok := version.(*Dict).Get("version"); !ok || v != any(int64(1)) {
		t.Errorf("version of backbone.norm_f is %v", v)
	}
}

// shared returns the folder with golden vectors and real checkpoints.
func shared(t *testing.T) string {
	dir := os.Getenv("SEQMIX_TESTDATA")
	if dir == "" {
		t.Skip("SEQMIX_TESTDATA does not name a folder with checkpoints")
	}
	return dir
}

// TestDenoisers compares the PyTorch and the safetensors file of seven networks.
func TestDenoisers(t *testing.T) {
	dir := filepath.Join(shared(t), "weights", "cleanumamba")
	for _, name := range []string{"mamba", "mamba2", "s4", "mha", "lstm", "pruned-e8-200k", "pruned-e6-1m"} {
		pt := open(t, filepath.Join(dir, name+".pt"))
		st := open(t, filepath.Join(dir, name+".safetensors"))
		sameTensors(t, pt, st)
		if a, b := slices.Collect(pt.Names()), slices.Collect(st.Names()); !slices.Equal(a, b) {
			t.Errorf("%s: the names are %q and %q", name, a, b)
		}
		if err := Finite(pt); err != nil {
			t.Error(err)
		}

		// The configuration in the file is the one in the JSON file beside it.
		var want struct {
			Config map[string]any `json:"network_config"`
		}
		text, err := os.ReadFile(filepath.Join(dir, name+".json"))
		if err == nil {
			err = json.Unmarshal(text, &want)
		}
		if err != nil {
			t.Fatal(err)
		}
		config, ok := pt.Root().(*Dict).Get("network_config")
		if !ok || config.(*Dict).Len() != len(want.Config) {
			t.Fatalf("%s: network_config is %v", name, config)
		}
		for key, value := range config.(*Dict).All() {
			if fmt.Sprint(value) != fmt.Sprint(want.Config[key.(string)]) {
				t.Errorf("%s: %v is %v, want %v", name, key, value, want.Config[key.(string)])
			}
		}
	}
}

func TestHyenaDNA(t *testing.T) {
	dir := filepath.Join(shared(t), "weights", "hyenadna-tiny-1k")
	pth := open(t, filepath.Join(dir, "trained_model.pth"))
	st := open(t, filepath.Join(dir, "model.safetensors"))
	stores := map[*storage]bool{}
	n := 0
	for name := range pth.Names() {
		e, _ := pth.Lookup(name)
		stores[e.store] = true
		n++
	}
	if n != 65 || len(stores) != 61 {
		t.Errorf("%d tensors on %d storages, want 65 on 61", n, len(stores))
	}
	// The other file has "hyena." before the names of the backbone, and a copy of the
	// embedding as its head.
	backbone := Sub(st, "hyena.")
	sameTensors(t, backbone, pth)
	if n := len(slices.Collect(backbone.Names())); n != 55 {
		t.Errorf("%d tensors in the backbone, want 55", n)
	}

	// The file was written by the reference implementation: we write the same bytes.
	want, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := Write(&got, st, st.Metadata()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Error("written again, the file differs")
	}
}

// TestGoldenDirectories opens every checkpoint among the golden vectors, and reads
// all of it.
func TestGoldenDirectories(t *testing.T) {
	root := filepath.Join(shared(t), "golden")
	n := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		switch filepath.Ext(path) {
		case ".safetensors", ".bin", ".pt", ".ckpt":
			f := open(t, path)
			if err := Finite(f); err != nil && !strings.Contains(path, "cases") {
				t.Error(err)
			}
			n++
		}
		return nil
	})
	if err != nil || n < 20 {
		t.Errorf("%d files, %v", n, err)
	}
	dirs, err := filepath.Glob(filepath.Join(root, "*", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range slices.Compact(slices.Sorted(mapped(dirs, filepath.Dir))) {
		if names := slices.Collect(open(t, dir).Names()); len(names) < 10 {
			t.Errorf("%s: names %q", dir, names)
		}
	}

	// Pairs of files with the same tensors.
	for _, c := range []struct{ dir, a, b string }{
		{"mamba3/lm-mamba3-siso", "model.safetensors", "pytorch_model.bin"},
		{"hyena/evo2", "model.safetensors", "model.pt"},
		{"monarch/m2-bert", "model.safetensors", "pytorch_model.bin"},
	} {
		sameTensors(t, open(t, filepath.Join(root, c.dir, c.a)), open(t, filepath.Join(root, c.dir, c.b)))
	}
}

func mapped[T, U any](s []T, f func(T) U) func(func(U) bool) {
	return func(yield func(U) bool) {
		for _, v := range s {
			if !yield(f(v)) {
				return
			}
		}
	}
}
