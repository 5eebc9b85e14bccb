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

// runTensors yields all that a run remembers.
type runTensors struct{ r *Run }

func (t runTensors) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		for _, q := range t.r.adamw.params {
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
func (r *Run) Save(path string) error {
	src, err := checkpoint.FromModel(runTensors{r}, nil)
	if err == nil {
		err = checkpoint.WriteFile(path, src, map[string]string{stepKey: strconv.Itoa(r.Steps())})
	}
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// Load reads a run that Save wrote, of a model of the same shape. If it fails, the run is
// as before.
func (r *Run) Load(path string) error {
	f, err := checkpoint.Open(path)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	defer f.Close()
	step, err := strconv.Atoi(f.Metadata()[stepKey])
	if err != nil || step < 0 {
		return fmt.Errorf("train: %s: not a training run: the step is %q", path, f.Metadata()[stepKey])
	}
	if err := checkpoint.Load(runTensors{r}, f, nil); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	r.adamw.step = step
	return nil
}

// newLike returns zeros of the shape of t.
func newLike(t *tensor.Tensor) *tensor.Tensor { return tensor.New(t.Shape()...) }
