package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/checkpoint"
)

func TestHalf(t *testing.T) {
	for _, c := range []struct {
		v    float32
		want uint16
	}{
		{0, 0}, {float32(math.Copysign(0, -1)), 0x8000}, {1, 0x3c00}, {-2, 0xc000}, {65504, 0x7bff}, {65519, 0x7bff}, {65520, 0x7c00},
		{float32(math.Inf(-1)), 0xfc00}, {0x1p-14, 0x0400}, {0x1p-24, 1}, {0x1p-25, 0}, {0x1.8p-24, 2}, {0x1.ffep-15, 0x0400},
		{1 + 0x1p-11, 0x3c00}, {1 + 0x1.8p-10, 0x3c02}, {1.0 / 3, 0x3555},
	} {
		if got := half(c.v); got != c.want {
			t.Errorf("half(%g) = %#x, want %#x", c.v, got, c.want)
		}
	}
	if n := half(float32(math.NaN())); n&0x7c00 != 0x7c00 || n&0x3ff == 0 {
		t.Errorf("half of NaN is %#x", n)
	}
}

// written returns what is read of a file.
func written(t *testing.T, g *gguf) *checkpoint.File {
	t.Helper()
	var b bytes.Buffer
	reported := 0
	if err := g.write(&b, func(n int) { reported += n }); err != nil {
		t.Fatal(err)
	}
	if reported != g.size() || b.Len() != len(g.header())+g.size() {
		t.Errorf("%d bytes, and %d reported, want %d and %d", b.Len(), reported, len(g.header())+g.size(), g.size())
	}
	f, err := checkpoint.Parse("test", b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func valuesOf(t *testing.T, f *checkpoint.File, name string) []float32 {
	t.Helper()
	e, ok := f.Lookup(name)
	if !ok {
		t.Fatalf("no %s", name)
	}
	v, err := e.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// What is written in a kind is read as the nearest numbers that it has.
func TestEncode(t *testing.T) {
	want := make([]float32, 3*5*block)
	normals("test", func(x float64) float64 { return x })()(want)
	clear(want[2*block : 3*block]) // a block without a scale
	for k, bound := range map[kind]float32{f32: 0, f16: 0x1p-11, bf16: 0x1p-8, q8: 0.51 / 127, q4: 1.01 / 8} {
		g := &gguf{}
		at := 0
		g.add(ggufTensor{"x", k, []int{3, 5 * block}, func() func([]float32) {
			return func(dst []float32) { at += copy(dst, want[at:]) }
		}})
		f := written(t, g)
		if e, _ := f.Lookup("x"); string(e.DType()) != k.String() || !slices.Equal(e.Shape(), []int{3, 5 * block}) {
			t.Errorf("%v: %v", k, e)
		}
		for i, got := range valuesOf(t, f, "x") {
			scale := max(want[i], -want[i])
			if k == q8 || k == q4 {
				for _, v := range want[i/block*block : (i/block+1)*block] {
					scale = max(scale, v, -v)
				}
			}
			if d := got - want[i]; max(d, -d) > bound*scale*1.001 {
				t.Errorf("%v: element %d is %g, want %g", k, i, got, want[i])
			}
		}
	}
}

func TestNormals(t *testing.T) {
	const n = 1 << 16
	x := make([]float32, n)
	normals("a", func(x float64) float64 { return x })()(x)
	var mean, square, fourth float64
	for _, v := range x {
		mean += float64(v) / n
		square += float64(v) * float64(v) / n
		fourth += float64(v) * float64(v) * float64(v) * float64(v) / n
	}
	// The kurtosis of a sum of four uniform numbers is 3 - 1.2/4.
	if math.Abs(mean) > 0.02 || math.Abs(square-1) > 0.03 || math.Abs(fourth-2.7) > 0.15 {
		t.Errorf("moments %g, %g, %g, want 0, 1, 2.7", mean, square, fourth)
	}
	pieces := make([]float32, n)
	next := normals("a", func(x float64) float64 { return x })()
	next(pieces[:100])
	next(pieces[100:])
	if !slices.Equal(pieces, x) {
		t.Error("numbers depend on the pieces that they are asked for in")
	}
}

// Files of all kinds are models of the size that the shape says, and hold the same one.
func TestModels(t *testing.T) {
	s := shapes[0]
	reference := written(t, newMamba(s, f32))
	for _, k := range []kind{f32, f16, bf16, q8, q4} {
		path := filepath.Join(t.TempDir(), "model.gguf")
		if err := writeFile(path, newMamba(s, k)); err != nil {
			t.Fatal(err)
		}
		f, err := checkpoint.OpenModel(path, checkpoint.ModelOptions{Finite: true})
		if err != nil {
			t.Fatal(err)
		}
		if f.Architecture != "Mamba" || f.Layers != s.layers || f.Dim != s.dim || f.Vocabulary != s.vocabulary || !f.Tied {
			t.Errorf("%v: %v", k, f)
		}
		if _, err := f.Load(); err != nil {
			t.Errorf("%v: %v", k, err)
		}
		f.Close()
		file, err := checkpoint.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for name := range reference.Names() {
			var d, n float64
			want := valuesOf(t, reference, name)
			for i, v := range valuesOf(t, file, name) {
				d += float64(v-want[i]) * float64(v-want[i])
				n += float64(want[i]) * float64(want[i])
			}
			if e := math.Sqrt(d / n); e > 0.1 {
				t.Errorf("%v: %s is another tensor than in float32: they differ by %g", k, name, e)
			}
		}
		file.Close()
	}
}

func TestShapes(t *testing.T) {
	// 130m of arXiv:2312.00752 has 129 million parameters; of those, 38.6 million are the
	// embedding's and 0.7 to 0.8 those of convolutions, rates and norms.
	s := shapes[1]
	if got := s.products(); got < 88e6 || got > 91e6 {
		t.Errorf("a token of %s takes %d multiply-adds", s.name, got)
	}
	if size := newMamba(s, f32).size(); size < 129e6*4 || size > 130e6*4 {
		t.Errorf("%s has %d bytes", s.name, size)
	}
	if _, err := chooseShapes("130m,3b"); err == nil {
		t.Error("a shape that does not exist gave no error")
	}
	if _, err := chooseFormats("int3"); err == nil {
		t.Error("a format that does not exist gave no error")
	}
	if fmt.Sprint(kind(99)) != "kind 99" {
		t.Error(kind(99))
	}
}

// Contestants of tests are this test binary.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "-serve") {
		main()
		return
	}
	os.Exit(m.Run())
}
