package checkpoint

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

var _ Model = seqmix.Mixer(nil)

// sourceOf returns a file with tensors of the given shapes, whose elements count
// from 1.
func sourceOf(t testing.TB, shapes map[string][]int) *File {
	t.Helper()
	var m params
	for name, shape := range shapes {
		m = append(m, param{name, counting(1, shape...)})
	}
	path := t.TempDir() + "/weights.safetensors"
	if err := Save(path, m, nil); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// counting returns a tensor with the elements first, first+1, ….
func counting(first int, shape ...int) *tensor.Tensor {
	w := tensor.New(shape...)
	for i := range w.Data() {
		w.Data()[i] = float32(first + i)
	}
	return w
}

func TestLoad(t *testing.T) {
	f := sourceOf(t, map[string][]int{"model.a": {2, 3}, "model.b": {4}, "model.c": {}})
	for name, w := range formats(2, 3) {
		m := params{{"a", w}, {"b", tensor.New(4)}, {"c", tensor.New()}}
		if err := Load(m, f, func(name string) string { return "model." + name }); err != nil {
			t.Fatal(err)
		}
		for i, v := range m[0].t.Float32s() {
			if math.Abs(float64(v)-float64(i+1)) > 3.0/127 || w.DType() != tensor.Int8 && v != float32(i+1) {
				t.Errorf("%s: a is %v", name, m[0].t.Float32s())
				break
			}
		}
		if strings.Contains(name, "packed") != m[0].t.Packed() {
			t.Errorf("%s has become %v", name, m[0].t)
		}
		if !slices.Equal(m[1].t.Data(), []float32{1, 2, 3, 4}) || m[2].t.Data()[0] != 1 {
			t.Errorf("b, c are %v, %v", m[1].t.Data(), m[2].t.Data())
		}
	}
	m := params{{"a", tensor.New(2, 3)}, {"c", tensor.New()}}
	if err := Load(m, Without(Sub(f, "model."), func(name string) bool { return name == "b" }), nil); err != nil {
		t.Error(err)
	}
}

func TestLoadErrors(t *testing.T) {
	f := sourceOf(t, map[string][]int{"a": {2, 3}, "b": {4}, "c": {4, 1, 2}, "x": {1}, "u": {1}})
	m := params{{"b", counting(100, 4)}, {"z", counting(200, 1)}, {"a", counting(300, 3, 2)}, {"c", counting(400, 4, 2)}, {"y", counting(500, 2)}}
	err := Load(m, f, nil)
	var e *LoadError
	if !errors.As(err, &e) {
		t.Fatalf("error %v", err)
	}
	want := &LoadError{
		Source: f.String(), Missing: []string{"y", "z"}, Unused: []string{"u", "x"},
		Misshapen: []Mismatch{{"a", "[2 3], want [3 2]"}, {"c", "[4 1 2], want [4 2]"}},
	}
	if fmt.Sprint(*e) != fmt.Sprint(*want) {
		t.Errorf("error %v, want %v", *e, *want)
	}
	wantText := "checkpoint: " + f.String() + " does not fit the model: 2 missing, 2 unused, 2 misshapen" +
		"\n\tmissing y\n\tmissing z\n\tunused u\n\tunused x\n\tmisshapen a: [2 3], want [3 2]\n\tmisshapen c: [4 1 2], want [4 2]"
	if err.Error() != wantText {
		t.Errorf("error\n%v, want\n%v", err, wantText)
	}
	for i, p := range m {
		if p.t.Data()[0] != float32(100*(i+1)) {
			t.Errorf("%s has changed, although loading failed", p.name)
		}
	}

	l := Loader{
		Missing: func(name string) bool { return name == "y" || name == "z" },
		Unused:  func(name string) bool { return name == "u" || name == "x" },
		Reshape: func(name string) bool { return name == "c" },
	}
	wantError(t, l.Load(m, f), ": 1 misshapen\n")
	l.Reshape = func(name string) bool { return true }
	if err := l.Load(m, f); err != nil {
		t.Fatal(err)
	}
	for i, first := range []float32{1, 200, 1, 1, 500} {
		if m[i].t.Data()[0] != first {
			t.Errorf("%s begins with %v, want %v", m[i].name, m[i].t.Data()[0], first)
		}
	}
	m[0].t = tensor.New(3)
	wantError(t, l.Load(m, f), "misshapen b: [4], want [3]") // not as many elements
}

func TestLoadErrorIsShort(t *testing.T) {
	var m params
	for i := range 1000 {
		m = append(m, param{fmt.Sprintf("layers.%03d.weight", i), tensor.New(1)})
	}
	m = append(m, param{strings.Repeat("long", 1000), tensor.New(1)})
	err := Load(m, sourceOf(t, map[string][]int{"model.layers.000.weight": {1}, "odd\nname": {1}}), nil)
	wantError(t, err, "1001 missing, 2 unused", "\tmissing layers.011.weight\n", "and 989 more", `"odd\nname"`)
	if strings.Contains(err.Error(), "layers.012") || strings.Contains(err.Error(), "before them") {
		t.Errorf("error %v", err)
	}
}

func TestLoadHint(t *testing.T) {
	bare := params{{"a", tensor.New(1)}, {"b", tensor.New(1)}}
	prefixed := params{{"model.a", tensor.New(1)}, {"model.b", tensor.New(1)}}
	err := Load(bare, sourceOf(t, map[string][]int{"model.a": {1}, "model.b": {1}, "model.c": {1}}), nil)
	wantError(t, err, `the missing names are there with "model." before them`)
	err = Load(prefixed, sourceOf(t, map[string][]int{"a": {1}, "b": {1}}), nil)
	wantError(t, err, `the unused names are wanted with "model." before them`)
}

func TestLoadTied(t *testing.T) {
	w := tensor.New(2)
	m := params{{"embedding", w}, {"head", w}}
	for _, names := range [][]string{{"embedding"}, {"head"}, {"embedding", "head"}} {
		shapes := map[string][]int{}
		for _, name := range names {
			shapes[name] = []int{2}
		}
		clear(w.Data())
		if err := Load(m, sourceOf(t, shapes), nil); err != nil {
			t.Error(err)
		}
		if !slices.Equal(w.Data(), []float32{1, 2}) {
			t.Errorf("%v: loaded %v", names, w.Data())
		}
	}
	wantError(t, Load(m, sourceOf(t, map[string][]int{}), nil), ": 1 missing\n", "missing embedding")
	wantError(t, Load(m, sourceOf(t, map[string][]int{"embedding": {2}, "head": {3}}), nil), "misshapen head: [3], want [2]")
	other, err := FromModel(params{{"embedding", counting(1, 2)}, {"head", counting(2, 2)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, Load(m, other, nil), "unusable head: differs from embedding")

	// Saved, it is there once.
	path := t.TempDir() + "/x.safetensors"
	if err := Save(path, m, nil); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if names := slices.Collect(f.Names()); !slices.Equal(names, []string{"embedding"}) {
		t.Errorf("names %q", names)
	}

	// In a PyTorch file both names refer to one storage.
	torch, err := parseTorchFile(pyDict{"embedding", vector("0", 2), "head", vector("0", 2)}, map[string][]byte{"0": floats(5, 6)})
	if err != nil {
		t.Fatal(err)
	}
	if err := Load(m, torch, nil); err != nil || !slices.Equal(w.Data(), []float32{5, 6}) {
		t.Errorf("loaded %v, %v", w.Data(), err)
	}
}

func TestLoadUnusable(t *testing.T) {
	store := map[string][]byte{"0": make([]byte, 16), "1": floats(1, inf, 3, nan)}
	f, err := parseTorchFile(pyDict{
		"c", pyTensor{"ComplexFloatStorage", "0", 2, 0, pyTuple{2}, pyTuple{1}},
		"w", pyTensor{"FloatStorage", "1", 4, 0, pyTuple{2, 2}, pyTuple{2, 1}},
		"n", pyTensor{"LongStorage", "0", 2, 0, pyTuple{2}, pyTuple{1}},
	}, store)
	if err != nil {
		t.Fatal(err)
	}
	c, w, n := tensor.New(2), tensor.New(2, 2), tensor.New(2)
	wantError(t, Load(params{{"c", c}, {"w", w}, {"n", n}}, f, nil), "1 unusable", "unusable c: ", "C64")
	if w.Data()[0] != 0 {
		t.Error("loading has failed, but the model has changed")
	}
	rest := Without(f, func(name string) bool { return name == "c" })
	if err := Load(params{{"w", w}, {"n", n}}, rest, nil); err != nil || w.Data()[2] != 3 {
		t.Errorf("loaded %v, %v", w.Data(), err)
	}
	strict := Loader{Finite: true}
	wantError(t, strict.Load(params{{"w", w}, {"n", n}}, rest), "unusable w: element [0 1] is +Inf")
	wantError(t, Finite(f), "x.pt", `"w"`, "[0 1]", "+Inf")
	if err := Finite(Without(f, func(name string) bool { return name == "w" })); err != nil {
		t.Error(err)
	}
	large := counting(0, 3, 1<<14)
	large.Data()[2<<14+77] = nan
	src, err := FromModel(params{{"large", large}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, Finite(src), `"large"`, "[2 77]", "NaN")
}

func TestReadPastTheEnd(t *testing.T) {
	src, err := FromModel(params{{"w", tensor.New(3)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, _ := src.Lookup("w")
	for _, c := range [][2]int{{-1, 1}, {0, 4}, {4, 0}, {math.MaxInt, 1}} {
		func() {
			defer func() {
				if _, ok := recover().(*tensor.ShapeError); !ok {
					t.Errorf("reading %d from %d does not panic with a ShapeError", c[1], c[0])
				}
			}()
			e.ReadFloat32s(make([]float32, c[1]), c[0])
		}()
	}
}

// Copies of a large tensor are recognised, and what differs only at the end is no copy.
func TestEqualLarge(t *testing.T) {
	const n = 3<<20 + 5
	data := make([]byte, 8*n)
	for i := range data {
		data[i] = byte(i % (4 * n) * 7)
	}
	open := func() (a, b *Entry) {
		header := fmt.Sprintf(`{"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]},"b":{"dtype":"F32","shape":[%[1]d],"data_offsets":[%[2]d,%d]}}`, n, 4*n, 8*n)
		f, err := Open(write(t, "x.safetensors", safetensorsFile(header, data)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		a, _ = f.Lookup("a")
		b, _ = f.Lookup("b")
		return a, b
	}
	a, b := open()
	for range 2 { // what was given back is read again
		if !equal(a, b) {
			t.Error("copies are not equal")
		}
	}
	data[len(data)-1]++
	if a, b := open(); equal(a, b) {
		t.Error("tensors that differ are equal")
	}
}
