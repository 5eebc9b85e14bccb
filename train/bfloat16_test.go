package train_test

import (
	"context"
	"errors"
	"iter"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/train"
)

// hybridLen is the length of the sequences of newMixers, twice the window.
const hybridLen = 12

// newMixers returns a small model with a mixer of each kind.
func newMixers(t *testing.T) *lm.Model {
	t.Helper()
	const width, window = 8, hybridLen / 2
	r := rand.New(rand.NewPCG(7, 8))
	e := nn.NewEmbedding(vocabulary, width)
	e.Init(r, 0.1)
	m := &lm.Model{Embedding: e, Head: e.Head(), Norm: nn.NewRMSNorm(width, 1e-5), MaxLen: hybridLen}
	left := window - 1
	mamba, err1 := ssm.NewMamba(ssm.MambaConfig{DModel: width, DState: 4})
	softmax, err2 := attention.NewMultiHead(attention.MultiHeadConfig{Dim: width, Heads: 2, Left: &left, RoPE: new(attention.RoPEConfig)})
	linear, err3 := based.NewLinearAttention(based.LinearAttentionConfig{DModel: width, Heads: 2, FeatureDim: 4})
	filters, err4 := hyena.New(hyena.Config{DModel: width, LMax: hybridLen})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	for _, mixer := range []interface {
		seqmix.Mixer
		Init(*rand.Rand)
	}{mamba, softmax, linear, filters} {
		mixer.Init(r)
		m.Layers = append(m.Layers, &seqmix.Residual{Norm: nn.NewRMSNorm(width, 1e-5), Mixer: mixer})
	}
	return m
}

// halves are the parameters of a model in bfloat16, but for constants.
type halves struct{ *lm.Model }

func (h halves) Params() iter.Seq2[string, *tensor.Tensor] {
	copies := map[*tensor.Tensor]*tensor.Tensor{} // a tied matrix has two names and one copy
	return func(yield func(string, *tensor.Tensor) bool) {
		for name, p := range h.Model.Params() {
			if copies[p] == nil {
				copies[p] = tensor.FromFloat32s(p.Float32s(), p.Shape()...)
				if !p.IsConstant() {
					copies[p].Convert(tensor.BFloat16)
				}
			}
			if !yield(name, copies[p]) {
				return
			}
		}
	}
}

// puzzle returns sequences in which each token depends on the two before it, but for one in
// eight.
func puzzle(step int) train.Batch {
	r := rand.New(rand.NewPCG(uint64(step), 11))
	const size = 2
	b := train.Batch{Len: hybridLen}
	for range size {
		x, y := r.IntN(vocabulary), r.IntN(vocabulary)
		for range hybridLen {
			next := (3*x + y + 1) % vocabulary
			if r.IntN(8) == 0 {
				next = r.IntN(vocabulary)
			}
			b.IDs, b.Labels = append(b.IDs, y), append(b.Labels, next)
			x, y = y, next
		}
	}
	return b
}

// TestBFloat16Reloaded trains for 10,000 steps. Every 500, the run is saved, the model is
// written in bfloat16, and another run goes on with what is read from both files. The loss
// stays finite and falls.
func TestBFloat16Reloaded(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	const steps, every = 10_000, 500
	dir := t.TempDir()
	state, weights := filepath.Join(dir, "run.safetensors"), filepath.Join(dir, "model.safetensors")
	losses := make([]float64, 0, steps)
	for len(losses) < steps {
		m := newMixers(t)
		run, err := train.NewRun(m, train.Config{
			Steps: min(len(losses)+every, steps), Clip: 1, Rate: train.WarmupCosine(1e-5, 3e-3, 1e-4, 200, steps),
			AdamW: train.AdamWConfig{WeightDecay: 0.1, NoDecay: train.DecayMatrices},
			Batch: func(step int) ([]train.Batch, error) { return []train.Batch{puzzle(step)}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(losses) > 0 {
			reload(t, run, m, state, weights)
		}
		err = run.Run(context.Background(), func(s train.Step) error {
			loss := s.Score.Mean()
			if math.IsNaN(loss) || math.IsInf(loss, 0) || math.IsNaN(s.Norm) {
				t.Fatalf("step %d: loss %v, norm of the gradients %v", s.Step, loss, s.Norm)
			}
			losses = append(losses, loss)
			return nil
		})
		if err == nil {
			err = run.Save(state)
		}
		if err == nil {
			err = checkpoint.Save(weights, halves{m}, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		for name, p := range m.Params() {
			for i, v := range p.Float32s() {
				if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
					t.Fatalf("after %d steps, element %d of %s is %v", len(losses), i, name, v)
				}
			}
		}
	}
	// The loss of chance is log 11 = 2.4.
	var parts [4]float64
	for i := range parts {
		for _, v := range losses[i*steps/4 : (i+1)*steps/4] {
			parts[i] += v / (steps / 4)
		}
	}
	t.Logf("mean losses of the quarters: %.3f", parts)
	for i := 1; i < len(parts); i++ {
		if parts[i] >= parts[i-1] {
			t.Errorf("the loss of quarter %d is %v, not below %v", i+1, parts[i], parts[i-1])
		}
	}
	if last := parts[len(parts)-1]; last > 1.2 {
		t.Errorf("the loss of the last quarter is %v", last)
	}
}

// reload makes run what was saved, with parameters that went through bfloat16.
func reload(t *testing.T, run *train.Run, m *lm.Model, state, weights string) {
	t.Helper()
	if err := run.Load(state); err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.Open(weights)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := checkpoint.Load(m, f, nil); err != nil {
		t.Fatal(err)
	}
	for name, p := range m.Params() {
		if p.IsConstant() {
			continue
		}
		for i, v := range p.Float32s() {
			if math.Float32bits(v)&0xffff != 0 {
				t.Fatalf("element %d of %s is %v, which bfloat16 does not hold", i, name, v)
			}
		}
	}
}
