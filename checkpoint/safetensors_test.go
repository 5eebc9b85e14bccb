package checkpoint

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestSafetensors(t *testing.T) {
	// The header is not padded, so that no tensor is aligned, and the tensors are not
	// in the order of their places.
	header := `{"__metadata__":{"format":"pt","é":"\u00e9"},` +
		`"b":{"dtype":"F32","shape":[2,1],"data_offsets":[3,11]},` +
		`"bytes":{"data_offsets":[0,3],"shape":[3],"dtype":"U8"},` +
		`"scalar":{"dtype":"BF16","shape":[],"data_offsets":[11,13]},` +
		`"empty":{"dtype":"F64","shape":[4,0,9],"data_offsets":[13,13]}}  `
	data := append([]byte{1, 2, 255}, floats(1.5, -2)...)
	data = append(data, 0x80, 0x3f)
	f, err := Open(write(t, "x.safetensors", safetensorsFile(header, data)))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Collect(f.Names()), []string{"bytes", "b", "scalar", "empty"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	for name, want := range map[string][]float32{"bytes": {1, 2, 255}, "b": {1.5, -2}, "scalar": {1}, "empty": {}} {
		if got := values(t, f, name); !slices.Equal(got, want) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if m := f.Metadata(); len(m) != 2 || m["format"] != "pt" || m["é"] != "é" {
		t.Errorf("metadata %v", m)
	}
	if e, _ := f.Lookup("empty"); fmt.Sprint(e) != "F64[4 0 9]" {
		t.Errorf("empty is %v", e)
	}
	if _, ok := f.Lookup("nothing"); ok {
		t.Error("Lookup finds what is not there")
	}
	b, _ := f.Lookup("b")
	part := make([]float32, 1)
	if err := b.ReadFloat32s(part, 1); err != nil || part[0] != -2 {
		t.Errorf("second element %v, %v", part, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantError(t, b.ReadFloat32s(part, 0), "closed")
}

func TestSafetensorsHostile(t *testing.T) {
	entry := func(dtype, shape, offsets string) string {
		return fmt.Sprintf(`{"a.b":{"dtype":%q,"shape":%s,"data_offsets":%s}}`, dtype, shape, offsets)
	}
	two := func(offsets1, offsets2 string) string {
		return fmt.Sprintf(`{"a.b":{"dtype":"U8","shape":[4],"data_offsets":%s},"c":{"dtype":"U8","shape":[4],"data_offsets":%s}}`, offsets1, offsets2)
	}
	deep := `{"a.b":` + strings.Repeat(`[`, 1e6) + strings.Repeat(`]`, 1e6) + `}`
	for _, c := range []struct {
		name   string
		header string
		data   int
		words  []string
	}{
		{"array", `[]`, 0, []string{"no known format"}},
		{"object without end", `{`, 0, []string{"header", "JSON"}},
		{"text after the object", `{} x`, 0, []string{"header"}},
		{"second object", `{}{}`, 0, []string{"header", "end"}},
		{"tensor is a number", `{"a.b":1}`, 0, []string{`"a.b"`, "want an object"}},
		{"tensor is null", `{"a.b":null}`, 0, []string{`"a.b"`, "want an object"}},
		{"no field", `{"a.b":{}}`, 0, []string{`"a.b"`, "all of the fields"}},
		{"no shape", `{"a.b":{"dtype":"U8","data_offsets":[0,0]}}`, 0, []string{`"a.b"`, "all of the fields"}},
		{"unknown field", `{"a.b":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":{"y":[1]}}}`, 0, []string{`"a.b"`, `"x"`, "not a field"}},
		{"field twice", `{"a.b":{"dtype":"U8","shape":[0],"shape":[0],"data_offsets":[0,0]}}`, 0, []string{`"a.b"`, `"shape" twice`}},
		{"name twice", `{"a.b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a.b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0, []string{`"a.b" twice`}},
		{"name twice, written otherwise", `{"a.b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\u0061.b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0, []string{`"a.b" twice`}},
		{"not UTF-8", "{\"a\xff\":1}", 0, []string{"UTF-8"}},
		{"deep", deep, 0, []string{`"a.b"`, "want an object"}},
		{"deep shape", entry("U8", strings.Repeat("[", 1e6), "[0,0]"), 0, []string{`"a.b"`, "shape"}},
		{"unknown type", entry("F31", "[0]", "[0,0]"), 0, []string{`"a.b"`, "dtype", "F31", "BF16"}},
		{"type of PyTorch only", entry("C128", "[0]", "[0,0]"), 0, []string{`"a.b"`, "dtype", "C128"}},
		{"shape is a number", entry("U8", "4", "[0,4]"), 4, []string{`"a.b"`, "shape", "want an array"}},
		{"negative dimension", entry("U8", "[-4]", "[0,4]"), 4, []string{`"a.b"`, "shape", "-4"}},
		{"two negative dimensions", entry("U8", "[-2,-2]", "[0,4]"), 4, []string{`"a.b"`, "shape", "-2"}},
		{"minus zero", entry("U8", "[-0]", "[0,0]"), 0, []string{`"a.b"`, "shape", "-0"}},
		{"fraction", entry("U8", "[4.0]", "[0,4]"), 4, []string{`"a.b"`, "shape", "4.0"}},
		{"exponent", entry("U8", "[4e0]", "[0,4]"), 4, []string{`"a.b"`, "shape", "4e0"}},
		{"string in shape", entry("U8", `["4"]`, "[0,4]"), 4, []string{`"a.b"`, "shape", "want a whole number"}},
		{"dimension of 2^64", entry("U8", "[18446744073709551616]", "[0,0]"), 0, []string{`"a.b"`, "shape"}},
		{"product 2^64", entry("U8", "[4294967296,4294967296]", "[0,0]"), 0, []string{`"a.b"`, "shape"}},
		{"product 2^64+4", entry("F32", "[4611686018427387905,4]", "[0,16]"), 16, []string{`"a.b"`, "shape"}},
		{"bytes 2^64+8", entry("F64", "[2305843009213693953]", "[0,8]"), 8, []string{`"a.b"`, "shape"}},
		{"many dimensions", entry("U8", "["+strings.Repeat("1,", 64)+"1]", "[0,1]"), 1, []string{`"a.b"`, "shape", "64"}},
		{"size too small", entry("F32", "[4]", "[0,15]"), 16, []string{`"a.b"`, "data_offsets", "15 bytes", "want 16"}},
		{"size too large", entry("F32", "[4]", "[0,17]"), 17, []string{`"a.b"`, "data_offsets", "17 bytes", "want 16"}},
		{"half a byte", entry("F4", "[3]", "[0,1]"), 1, []string{`"a.b"`, "shape", "whole number of bytes"}},
		{"offsets backwards", entry("U8", "[4]", "[4,0]"), 4, []string{`"a.b"`, "data_offsets", "begin <= end"}},
		{"one offset", entry("U8", "[4]", "[4]"), 4, []string{`"a.b"`, "data_offsets", "[begin, end]"}},
		{"three offsets", entry("U8", "[4]", "[0,4,4]"), 4, []string{`"a.b"`, "data_offsets", "more than 2"}},
		{"negative offset", entry("U8", "[4]", "[-4,0]"), 4, []string{`"a.b"`, "data_offsets", "-4"}},
		{"beyond the end", entry("U8", "[5]", "[0,5]"), 4, []string{`"a.b"`, "data_offsets", "beyond the 4 bytes"}},
		{"far beyond the end", entry("U8", "[5]", "[9223372036854775802,9223372036854775807]"), 4, []string{`"a.b"`, "data_offsets"}},
		{"hole at the beginning", entry("U8", "[4]", "[1,5]"), 5, []string{`"a.b"`, "data_offsets", "hole"}},
		{"hole in the middle", two("[0,4]", "[5,9]"), 9, []string{`"c"`, "data_offsets", "hole", `"a.b"`}},
		{"overlap", two("[0,4]", "[3,7]"), 7, []string{`"c"`, "data_offsets", "overlap", `"a.b"`}},
		{"the same place", two("[0,4]", "[0,4]"), 4, []string{`"c"`, "data_offsets", "overlap"}},
		{"bytes left over", entry("U8", "[4]", "[0,4]"), 5, []string{"data", "5 bytes", "want 4", `"a.b"`}},
		{"no tensor but bytes", `{}`, 1, []string{"data", "1 bytes", "want 0"}},
		{"metadata is a list", `{"__metadata__":["x"]}`, 0, []string{"__metadata__", "want an object"}},
		{"metadata is a number", `{"__metadata__":{"x":1}}`, 0, []string{"__metadata__", "want a string"}},
		{"metadata twice", `{"__metadata__":{},"__metadata__":{}}`, 0, []string{"__metadata__", "twice"}},
		{"long name", `{"` + strings.Repeat("x", 1e6) + `":1}`, 0, []string{"want an object"}},
	} {
		_, err := Open(write(t, "bad.safetensors", safetensorsFile(c.header, make([]byte, c.data))))
		t.Run(c.name, func(t *testing.T) { wantError(t, err, append(c.words, "bad.safetensors")...) })
	}
}

func TestSafetensorsLength(t *testing.T) {
	good := safetensorsFile(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, make([]byte, 4))
	if _, err := Parse("good", good); err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if _, err := Parse("cut", good[:n]); err == nil {
			t.Errorf("no error for the first %d bytes of %d", n, len(good))
		}
	}
	for _, c := range []struct {
		length uint64
		word   string
	}{
		{math.MaxUint64, "at most 100000000"},
		{math.MaxInt64, "at most 100000000"},
		{100_000_001, "at most 100000000"},
		{100_000_000, "only 57 bytes follow"},
		{58, "only 57 bytes follow"},
		{0, "begin with an object"},
		{1, "not JSON"},
	} {
		bad := slices.Clone(good)
		for i := range 8 {
			bad[i] = byte(c.length >> (8 * i))
		}
		_, err := Parse("bad", bad)
		wantError(t, err, c.word)
	}
	_, err := Open(t.TempDir() + "/absent")
	if !os.IsNotExist(err) {
		t.Errorf("absent file: %v", err)
	}
}

func TestSafetensorsEmpty(t *testing.T) {
	f, err := Parse("empty", safetensorsFile("{}", nil))
	if err != nil || len(slices.Collect(f.Names())) != 0 || f.Metadata() != nil {
		t.Errorf("a file without tensors: %v, %v", f, err)
	}
}
