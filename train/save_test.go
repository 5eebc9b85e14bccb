package train_test

import (
	"errors"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/train"
)

// TestSaveAdamW interrupts an optimizer, which then takes the same steps as one that was not.
func TestSaveAdamW(t *testing.T) {
	newAdamW := func() (*train.AdamW, *tensor.Tensor) {
		p := tensor.FromFloat32s([]float32{1, -2, 3}, 3)
		a, err := train.NewAdamW(train.AdamWConfig{WeightDecay: 0.1}, named("p", p))
		if err != nil {
			t.Fatal(err)
		}
		return a, p
	}
	steps := func(a *train.AdamW, p *tensor.Tensor, from, to int) {
		for i := from; i < to; i++ {
			a.Step(seqmix.Grads{p: tensor.FromFloat32s([]float32{float32(i), 1, -0.5}, 3)}, 0.01)
		}
	}
	whole, want := newAdamW()
	steps(whole, want, 0, 7)

	path := filepath.Join(t.TempDir(), "run")
	first, p := newAdamW()
	if err := first.Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v of a file that is not there", err)
	}
	steps(first, p, 0, 4)
	if err := first.Save(path); err != nil {
		t.Fatal(err)
	}
	second, got := newAdamW()
	if err := second.Load(path); err != nil {
		t.Fatal(err)
	}
	if second.Steps() != 4 {
		t.Errorf("%d steps, want 4", second.Steps())
	}
	steps(second, got, 4, 7)
	if !slices.Equal(got.Data(), want.Data()) {
		t.Errorf("%v, want %v", got.Data(), want.Data())
	}
	other, err := train.NewAdamW(train.AdamWConfig{}, named("q", tensor.New(3)))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Load(path); err == nil {
		t.Error("the steps of another parameter were loaded")
	}
}

// named yields one parameter.
func named(name string, p *tensor.Tensor) iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) { yield(name, p) }
}
