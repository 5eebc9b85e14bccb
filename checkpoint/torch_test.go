package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// vector is a test tensor of one dimension that is all of a FloatStorage.
func vector(key string, n int) pyTensor {
	return pyTensor{"FloatStorage", key, n, 0, pyTuple{n}, pyTuple{1}}
}

// parseTorchFile reads a file with this object and these storages, without looking
// for a state dict in it.
func parseTorchFile(v any, storages map[string][]byte, inert ...string) (*File, error) {
	return parseTorch(&mapping{data: torchFile(pickled(v), storages)}, "x.pt", inert)
}

func TestTorch(t *testing.T) {
	six := map[string][]byte{"0": floats(0, 1, 2, 3, 4, 5), "1": {0x80, 0x3f}}
	view := func(offset int, shape, stride pyTuple) pyTensor {
		return pyTensor{"FloatStorage", "0", 6, offset, shape, stride}
	}
	root := pyDict{
		"rows", view(0, pyTuple{2, 3}, pyTuple{3, 1}),
		"columns", view(0, pyTuple{3, 2}, pyTuple{1, 3}),
		"part", view(1, pyTuple{2, 2}, pyTuple{3, 1}),
		"repeated", view(2, pyTuple{2, 3}, pyTuple{1, 0}),
		"last", view(5, pyTuple{}, pyTuple{}),
		"ones", view(3, pyTuple{1, 2, 1}, pyTuple{100, 1, 77}),
		"empty", view(6, pyTuple{0, 3}, pyTuple{3, 1}),
		"half", pyTensor{"BFloat16Storage", "1", 1, 0, pyTuple{1}, pyTuple{1}},
		"parameter", pyReduce{"torch._utils _rebuild_parameter", pyTuple{view(4, pyTuple{2}, pyTuple{1}), true, nil}},
		"subclass", pyReduce{"torch._tensor _rebuild_from_type_v2", pyTuple{
			pyGlobal("torch._utils _rebuild_tensor"), pyGlobal("torch.nn.parameter Parameter"),
			pyTuple{storageID("torch FloatStorage", "0", 6), 4, pyTuple{2}, pyTuple{1}}, pyDict{"x", 1}}},
		"typed", pyReduce{"torch._utils _rebuild_tensor_v3", pyTuple{
			storageID("torch.storage UntypedStorage", "1", 2), 0, pyTuple{1}, pyTuple{1}, false, nil, pyGlobal("torch uint16")}},
		"nested", []any{pyDict{7, pyTuple{nil, vector("0", 6)}}},
	}
	f, err := parseTorchFile(root, six)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		name, entry string
		values      []float32
	}{
		{"rows", "F32[2 3]", []float32{0, 1, 2, 3, 4, 5}},
		{"columns", "F32[3 2]", []float32{0, 3, 1, 4, 2, 5}},
		{"part", "F32[2 2]", []float32{1, 2, 4, 5}},
		{"repeated", "F32[2 3]", []float32{2, 2, 2, 3, 3, 3}},
		{"last", "F32[]", []float32{5}},
		{"ones", "F32[1 2 1]", []float32{3, 4}},
		{"empty", "F32[0 3]", []float32{}},
		{"half", "BF16[1]", []float32{1}},
		{"parameter", "F32[2]", []float32{4, 5}},
		{"subclass", "F32[2]", []float32{4, 5}},
		{"typed", "U16[1]", []float32{0x3f80}},
		{"nested.0.7.1", "F32[6]", []float32{0, 1, 2, 3, 4, 5}},
	}
	names := slices.Collect(f.Names())
	for i, w := range want {
		if i >= len(names) || names[i] != w.name {
			t.Fatalf("names %q, want %q in place %d", names, w.name, i)
		}
		e, _ := f.Lookup(w.name)
		if got := fmt.Sprint(e); got != w.entry {
			t.Errorf("%s is %s, want %s", w.name, got, w.entry)
		}
		if got := values(t, f, w.name); !slices.Equal(got, w.values) {
			t.Errorf("%s is %v, want %v", w.name, got, w.values)
		}
		raw, err := e.Bytes()
		if err != nil || e.DType() == F32 && !bytes.Equal(raw, floats(w.values...)) {
			t.Errorf("%s has bytes %v, %v", w.name, raw, err)
		}
		for from := range e.Len() + 1 { // every piece
			for n := range e.Len() - from + 1 {
				got := make([]float32, n)
				if err := e.ReadFloat32s(got, from); err != nil || !slices.Equal(got, w.values[from:from+n]) {
					t.Errorf("%s from %d: %v, want %v (%v)", w.name, from, got, w.values[from:from+n], err)
				}
			}
		}
	}
	if len(names) != len(want) {
		t.Errorf("names %q, want %d of them", names, len(want))
	}
}

