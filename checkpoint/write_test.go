package checkpoint

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/tensor"
)

// TestWriteForm compares with what the reference implementation writes, byte by
// byte: the largest type first, names sorted, and so on.
func TestWriteForm(t *testing.T) {
	m := params{
		{"z", tensor.FromFloat32s([]float32{1, 2}, 2, 1)},
		{`<"é&\>`, tensor.FromFloat32s([]float32{3})},
		{"half", tensor.FromBFloat16s([]uint16{0x3f80}, 1)},
		{"a", tensor.FromFloat32s(nil, 0, 3)},
	}
	m[1].t = tensor.FromFloat32s([]float32{3}, []int{}...)
	src, err := FromModel(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Write(&b, src, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	header := `{"__metadata__":{"format":"pt"},` +
		`"<\"é&\\>":{"dtype":"F32","shape":[],"data_offsets":[0,4]},` +
		`"a":{"dtype":"F32","shape":[0,3],"data_offsets":[4,4]},` +
		`"z":{"dtype":"F32","shape":[2,1],"data_offsets":[4,12]},` +
		`"half":{"dtype":"BF16","shape":[1],"data_offsets":[12,14]}}`
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	want := safetensorsFile(header, append(floats(3, 1, 2), 0x80, 0x3f))
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("wrote\n%q, want\n%q", b.Bytes(), want)
	}
}

// formats returns models that hold the same numbers in every format and order.
func formats(rows, cols int) map[string]*tensor.Tensor {
	r := rand.New(rand.NewPCG(1, uint64(rows)))
	all := map[string]*tensor.Tensor{}
	for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16, tensor.Int8} {
		for _, pack := range []bool{false, true} {
			w := tensor.NewWeight(rows, cols)
			for i := range w.Data() {
				w.Data()[i] = float32(r.NormFloat64())
			}
			w.Convert(d)
			name := d.String()
			if pack {
				w.Pack()
				name += " packed"
			}
			all[name] = w
		}
	}
	return all
}

// TestSaveFormats saves parameters in every format, in sizes that take several
// pieces, and reads them back.
func TestSaveFormats(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {5, 7}, {33, 1000}, {3, 20001}} {
		for name, w := range formats(size[0], size[1]) {
			path := filepath.Join(t.TempDir(), "x.safetensors")
			if err := Save(path, params{{"w", w}}, func(name string) string { return "model." + name }); err != nil {
				t.Fatal(err)
			}
			f, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			e, _ := f.Lookup("model.w")
			dtype := F32
			if w.DType() == tensor.BFloat16 {
				dtype = BF16
			}
			if e == nil || e.DType() != dtype || !slices.Equal(e.Shape(), w.Shape()) {
				t.Fatalf("%s %v: the file has %v", name, size, e)
			}
			if !slices.Equal(values(t, f, "model.w"), w.Float32s()) {
				t.Errorf("%s %v: the values in the file differ", name, size)
			}
			if f.Metadata()["format"] != "pt" {
				t.Errorf("metadata %v", f.Metadata())
			}
			src, _ := FromModel(params{{"w", w}}, nil)
			p, _ := src.Lookup("w")
			for from := 0; from < p.Len(); from += max(1, p.Len()/7) {
				got := make([]float32, min(cols(w)+1, p.Len()-from))
				if err := p.ReadFloat32s(got, from); err != nil || !slices.Equal(got, w.Float32s()[from:from+len(got)]) {
					t.Errorf("%s %v: reading from %d differs (%v)", name, size, from, err)
				}
			}
			if v, err := p.Float32s(); err != nil || !slices.Equal(v, w.Float32s()) {
				t.Errorf("%s %v: Float32s differ (%v)", name, size, err)
			}
			raw1, err1 := p.Bytes()
			raw2, err2 := e.Bytes()
			if err1 != nil || err2 != nil || !bytes.Equal(raw1, raw2) {
				t.Errorf("%s %v: bytes differ (%v, %v)", name, size, err1, err2)
			}
		}
	}
}

