package checkpoint

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"iter"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/tensor"
)

// safetensorsFile returns a file with this header and data.
func safetensorsFile(header string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

// A zipMember is a member of a test archive.
type zipMember struct {
	name     string
	data     []byte
	compress bool
}

// zipFile packs members as they are, or compressed.
func zipFile(members ...zipMember) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		h := &zip.FileHeader{Name: m.name, Method: zip.Store}
		if m.compress {
			h.Method = zip.Deflate
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			panic(err)
		}
		f.Write(m.data)
	}
	w.Close()
	return b.Bytes()
}

// torchFile packs a pickle and storages as torch.save does.
func torchFile(pickle []byte, storages map[string][]byte) []byte {
	members := []zipMember{{name: "archive/data.pkl", data: pickle}, {name: "archive/byteorder", data: []byte("little")}}
	for key, data := range storages {
		members = append(members, zipMember{name: "archive/data/" + key, data: data})
	}
	return zipFile(append(members, zipMember{name: "archive/version", data: []byte("3\n")})...)
}

// The test pickler: Go values in, protocol 2 out.
type (
	pyDict   []any // keys and values in turn
	pyTuple  []any
	pyGlobal string // module and name with a space between
	pyReduce struct {
		f    pyGlobal
		args pyTuple
	}
	pyRaw    string // opcodes
	pyTensor struct {
		class         string
		key           string
		n             int // elements of the storage
		offset        int
		shape, stride pyTuple
	}
)

func pickled(v any) []byte {
	return append(appendPickle([]byte{opProto, 2}, v), opStop)
}

func appendPickle(b []byte, v any) []byte {
	le := binary.LittleEndian
	switch v := v.(type) {
	case nil:
		return append(b, opNone)
	case bool:
		if v {
			return append(b, opNewTrue)
		}
		return append(b, opNewFalse)
	case int:
		return le.AppendUint32(append(b, opBinInt), uint32(v))
	case int64:
		return le.AppendUint64(append(b, opLong1, 8), uint64(v))
	case float64:
		return binary.BigEndian.AppendUint64(append(b, opBinFloat), math.Float64bits(v))
	case string:
		return append(le.AppendUint32(append(b, opBinUnicode), uint32(len(v))), v...)
	case []byte:
		return append(append(b, opShortBinBytes, byte(len(v))), v...)
	case []any:
		b = append(b, opEmptyList, opMark)
		for _, x := range v {
			b = appendPickle(b, x)
		}
		return append(b, opAppends)
	case pyDict:
		b = append(b, opEmptyDict, opMark)
		for _, x := range v {
			b = appendPickle(b, x)
		}
		return append(b, opSetItems)
	case pyTuple:
		b = append(b, opMark)
		for _, x := range v {
			b = appendPickle(b, x)
		}
		return append(b, opTuple)
	case pyGlobal:
		return append(append(b, opGlobal), strings.Replace(string(v), " ", "\n", 1)+"\n"...)
	case pyReduce:
		return append(appendPickle(appendPickle(b, v.f), v.args), opReduce)
	case pyRaw:
		return append(b, v...)
	case pyTensor:
		class := v.class
		if !strings.Contains(class, " ") {
			class = "torch " + class
		}
		id := pyTuple{"storage", pyGlobal(class), v.key, "cpu", v.n}
		storage := pyRaw(append(appendPickle(nil, id), opBinPersID))
		hooks := pyReduce{"collections OrderedDict", pyTuple{}}
		return appendPickle(b, pyReduce{"torch._utils _rebuild_tensor_v2", pyTuple{storage, v.offset, v.shape, v.stride, false, hooks}})
	}
	panic("no such type")
}

// floats returns the bytes of float32s.
func floats(v ...float32) []byte { return appendFloat32s(nil, v) }

// params is a Model of a few tensors.
type params []param

type param struct {
	name string
	t    *tensor.Tensor
}

func (p params) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		for _, x := range p {
			if !yield(x.name, x.t) {
				return
			}
		}
	}
}

// write puts a file into a new directory and returns its path.
func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// values returns all elements of the named tensor.
func values(t testing.TB, src Source, name string) []float32 {
	t.Helper()
	e, ok := src.Lookup(name)
	if !ok {
		t.Fatalf("no tensor %q", name)
	}
	v := make([]float32, e.Len())
	if err := e.ReadFloat32s(v, 0); err != nil {
		t.Fatal(err)
	}
	return v
}

// wantError checks that an error mentions all of the words.
func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that mentions %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error does not mention %q: %v", w, err)
		}
	}
	if len(err.Error()) > 4000 {
		t.Errorf("error of %d bytes", len(err.Error()))
	}
}