// storageID is a storage as it is named in a pickle.
func storageID(class, key string, n int) pyRaw {
	return pyRaw(append(appendPickle(nil, pyTuple{"storage", pyGlobal(class), key, "cpu", n}), opBinPersID))
}

// TestTorchLargeView reads a transposed matrix that takes more than one piece.
func TestTorchLargeView(t *testing.T) {
	const rows, cols = 301, 97
	data := make([]float32, rows*cols)
	for i := range data {
		data[i] = float32(i)
	}
	f, err := parseTorchFile(pyTensor{"FloatStorage", "0", rows * cols, 0, pyTuple{cols, rows}, pyTuple{1, cols}}, map[string][]byte{"0": floats(data...)})
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range values(t, f, "") {
		if want := float32(i%rows*cols + i/rows); v != want {
			t.Fatalf("element %d is %v, want %v", i, v, want)
		}
	}
}

func TestTorchValues(t *testing.T) {
	f, err := parseTorchFile(pyDict{
		"none", nil, "yes", true, "no", false, "int", -3, "big", int64(1) << 40, "float", 0.5, "text", "é", "bytes", []byte{1, 2},
		"huge", pyRaw("\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01"), "negative", pyRaw("\x8a\x02\x00\xff"), "zero", pyRaw("\x8a\x00"),
		"list", []any{1, "x"}, "tuple", pyTuple{1, 2, 3}, "size", pyReduce{"torch Size", pyTuple{pyTuple{4, 5}}},
		"dict", pyDict{1, "one", 2.5, "x", true, nil, nil, 3},
		"ordered", pyReduce{"collections OrderedDict", pyTuple{[]any{pyTuple{"k", 1}, []any{"l", 2}}}},
		"set", pyReduce{"__builtin__ set", pyTuple{[]any{1, 2}}}, "complex", pyReduce{"builtins complex", pyTuple{1.0, -2.0}},
		"latin", pyReduce{"_codecs encode", pyTuple{"\u00ffa", "latin1"}}, "dtype", pyGlobal("torch bfloat16"),
		"array", pyReduce{"builtins bytearray", pyTuple{[]byte("ab")}}, "nothing", pyReduce{"__builtin__ bytes", pyTuple{}}, "frozen", pyReduce{"builtins frozenset", pyTuple{pyTuple{1}}},
		"device", pyReduce{"torch device", pyTuple{"cuda", 0}}, "file", pyRaw(append(appendPickle(nil, pyGlobal("_io BytesIO")), ")\x81(K\x01K\x02tb"...)),
		"inert", pyRaw(append(appendPickle(nil, pyReduce{"omegaconf.DictConfig new", pyTuple{7}}), "(K\x01K\x02u"...)), "class", pyGlobal("typing Any"),
	}, nil, "omegaconf.DictConfig.new", "typing.Any")
	if err != nil {
		t.Fatal(err)
	}
	d := f.Root().(*Dict)
	want := map[string]string{
		"none": "<nil>", "yes": "true", "no": "false", "int": "-3", "big": "1099511627776", "float": "0.5", "text": "é", "bytes": "[1 2]",
		"huge": "18446744073709551616", "negative": "-256", "zero": "0", "list": "&{[1 x]}", "tuple": "[1 2 3]", "size": "[4 5]",
		"set": "&{[1 2]}", "complex": "(1-2i)", "array": "[97 98]", "nothing": "[]", "frozen": "&{[1]}", "latin": "[255 97]", "dtype": "BF16", "device": "&{torch.device [cuda 0] <nil> []}",
		"file": "&{_io.BytesIO [] [1 2] []}", "inert": "&{omegaconf.DictConfig.new [7] <nil> [1 2]}", "class": "typing.Any",
	}
	for key, value := range d.All() {
		w, ok := want[key.(string)]
		if got := fmt.Sprint(value); ok && got != w {
			t.Errorf("%s is %s, want %s", key, got, w)
		}
	}
	if v, _ := d.Get("huge"); v.(*big.Int).BitLen() != 65 {
		t.Errorf("huge is %v", v)
	}
	if v, _ := d.Get("int"); v != any(int64(-3)) {
		t.Errorf("int is a %T", v)
	}
	inner, _ := d.Get("dict")
	for key, want := range map[any]any{int64(1): "one", 2.5: "x", true: nil, nil: int64(3)} {
		if got, ok := inner.(*Dict).Get(key); !ok || got != want {
			t.Errorf("dict[%v] is %v, want %v", key, got, want)
		}
	}
	if _, ok := d.Get([]byte("int")); ok {
		t.Error("Get finds a slice")
	}
	ordered, _ := d.Get("ordered")
	if got, ok := ordered.(*Dict).Get("l"); !ok || got != any(int64(2)) || ordered.(*Dict).Len() != 2 {
		t.Errorf("ordered is %v", ordered)
	}
	if names := slices.Collect(f.Names()); len(names) != 0 {
		t.Errorf("tensors %q", names)
	}
}