func cols(w *tensor.Tensor) int { return w.Dim(-1) }

// TestWriteTwice checks that the order in a Source does not matter, that writing
// what was read changes nothing, and that every type can be written.
func TestWriteTwice(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	src := &table{entries: map[string]*Entry{}}
	for i, d := range order {
		raw := make([]byte, 12*(i+1)*d.Bits()/8)
		for j := range raw {
			raw[j] = byte(r.Uint32())
		}
		src.add(string(d), &Entry{dtype: d, shape: []int{3, i + 1, 4}, n: 12 * (i + 1), store: &storage{&mapping{}, len(raw), func() ([]byte, error) { return raw, nil }}})
	}
	var first bytes.Buffer
	if err := Write(&first, src, nil); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(src.names)
	f, err := Parse("first", first.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Source{src, f} {
		var again bytes.Buffer
		if err := Write(&again, s, nil); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first.Bytes(), again.Bytes()) {
			t.Errorf("%v: written again, the file differs", describe(s))
		}
	}
	for _, d := range order {
		a, _ := src.Lookup(string(d))
		b, _ := f.Lookup(string(d))
		x, _ := a.Bytes()
		y, _ := b.Bytes()
		if !bytes.Equal(x, y) || !slices.Equal(a.Shape(), b.Shape()) || b.DType() != d {
			t.Errorf("%s came back as %v", d, b)
		}
	}
}

func TestWriteErrors(t *testing.T) {
	w := tensor.New(2)
	for name, m := range map[string]params{
		"two parameters": {{"w", w}, {"w", tensor.New(3)}},
		"UTF-8":          {{"w\xff", w}},
		"is taken":       {{"__metadata__", w}},
	} {
		path := filepath.Join(t.TempDir(), "x.safetensors")
		wantError(t, Save(path, m, nil), name)
		if files, _ := os.ReadDir(filepath.Dir(path)); len(files) > 0 {
			t.Errorf("%s: left %v behind", name, files)
		}
	}
	f, err := parseTorchFile(pyDict{"c", pyTensor{"ComplexDoubleStorage", "0", 1, 0, pyTuple{1}, pyTuple{1}}}, map[string][]byte{"0": make([]byte, 16)})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, Write(&bytes.Buffer{}, f, nil), "x.pt", `"c"`, "C128")
	src, _ := FromModel(params{{"w", w}}, nil)
	full := errors.New("disk full")
	if err := Write(failingWriter{full}, src, nil); !errors.Is(err, full) {
		t.Errorf("error %v, want %v", err, full)
	}
	if err := WriteFile(filepath.Join(t.TempDir(), "no", "such", "folder"), src, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// TestWriteFileReplaces checks that a file is replaced as a whole, while the one
// before is open, or not at all.
func TestWriteFileReplaces(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows does not let a file that is mapped be replaced")
	}
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := Save(path, params{{"w", tensor.FromFloat32s([]float32{1, 2}, 2)}}, nil); err != nil {
		t.Fatal(err)
	}
	old, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	broken := &table{entries: map[string]*Entry{}}
	broken.add("w", &Entry{dtype: F32, shape: []int{1}, n: 1, store: &storage{&mapping{}, 4, func() ([]byte, error) { return nil, errors.New("unreadable") }}})
	wantError(t, WriteFile(path, broken, nil), `"w"`, "unreadable")
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a failed write has changed the file (%v)", err)
	}
	if err := Save(path, params{{"w", tensor.New(1000)}}, nil); err != nil {
		t.Fatal(err)
	}
	if got := values(t, old, "w"); !slices.Equal(got, []float32{1, 2}) {
		t.Errorf("the old file, still open, has %v", got)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := values(t, f, "w"); len(got) != 1000 {
		t.Errorf("the new file has %d values", len(got))
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("files %v, want one", files)
	}
}
