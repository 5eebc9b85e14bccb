package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// oneTensor is a safetensors file with a tensor of this name and value.
func oneTensor(name string, v float32) []byte {
	return safetensorsFile(fmt.Sprintf(`{%q:{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, name), floats(v))
}

// directory makes a directory with these files.
func directory(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOpenDirectory(t *testing.T) {
	one, two := string(oneTensor("w", 1)), string(oneTensor("w", 2))
	torch := string(torchFile(pickled(pyDict{"state_dict", pyDict{"w", vector("0", 1)}}), map[string][]byte{"0": floats(3)}))
	index := `{"metadata":{"total_size":4},"weight_map":{"w":"part"}}`
	for _, c := range []struct {
		name  string
		files map[string]string
		want  float32 // the value of w
	}{
		{"safetensors first", map[string]string{"config.json": "{}", "model.safetensors": one, "pytorch_model.bin": torch, "model.safetensors.index.json": index}, 1},
		{"index", map[string]string{"model.safetensors.index.json": index, "part": two, "pytorch_model.bin": torch, "x.pt": "x"}, 2},
		{"torch", map[string]string{"pytorch_model.bin": torch, "pytorch_model.bin.index.json": index, "training_args.bin": "x"}, 3},
		{"torch index", map[string]string{"pytorch_model.bin.index.json": index, "part": torch}, 3},
		{"the only one", map[string]string{"weights.CKPT": torch, "readme.txt": "x"}, 3},
		{"under a wrong name", map[string]string{"weights.pt": two}, 2},
	} {
		f, err := Open(directory(t, c.files))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := values(t, f, "w"); got[0] != c.want {
			t.Errorf("%s: opened the file with %v, want %v", c.name, got, c.want)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := Open(directory(t, map[string]string{"config.json": "{}"}))
	wantError(t, err, "without a checkpoint", "model.safetensors")
	_, err = Open(directory(t, map[string]string{"a.pt": "x", "b.safetensors": "x"}))
	wantError(t, err, "several", "a.pt, b.safetensors")
	many := map[string]string{}
	for i := range 100 {
		many[fmt.Sprintf("%03d.pt", i)] = "x"
	}
	_, err = Open(directory(t, many))
	wantError(t, err, "several", "009.pt and 90 more")
}

func TestOpenOther(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "is empty",
		"version https://git-lfs.github": "Git LFS pointer",
		"GGUF\x03\x00\x00\x00":           "GGUF",
		"\x80\x02\x8a\nl\xfc\x9cF\xf9":   "before 1.6: not supported",
		"<!DOCTYPE html>":                "HTML",
		"ustar":                          "no known format",
		"PK\x03\x04":                     "damaged or cut off",
	} {
		_, err := Open(write(t, "file.bin", []byte(text)))
		wantError(t, err, "file.bin", want)
	}
	if _, err := OpenTorch(write(t, "x.pt", oneTensor("w", 1))); err == nil {
		t.Error("OpenTorch opens a safetensors file")
	}
	if _, err := OpenTorch(filepath.Join(t.TempDir(), "absent")); !os.IsNotExist(err) {
		t.Errorf("absent file: %v", err)
	}
	if runtime.GOOS != "windows" && runtime.GOOS != "js" {
		_, err := Open(os.DevNull)
		wantError(t, err, "not a regular file")
	}
}

func TestOpenIndex(t *testing.T) {
	files := map[string]string{"1": string(oneTensor("a", 1)), "2": string(oneTensor("b", 2)), "3": "rubbish"}
	good := `{"metadata":{"total_size":8,"more":[{"x":[]}]},"weight_map":{"b":"2","a":"1"}}`
	for _, c := range []struct {
		name  string
		index string
		words []string
	}{
		{"good", good, nil},
		{"shard that does not exist", `{"weight_map":{"a":"1","c":"missing.safetensors"}}`, []string{`"c"`, "missing.safetensors", "does not exist"}},
		{"damaged shard", `{"weight_map":{"a":"3"}}`, []string{"3: is of no known format"}},
		{"tensor that is not there", `{"weight_map":{"a":"1","b":"2","c":"2"}}`, []string{`"c"`, `not in "2"`}},
		{"tensor in another shard", `{"weight_map":{"a":"2","b":"2"}}`, []string{`"a"`, `not in "2"`}},
		{"tensor that is not listed", `{"weight_map":{"a":"1","b":"1"}}`, []string{`"b"`, `not in "1"`}},
		{"shard above", `{"weight_map":{"a":"../1"}}`, []string{`"a"`, `"../1"`, "beside the index"}},
		{"shard above, Windows", `{"weight_map":{"a":"..\\1"}}`, []string{`"a"`, "beside the index"}},
		{"shard below", `{"weight_map":{"a":"x/1"}}`, []string{`"a"`, "beside the index"}},
		{"absolute path", `{"weight_map":{"a":"/etc/passwd"}}`, []string{`"/etc/passwd"`, "beside the index"}},
		{"the directory", `{"weight_map":{"a":"."}}`, []string{"beside the index"}},
		{"the directory above", `{"weight_map":{"a":".."}}`, []string{"beside the index"}},
		{"no name", `{"weight_map":{"a":""}}`, []string{"beside the index"}},
		{"the index itself", `{"weight_map":{"a":"i.json"}}`, []string{"no known format"}},
		{"name twice", `{"weight_map":{"a":"1","a":"1"}}`, []string{`"a" twice`}},
		{"map twice", `{"weight_map":{"a":"1"},"weight_map":{"b":"2"}}`, []string{`"weight_map" twice`}},
		{"no map", `{"metadata":{}}`, []string{"weight_map", "missing"}},
		{"map of lists", `{"weight_map":{"a":["1"]}}`, []string{`"a"`, "want a string"}},
		{"list", `{"weight_map":["1"]}`, []string{"weight_map", "want an object"}},
		{"cut off", good[:len(good)-2], []string{"JSON"}},
		{"too much", good + "{}", []string{"goes on"}},
		{"deep", `{"x":` + strings.Repeat("[", 1e6), []string{"JSON"}},
		{"not UTF-8", "{\"\xff\":1}", []string{"UTF-8"}},
	} {
		files["i.json"] = c.index
		f, err := Open(filepath.Join(directory(t, files), "i.json"))
		if c.words != nil {
			wantError(t, err, append(c.words, "")...)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if names := slices.Collect(f.Names()); !slices.Equal(names, []string{"b", "a"}) {
			t.Errorf("names %q", names)
		}
		if a, b := values(t, f, "a"), values(t, f, "b"); a[0] != 1 || b[0] != 2 {
			t.Errorf("a, b are %v, %v", a, b)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	twice := map[string]string{"1": string(oneTensor("a", 1)), "2": string(oneTensor("a", 2)), "i.json": `{"weight_map":{"a":"1"}}`}
	dir := directory(t, twice)
	f, err := Open(filepath.Join(dir, "i.json"))
	if err != nil {
		t.Fatal(err) // a file that is not listed is of no interest
	}
	f.Close()
	more := safetensorsFile(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"z":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, floats(1, 2))
	if err := os.WriteFile(filepath.Join(dir, "1"), more, 0o666); err != nil {
		t.Fatal(err)
	}
	_, err = Open(filepath.Join(dir, "i.json"))
	wantError(t, err, `"z"`, `is in "1"`, "does not say so")
}

func TestMetadataOfShards(t *testing.T) {
	part := func(name, key string) string {
		return string(safetensorsFile(fmt.Sprintf(`{"__metadata__":{"format":"pt",%q:"x"},%q:{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, key, name), nil))
	}
	f, err := Open(directory(t, map[string]string{"1": part("a", "one"), "2": part("b", "two"), "model.safetensors.index.json": `{"weight_map":{"a":"1","b":"2"}}`}))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if m := f.Metadata(); len(m) != 3 || m["format"] != "pt" || m["one"] != "x" || m["two"] != "x" {
		t.Errorf("metadata %v", m)
	}
}

// faultsHaveAddress reports whether reading the end of memory that is gone panics
// with the address.
func faultsHaveAddress(gone []byte) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { _, ok = recover().(interface{ Addr() uintptr }) }()
	return gone[len(gone)-1] == 0
}

// TestFileShrinks reads tensors of a file that is cut off while it is open.
func TestFileShrinks(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs a system that lets a mapped file be cut off")
	}
	const n = 1 << 20
	for _, dtype := range []DType{F32, F16, BF16, F64, U8} {
		size := n * dtype.Bits() / 8
		header := fmt.Sprintf(`{"w":{"dtype":%q,"shape":[%d],"data_offsets":[0,%d]}}`, dtype, n, size)
		path := write(t, "x.safetensors", safetensorsFile(header, make([]byte, size)))
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := os.Truncate(path, 8192); err != nil {
			t.Fatal(err)
		}
		if !faultsHaveAddress(f.maps[0].data) {
			t.Skip("the system does not say where a fault was, as some emulators do not")
		}
		e, _ := f.Lookup("w")
		wantError(t, e.ReadFloat32s(make([]float32, n), 0), "has changed")
		if dtype != U8 {
			wantError(t, Finite(f), "w", "has changed")
		}
		if err := WriteFile(path+".copy", f, nil); err == nil {
			t.Error("writing what is not there: no error")
		}
	}
}