// TestPickleProtocol4 runs the opcodes of newer protocols and those that move the
// stack.
func TestPickleProtocol4(t *testing.T) {
	for protocol := range byte(7) {
		pickle := "\x80" + string(rune(protocol)) + "\x95\x00\x00\x00\x00\x00\x00\x00\x00" + "}\x94(" +
			"\x8c\x01a\x94(K\x01K\x02\x91" +
			"\x8c\x01b\x8f\x94(K\x03K\x04\x90" +
			"\x8c\x01c\x8c\x0bcollections\x8c\x0bOrderedDict\x93)}\x92" +
			"\x8c\x01d\x96\x02\x00\x00\x00\x00\x00\x00\x00xy" +
			"\x8c\x01eM\x09\x01(K\x01K\x021K\x030(0" + // a number; then what is popped again
			"\x8d\x01\x00\x00\x00\x00\x00\x00\x00fh\x022" + // the set of before, twice
			"u."
		_, err := unpickle([]byte(pickle), nil, nil)
		if protocol < 2 || protocol > 5 {
			wantError(t, err, "protocol 2 to 5")
			continue
		}
		wantError(t, err, "a key without a value")
		v, err := unpickle([]byte(strings.Replace(pickle, "2u.", "0h\x02u.", 1)), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		d := v.(*Dict)
		for key, want := range map[string]string{"a": "&{[1 2]}", "b": "&{[3 4]}", "d": "[120 121]", "e": "265", "f": "&{[3 4]}"} {
			if got, _ := d.Get(key); fmt.Sprint(got) != want {
				t.Errorf("%s is %v, want %s", key, got, want)
			}
		}
		if c, _ := d.Get("c"); c.(*Dict).Len() != 0 || d.Len() != 6 {
			t.Errorf("c is %v", c)
		}
		b, _ := d.Get("b")
		if f, _ := d.Get("f"); f != b {
			t.Error("the set is not the same object")
		}
	}
}

func TestTorchMetadata(t *testing.T) {
	f, err := parseTorchFile(pyRaw(append(append(appendPickle(nil, pyDict{"w", vector("0", 1)}),
		appendPickle(nil, pyDict{"_metadata", pyDict{"", pyDict{"version", 1}}})...), opBuild)), map[string][]byte{"0": floats(1)})
	if err != nil {
		t.Fatal(err)
	}
	m, ok := f.Root().(*Dict).Attr("_metadata")
	if !ok || m.(*Dict).Len() != 1 {
		t.Errorf("_metadata is %v", m)
	}
	if _, ok := f.Root().(*Dict).Attr("other"); ok {
		t.Error("an attribute that is not there")
	}
	if names := slices.Collect(f.Names()); !slices.Equal(names, []string{"w"}) {
		t.Errorf("names %q", names)
	}
}

func TestTorchUnwrap(t *testing.T) {
	w := vector("0", 1)
	optimizer := pyDict{"state", pyDict{0, pyDict{"exp_avg", w}}, "param_groups", []any{pyDict{"lr", 0.1}}}
	for _, c := range []struct {
		name string
		root any
		want []string
	}{
		{"bare", pyDict{"a.w", w, "b", w}, []string{"a.w", "b"}},
		{"Lightning", pyDict{"epoch", 3, "state_dict", pyDict{"model.w", w}, "optimizer_states", []any{optimizer}, "callbacks", pyDict{"x", pyDict{"best", w}}}, []string{"model.w"}},
		{"tensors beside it", pyDict{"step", w, "model_state_dict", pyDict{"w", w}}, []string{"w"}},
		{"composer", pyDict{"state", pyDict{"model", pyDict{"model.w", w}, "seed", 1, "optimizers", pyDict{"adam", optimizer}}, "rng", []any{}}, []string{"model.w"}},
		{"only one", pyDict{"net", pyDict{"w", w}, "args", pyDict{"n", 1}}, []string{"w"}},
		{"model and average", pyDict{"model", pyDict{"w", w}, "ema", pyDict{"w", w}}, []string{"w"}},
		{"two", pyDict{"generator", pyDict{"w", w}, "critic", pyDict{"w", w}}, []string{"generator.w", "critic.w"}},
		{"parts", pyDict{"w", w, "model", pyDict{"w", w}}, []string{"w", "model.w"}},
		{"list", []any{w, pyDict{"w", w}}, []string{"0", "1.w"}},
		{"nothing", pyDict{"state_dict", pyDict{}}, nil},
	} {
		data := torchFile(pickled(c.root), map[string][]byte{"0": floats(1)})
		f, err := Parse("x.pt", data)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := slices.Collect(f.Names()); !slices.Equal(got, c.want) {
			t.Errorf("%s: names %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTorchHostile(t *testing.T) {
	store := map[string][]byte{"0": floats(1, 2, 3, 4)}
	tensor := func(class, key string, n, offset int, shape, stride pyTuple) pyDict {
		return pyDict{"w", pyTensor{class, key, n, offset, shape, stride}}
	}
	wide := make(pyTuple, 65)
	for i := range wide {
		wide[i] = 1
	}
	nested := pyRaw(strings.Repeat("]", 200) + strings.Repeat("a", 199))
	// Every list holds the one before twice: 2^40 objects when written out.
	laughs := pyRaw("]q\x000" + strings.Repeat("](h\x00h\x00eq\x000", 40) + "h\x00")
	for _, c := range []struct {
		name  string
		root  any
		words []string
	}{
		{"os.system", pyReduce{"os system", pyTuple{"true"}}, []string{`"os.system"`}},
		{"eval", pyDict{"w", pyReduce{"__builtin__ eval", pyTuple{"1"}}}, []string{`"builtins.eval"`}},
		{"torch.load", pyGlobal("torch load"), []string{`"torch.load"`}},
		{"getattr through collections", pyGlobal("collections OrderedDict.__init__"), []string{`"collections.OrderedDict.__init__"`}},
		{"unknown storage", tensor("QInt8Storage", "0", 16, 0, pyTuple{16}, pyTuple{1}), []string{"torch.QInt8Storage"}},
		{"storage class called", pyReduce{"torch FloatStorage", pyTuple{4}}, []string{"torch.FloatStorage", "not a function"}},
		{"call of a string", pyRaw("X\x01\x00\x00\x00x)R"), []string{"calls a str"}},
		{"call with a list", pyRaw("ctorch\nSize\n]R"), []string{"torch.Size", "a list"}},
		{"no such storage", tensor("FloatStorage", "7", 4, 0, pyTuple{4}, pyTuple{1}), []string{`"data/7"`}},
		{"path in the key", tensor("FloatStorage", "../version", 2, 0, pyTuple{4}, pyTuple{1}), []string{`"data/../version"`}},
		{"storage size lies up", tensor("FloatStorage", "0", 5, 0, pyTuple{4}, pyTuple{1}), []string{`storage "0"`, "5 elements of F32", "16 bytes"}},
		{"storage size lies down", tensor("FloatStorage", "0", 3, 0, pyTuple{3}, pyTuple{1}), []string{`storage "0"`, "3 elements of F32"}},
		{"storage size negative", tensor("FloatStorage", "0", -4, 0, pyTuple{3}, pyTuple{1}), []string{`storage "0"`, "-4 elements"}},
		{"storage size 2^31-1", tensor("FloatStorage", "0", 1<<31-1, 0, pyTuple{3}, pyTuple{1}), []string{`storage "0"`}},
		{"beyond the storage", tensor("FloatStorage", "0", 4, 1, pyTuple{4}, pyTuple{1}), []string{"reach beyond the storage of 4"}},
		{"stride beyond the storage", tensor("FloatStorage", "0", 4, 0, pyTuple{2, 2}, pyTuple{3, 1}), []string{"reach beyond"}},
		{"offset beyond the storage", tensor("FloatStorage", "0", 4, 5, pyTuple{0}, pyTuple{1}), []string{"reach beyond"}},
		{"offset negative", tensor("FloatStorage", "0", 4, -1, pyTuple{2}, pyTuple{1}), []string{"reach beyond"}},
		{"shape negative", tensor("FloatStorage", "0", 4, 0, pyTuple{-1}, pyTuple{1}), []string{"shape", "-1"}},
		{"stride negative", tensor("FloatStorage", "0", 4, 3, pyTuple{2}, pyTuple{-1}), []string{"strides", "-1"}},
		{"shape overflows", tensor("FloatStorage", "0", 4, 0, pyTuple{int64(1) << 32, int64(1) << 32}, pyTuple{0, 0}), []string{"shape"}},
		{"stride overflows", tensor("FloatStorage", "0", 4, 0, pyTuple{5, 5}, pyTuple{int64(1) << 62, int64(1) << 62}), []string{"strides", "4611686018427387904"}},
		{"expanded to 2^40", tensor("FloatStorage", "0", 4, 0, pyTuple{int64(1) << 40}, pyTuple{0}), []string{"1099511627776"}},
		{"shape and strides differ", tensor("FloatStorage", "0", 4, 0, pyTuple{2, 2}, pyTuple{1}), []string{"differ in length"}},
		{"many dimensions", tensor("FloatStorage", "0", 4, 0, wide, wide), []string{"65 numbers"}},
		{"shape of strings", tensor("FloatStorage", "0", 4, 0, pyTuple{"4"}, pyTuple{1}), []string{"shape", "a str"}},
		{"tensor without storage", pyReduce{"torch._utils _rebuild_tensor_v2", pyTuple{1, 0, pyTuple{1}, pyTuple{1}, false, nil}}, []string{"_rebuild_tensor_v2", "storage is an int"}},
		{"too few arguments", pyReduce{"torch._utils _rebuild_tensor_v2", pyTuple{}}, []string{"_rebuild_tensor_v2", "0 arguments"}},
		{"bare storage", pyDict{"w", storageID("torch FloatStorage", "0", 4)}, []string{"storage that is not part of a tensor"}},
		{"persistent id of another kind", pyRaw("X\x01\x00\x00\x00xQ"), []string{"persistent id"}},
		{"persistent id of wrong types", pyRaw(append(appendPickle(nil, pyTuple{"storage", 1, 2, "cpu", "x"}), 'Q')), []string{"persistent id", "an int"}},
		{"list in itself", pyRaw("]q\x00h\x00a"), []string{"contains itself"}},
		{"tuple in itself", pyRaw("]q\x00h\x00\x85q\x01a"), []string{"contains itself"}},
		{"dict in itself", pyRaw("}q\x00X\x01\x00\x00\x00xh\x00s"), []string{"contains itself"}},
		{"attribute of itself", pyRaw("}q\x00h\x00b"), []string{"contains itself"}},
		{"object in itself", pyRaw("c_io\nBytesIO\n)\x81q\x00h\x00b"), []string{"contains itself"}},
		{"deep", nested, []string{"deeper than 100"}},
		{"billion laughs", laughs, []string{"more than 4194304 objects"}},
		{"same path twice", pyDict{"a.b", vector("0", 4), "a", pyDict{"b", vector("0", 4)}}, []string{`two tensors called "a.b"`}},
		{"list as key", pyDict{[]any{}, 1}, []string{"key of type"}},
		{"append to a dict", pyRaw("}K\x01a"), []string{"appends to a dict"}},
		{"item of a list", pyRaw("]K\x01K\x02s"), []string{"sets an item of a list"}},
		{"key without value", pyRaw("}(K\x01u"), []string{"a key without a value"}},
		{"state of a list", pyRaw("]}b"), []string{"sets the state of a list"}},
		{"stack underflow", pyRaw("0"), []string{"from the stack"}},
		{"tuple below a mark", pyRaw("K\x01K\x02(\x86"), []string{"from the stack"}},
		{"no mark", pyRaw("K\x01t"), []string{"no mark"}},
		{"mark left over", pyRaw("K\x01("), []string{"on the stack"}},
		{"two objects left over", pyRaw("K\x01K\x02"), []string{"2 objects on the stack"}},
		{"nothing", pyRaw(""), []string{"0 objects on the stack"}},
		{"memo that was not stored", pyRaw("h\x05"), []string{"object 5 was not stored"}},
		{"text opcode", pyRaw("I1\n"), []string{"opcode", "does not write"}},
		{"INST", pyRaw("(S'true'\nios\nsystem\n"), []string{"opcode"}},
		{"extension", pyRaw("\x82\x01"), []string{"opcode"}},
		{"string of 2^32-1 bytes", pyRaw("X\xff\xff\xff\xffabc"), []string{"cut off"}},
		{"string of 2^64-1 bytes", pyRaw("\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc"), []string{"cut off"}},
		{"string that is not UTF-8", pyRaw("X\x01\x00\x00\x00\xff"), []string{"UTF-8"}},
		{"encoding", pyReduce{"_codecs encode", pyTuple{"x", "rot13"}}, []string{"latin1"}},
		{"latin1 of more", pyReduce{"_codecs encode", pyTuple{"\u0100", "latin1"}}, []string{"latin1"}},
		{"set of a number", pyReduce{"builtins set", pyTuple{1}}, []string{"builtins.set", "a list"}},
		{"set of two", pyReduce{"builtins set", pyTuple{pyTuple{}, pyTuple{}}}, []string{"builtins.set", "a list"}},
		{"dict of a dict", pyReduce{"collections OrderedDict", pyTuple{pyDict{}}}, []string{"OrderedDict", "list of pairs"}},
		{"dict of threes", pyReduce{"collections OrderedDict", pyTuple{[]any{pyTuple{1, 2, 3}}}}, []string{"OrderedDict", "list of pairs"}},
		{"complex of ints", pyReduce{"builtins complex", pyTuple{1, 2}}, []string{"builtins.complex", "floats"}},
		{"bytes of a number", pyReduce{"builtins bytes", pyTuple{1000000000}}, []string{"builtins.bytes"}},
		{"size of a number", pyReduce{"torch Size", pyTuple{1}}, []string{"torch.Size", "tuple"}},
		{"parameter of a number", pyReduce{"torch._utils _rebuild_parameter", pyTuple{1, true, nil}}, []string{"_rebuild_parameter", "tensor"}},
		{"subclass by eval", pyReduce{"torch._tensor _rebuild_from_type_v2", pyTuple{pyGlobal("torch Size"), pyGlobal("torch Tensor"), pyTuple{pyTuple{}}, nil}}, []string{"_rebuild_from_type_v2"}},
		{"type that is none", pyReduce{"torch._utils _rebuild_tensor_v3", pyTuple{storageID("torch UntypedStorage", "0", 16), 0, pyTuple{1}, pyTuple{1}, false, nil, "float32"}}, []string{"_rebuild_tensor_v3", "a str"}},
		{"type of another storage", pyReduce{"torch._utils _rebuild_tensor_v3", pyTuple{storageID("torch FloatStorage", "0", 4), 0, pyTuple{1}, pyTuple{1}, false, nil, pyGlobal("torch float64")}}, []string{"_rebuild_tensor_v3", "F64", "F32"}},
		{"named arguments", pyRaw(append(appendPickle(append(appendPickle(nil, pyGlobal("collections OrderedDict")), ")"...), pyDict{"a", 1}), opNewObjEx)), []string{"OrderedDict", "named arguments"}},
		{"global without end", pyRaw("cos"), []string{"cut off"}},
		{"global of a number", pyRaw("K\x01K\x02\x93"), []string{"not a string"}},
	} {
		_, err := parseTorchFile(c.root, store)
		t.Run(c.name, func(t *testing.T) { wantError(t, err, append(c.words, "x.pt", "data.pkl")...) })
	}
}

// TestPickleCopies checks that a pickle cannot make much of little by calling
// functions that copy.
func TestPickleCopies(t *testing.T) {
	long := pyRaw(append(appendPickle(nil, strings.Repeat("x", 1<<20)), "q\x00"...))
	many := make([]any, 1<<16)
	for _, c := range []struct {
		name  string
		first pyRaw
		again string
	}{
		{"encode", long, "c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R0"},
		{"set", pyRaw(append(appendPickle(nil, many), "q\x00"...)), "cbuiltins\nset\nh\x00\x85R0"},
		{"dicts", "N", "}0"},
	} {
		pickle := pickled(c.first)
		pickle = append(pickle[:len(pickle)-1], strings.Repeat(c.again, 3<<20)...)
		_, err := unpickle(append(pickle, opStop), nil, nil)
		if err == nil {
			t.Errorf("%s: no error", c.name)
		}
	}
	_, err := unpickle(append([]byte{opProto, 2}, make([]byte, maxPickle)...), nil, nil)
	wantError(t, err, "at most")
	_, err = unpickle(append([]byte{opProto, 2}, bytes.Repeat([]byte("N"), maxStack+1)...), nil, nil)
	wantError(t, err, "on the stack")
	_, err = unpickle(append([]byte{opProto, 2}, bytes.Repeat([]byte("("), maxStack+1)...), nil, nil)
	wantError(t, err, "marks")
	_, err = unpickle(append([]byte{opProto, 2}, bytes.Repeat([]byte("N0"), maxOps/2+1)...), nil, nil)
	wantError(t, err, "opcodes")
}

func TestTorchZip(t *testing.T) {
	pickle := pickled(pyDict{"w", vector("0", 1000)})
	data := floats(make([]float32, 1000)...)
	data[4] = 1
	good := []zipMember{{"m/data.pkl", pickle, false}, {"m/data/0", data, false}}
	for _, c := range []struct {
		name    string
		members []zipMember
		words   []string // nil if it is fine
	}{
		{"stored", good, nil},
		{"compressed", []zipMember{{"m/data.pkl", pickle, true}, {"m/data/0", data, true}}, nil},
		{"no pickle", []zipMember{{"m/data/0", data, false}}, []string{"data.pkl"}},
		{"pickle too deep", []zipMember{{"m/n/data.pkl", pickle, false}}, []string{"data.pkl"}},
		{"two pickles", append(good, zipMember{"n/data.pkl", pickle, false}), []string{"m", "n"}},
		{"member twice", append(good, zipMember{"m/data/0", data, false}), []string{"m/data/0", "twice"}},
		{"big-endian", append(good, zipMember{"m/byteorder", []byte("big"), false}), []string{"byte order"}},
		{"empty", nil, []string{"no known format"}},
	} {
		f, err := Parse("x.pt", zipFile(c.members...))
		if c.words != nil {
			wantError(t, err, append(c.words, "x.pt")...)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := values(t, f, "w"); got[0] != 0 || len(got) != 1000 {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	whole := zipFile(good...)
	for n := 4; n < len(whole); n += 7 {
		if _, err := Parse("cut.pt", whole[:n]); err == nil {
			t.Errorf("no error for the first %d bytes of %d", n, len(whole))
		}
	}
}

// TestTorchBomb reads files whose members claim to be larger or smaller than what
// is in them.
func TestTorchBomb(t *testing.T) {
	pickle := pickled(pyDict{"w", vector("0", 1<<20)})
	data := zipFile(zipMember{"m/data.pkl", pickle, false}, zipMember{"m/data/0", make([]byte, 4<<20), true})
	if len(data) > 10000 {
		t.Fatalf("the bomb has %d bytes", len(data))
	}
	f, err := Parse("x.pt", data)
	if err != nil {
		t.Fatal(err) // as large as it says is fine
	}
	if got := values(t, f, "w"); len(got) != 1<<20 {
		t.Errorf("%d values", len(got))
	}
	f.Close()
	e, _ := f.Lookup("w")
	wantError(t, e.ReadFloat32s(make([]float32, 1), 0), "closed")

	// The sizes in the directory at the end are those that count.
	patch := func(old, size uint32) []byte {
		b := slices.Clone(data)
		at := bytes.LastIndex(b, []byte("PK\x01\x02")) + 24
		if binary.LittleEndian.Uint32(b[at:]) != old {
			t.Fatal("not the size")
		}
		binary.LittleEndian.PutUint32(b[at:], size)
		return b
	}
	_, err = Parse("x.pt", patch(4<<20, 4<<20-4))
	wantError(t, err, "x.pt", `storage "0"`)
	_, err = Parse("x.pt", patch(4<<20, 1<<31))
	wantError(t, err, "x.pt", "at most 1073741824")

	// Both the pickle and the directory say less than there is.
	small := zipFile(zipMember{"m/data.pkl", pickled(pyDict{"w", vector("0", 1000)}), false}, zipMember{"m/data/0", make([]byte, 4<<20), true})
	at := bytes.LastIndex(small, []byte("PK\x01\x02")) + 24
	binary.LittleEndian.PutUint32(small[at:], 4000)
	f, err = Parse("x.pt", small)
	if err != nil {
		t.Fatal(err)
	}
	e, _ = f.Lookup("w")
	wantError(t, e.ReadFloat32s(make([]float32, 1), 0), "m/data/0")

	// A pickle that is mostly air.
	_, err = Parse("x.pt", zipFile(zipMember{"m/data.pkl", make([]byte, maxPickle+1), true}))
	wantError(t, err, "x.pt", "data.pkl", "at most")
}
