package refrand

import (
	"slices"
	"testing"
)

// TestMT19937 checks the outputs that the C++ standard ([rand.predef]) and the authors'
// test file give: the 10000th number after the seed 5489, and the first ones.
func TestMT19937(t *testing.T) {
	var m mt19937
	m.seed(5489)
	first := []uint32{m.uint32(), m.uint32(), m.uint32()}
	if want := []uint32{3499211612, 581869302, 3890346734}; !slices.Equal(first, want) {
		t.Errorf("the first are %v, want %v", first, want)
	}
	var last uint32
	for range 10000 - 3 {
		last = m.uint32()
	}
	if last != 4123659995 {
		t.Errorf("the 10000th is %d, want 4123659995", last)
	}
}

// TestNumPy checks what numpy's documentation, and everybody's memory, says of seed 0.
func TestNumPy(t *testing.T) {
	r := NewNumPy(0)
	for i, want := range []float64{0.5488135039273248, 0.7151893663724195, 0.6027633760716439} {
		if got := r.Float64(); got != want {
			t.Errorf("random_sample %d is %v, want %v", i, got, want)
		}
	}
	r = NewNumPy(0)
	var ints []int
	for range 5 {
		ints = append(ints, r.IntN(10))
	}
	if want := []int{5, 0, 3, 3, 7}; !slices.Equal(ints, want) {
		t.Errorf("randint gives %v, want %v", ints, want)
	}
	if got, want := NewNumPy(0).Permutation(10), []int{2, 8, 4, 9, 1, 6, 7, 3, 0, 5}; !slices.Equal(got, want) {
		t.Errorf("permutation gives %v, want %v", got, want)
	}
	some := make([]int, 4)
	NewNumPy(0).Distinct(some, 10)
	if want := []int{2, 8, 4, 9}; !slices.Equal(some, want) {
		t.Errorf("choice gives %v, want %v", some, want)
	}
}

func TestTorch(t *testing.T) {
	r := NewTorch(0)
	var ints []int
	for range 5 {
		ints = append(ints, r.IntN(10))
	}
	if want := []int{4, 9, 3, 0, 3}; !slices.Equal(ints, want) {
		t.Errorf("randint gives %v, want %v", ints, want)
	}
	p := NewTorch(3).Permutation(9)
	slices.Sort(p)
	if want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(p, want) {
		t.Errorf("randperm gives %v in order", p)
	}
	for range 100 {
		if v := r.Float64(); v < 0 || v >= 1 {
			t.Errorf("rand gives %v", v)
		}
	}
}

func TestBounds(t *testing.T) {
	for name, f := range map[string]func(int) int{"NumPy": NewNumPy(1).IntN, "Torch": NewTorch(1).IntN} {
		for _, n := range []int{1, 2, 3, 1 << 20} {
			for range 50 {
				if v := f(n); v < 0 || v >= n {
					t.Errorf("%s: IntN(%d) is %d", name, n, v)
				}
			}
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: IntN(0) does not panic", name)
				}
			}()
			f(0)
		}()
	}
}
