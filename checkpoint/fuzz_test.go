package checkpoint

import (
	"bytes"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/tensor"
)

// exercise uses a file in every way. None may panic, and what is written must read
// back as the same.
func exercise(t *testing.T, f *File) {
	for name := range f.Names() {
		e, ok := f.Lookup(name)
		if !ok {
			t.Fatalf("no tensor %q, which Names yields", name)
		}
		if e.Len() > 1<<20 {
			return // a tensor may repeat its elements
		}
		v, err := e.Float32s()
		if err == nil && len(v) != e.Len() {
			t.Fatalf("%v: %d values", e, len(v))
		}
		if n := e.Len() / 2; err == nil {
			part := make([]float32, e.Len()-n)
			if err := e.ReadFloat32s(part, n); err != nil || !bytes.Equal(floats(part...), floats(v[n:]...)) {
				t.Fatalf("%v: the second half differs (%v)", e, err)
			}
		}
	}
	Finite(f)
	Load(params{{"w", tensor.New(2)}}, f, nil)
	var b bytes.Buffer
	if err := Write(&b, f, f.Metadata()); err != nil {
		return // names and types that safetensors files cannot have
	}
	again, err := Parse("again", b.Bytes())
	if err != nil {
		t.Fatalf("what was written cannot be read: %v", err)
	}
	if a, b := len(slices.Collect(f.Names())), len(slices.Collect(again.Names())); a != b {
		t.Fatalf("%d tensors became %d", a, b)
	}
	for name := range f.Names() {
		x, _ := f.Lookup(name)
		y, ok := again.Lookup(name)
		a, err := x.Bytes()
		if err != nil {
			t.Fatal(err) // it was written before
		}
		if b, err := y.Bytes(); !ok || err != nil || !bytes.Equal(a, b) || !slices.Equal(x.Shape(), y.Shape()) || x.DType() != y.DType() {
			t.Fatalf("%v became %v", x, y)
		}
	}
}

func FuzzSafetensors(f *testing.F) {
	f.Add(oneTensor("w", 1))
	f.Add(safetensorsFile(`{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,1],"data_offsets":[3,7]},"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}`, make([]byte, 7)))
	f.Add(safetensorsFile(`{"w":{"dtype":"F4","shape":[2,2,2],"data_offsets":[0,4]},"":{"dtype":"I64","shape":[0],"data_offsets":[4,4]}} `, make([]byte, 4)))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &mapping{data: data}
		file, err := parseSafetensors(m, "fuzz")
		if err == nil {
			exercise(t, file)
		}
	})
}

// FuzzHeader tries headers that are followed by as much data as they ask for.
func FuzzHeader(f *testing.F) {
	f.Add(`{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}`, 24)
	f.Add(`{"a":{"dtype":"F16","shape":[],"data_offsets":[0,2]},"b":{"dtype":"F8_E4M3","shape":[1,1],"data_offsets":[2,3]}}`, 3)
	f.Fuzz(func(t *testing.T, header string, n int) {
		file, err := parseSafetensors(&mapping{data: safetensorsFile(header, make([]byte, n&0xffff))}, "fuzz")
		if err == nil {
			exercise(t, file)
		}
	})
}

// seeds are objects of PyTorch files.
func seeds() []any {
	return []any{
		pyDict{"w", vector("0", 4)},
		pyDict{"state_dict", pyDict{"w", pyTensor{"FloatStorage", "0", 4, 1, pyTuple{2, 1}, pyTuple{1, 2}}}, "epoch", 3, "lr", []any{0.5, nil, true}},
		pyReduce{"collections OrderedDict", pyTuple{[]any{pyTuple{"w", vector("0", 4)}}}},
		pyReduce{"torch._utils _rebuild_parameter", pyTuple{vector("0", 4), true, nil}},
		pyDict{"x", pyReduce{"_codecs encode", pyTuple{"a\u00ff", "latin1"}}, "y", pyReduce{"torch Size", pyTuple{pyTuple{1, 2}}}},
		pyRaw("]q\x00h\x00a"),
		pyRaw("\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R\x94(\x8c\x01wK\x01u}b"),
	}
}

func FuzzTorch(f *testing.F) {
	for i, v := range seeds() {
		f.Add(zipFile(zipMember{"m/data.pkl", pickled(v), i%2 == 1}, zipMember{"m/data/0", floats(1, 2, 3, 4), i%3 == 2}))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, inert := range [][]string{nil, {"a.b"}} {
			file, err := parseTorch(&mapping{data: data}, "fuzz", inert)
			if err == nil {
				exercise(t, file)
			}
		}
		if file, err := Parse("fuzz", data); err == nil {
			exercise(t, file)
		}
	})
}

// FuzzPickle tries pickles in an archive that is in order.
func FuzzPickle(f *testing.F) {
	for _, v := range seeds() {
		f.Add(pickled(v))
	}
	f.Fuzz(func(t *testing.T, pickle []byte) {
		file, err := Parse("fuzz", torchFile(pickle, map[string][]byte{"0": floats(1, 2, 3, 4)}))
		if err == nil {
			exercise(t, file)
		}
	})
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"x":[1]},"weight_map":{"a":"1","b":"2"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		names, shardOf, err := parseIndex(data)
		if err == nil && len(names) != len(shardOf) {
			t.Fatalf("%d names, %d in the map", len(names), len(shardOf))
		}
	})
}
