package train

import (
	"fmt"
	"iter"
	"strconv"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/tensor"
)

// The names of tensors in the file of a run, before those of the parameters.
const (
	paramPrefix  = "param."
	firstPrefix  = "adamw.m."
	secondPrefix = "adamw.v."
	stepKey      = "step"
)

// optimizerTensors yields the parameters of an optimizer and what it remembers of them.
type optimizerTensors struct{ a *AdamW }

func (t optimizerTensors) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		for _, q := range t.a.params {
			n := q.p.Len()
			if !yield(paramPrefix+q.name, q.p) ||
				!yield(firstPrefix+q.name, tensor.FromFloat32s(q.m, n)) ||
				!yield(secondPrefix+q.name, tensor.FromFloat32s(q.v, n)) {
				return
			}
		}
	}
}

// Save writes the run to a safetensors file: the parameters and what the optimizer
// remembers. A run that is loaded from it goes on to the same bits as one that was not
// interrupted. The file is replaced when the new one is complete.
func (r *Run) Save(path string) error { return r.adamw.Save(path) }

// Load reads a run that Save wrote, of a model of the same shape. If it fails, the run is
// as before.
func (r *Run) Load(path string) error { return r.adamw.Load(path) }

// Save writes the parameters, the moments and the number of steps to a safetensors file, as
// [Run.Save] does, for loops that are not a [Run]. The file is replaced when the new one is
// complete.
func (a *AdamW) Save(path string) error {
	src, err := checkpoint.FromModel(optimizerTensors{a}, nil)
	if err == nil {
		err = checkpoint.WriteFile(path, src, map[string]string{stepKey: strconv.Itoa(a.step)})
	}
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// Load reads what Save wrote, into the parameters too, which have the same names and shapes.
// If it fails, all is as before. The error wraps fs.ErrNotExist if there is no such file.
func (a *AdamW) Load(path string) error {
	f, err := checkpoint.Open(path)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	defer f.Close()
	step, err := strconv.Atoi(f.Metadata()[stepKey])
	if err != nil || step < 0 {
		return fmt.Errorf("train: %s: not a training run: the step is %q", path, f.Metadata()[stepKey])
	}
	if err := checkpoint.Load(optimizerTensors{a}, f, nil); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	a.step = step
	return nil
}

// newLike returns zeros of the shape of t.
func newLike(t *tensor.Tensor) *tensor.Tensor { return tensor.New(t.Shape()...) }
