package train_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/train"
)

// zeroGrads returns zero gradients of all parameters.
func zeroGrads(m *lm.Model) seqmix.Grads {
	g := seqmix.Grads{}
	for _, p := range m.Params() {
		g[p] = tensor.New(p.Shape()...)
	}
	return g
}

// naiveLoss computes the mean loss of a batch from its definition.
func naiveLoss(t testing.TB, m *lm.Model, b train.Batch) float64 {
	t.Helper()
	sum, n := 0.0, 0
	for i := range b.Size() {
		logits, err := m.Logits(b.IDs[i*b.Len : (i+1)*b.Len])
		if err != nil {
			t.Fatal(err)
		}
		for k, label := range b.Labels[i*b.Len : (i+1)*b.Len] {
			if label < 0 {
				continue
			}
			z := 0.0
			for _, v := range logits.At(0, k) {
				z += math.Exp(float64(v))
			}
			sum += math.Log(z) - float64(logits.At(0, k)[label])
			n++
		}
	}
	return sum / float64(n)
}

// TestGradient compares gradients with finite differences, for each number of shards.
func TestGradient(t *testing.T) {
	m := newModel(t)
	b := batch(1, 5, 7)
	for _, shards := range []int{1, 2, 5, 9} {
		g, err := train.NewGradient(m, shards)
		if err != nil {
			t.Fatal(err)
		}
		grads := zeroGrads(m)
		score, err := g.Add(grads, b, 1)
		if err != nil {
			t.Fatal(err)
		}
		if want := naiveLoss(t, m, b); math.Abs(score.Mean()-want) > 1e-5 {
			t.Errorf("%d shards: loss %v, want %v", shards, score.Mean(), want)
		}
		if only, err := g.Score(b); err != nil || math.Abs(only.Loss-score.Loss) > 1e-9 || only.Count != score.Count || only.Correct != score.Correct {
			t.Errorf("%d shards: score %+v without gradients, %+v with; %v", shards, only, score, err)
		}
		for name, p := range m.Params() {
			at := p.Len() / 2
			const h = 1e-2
			old := p.Data()[at]
			p.Data()[at] = old + h
			up := naiveLoss(t, m, b)
			p.Data()[at] = old - h
			down := naiveLoss(t, m, b)
			p.Data()[at] = old
			want := (up - down) / (2 * h)
			if got := float64(grads.Of(p)[at]); math.Abs(got-want) > 2e-4 {
				t.Errorf("%d shards: gradient %d of %s is %v, by differences %v", shards, at, name, got, want)
			}
		}
	}
}

// TestWeight checks that gradients add up, and that those of the halves of a batch with
// as many labels are those of the whole.
func TestWeight(t *testing.T) {
	m := newModel(t)
	g, err := train.NewGradient(m, 2)
	if err != nil {
		t.Fatal(err)
	}
	b := batch(2, 4, 6)
	for i := range b.Labels {
		b.Labels[i] = max(b.Labels[i], 0)
	}
	whole, halves := zeroGrads(m), zeroGrads(m)
	if _, err := g.Add(whole, b, 1); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		half := train.Batch{IDs: b.IDs[i*12 : (i+1)*12], Labels: b.Labels[i*12 : (i+1)*12], Len: 6}
		if _, err := g.Add(halves, half, 0.5); err != nil {
			t.Fatal(err)
		}
	}
	for name, p := range m.Params() {
		for i, want := range whole.Of(p) {
			if got := halves.Of(p)[i]; math.Abs(float64(got-want)) > 1e-6 {
				t.Fatalf("gradient %d of %s: %v in halves, %v as a whole", i, name, got, want)
			}
		}
	}
}

// TestDropout checks the gradients of a batch with dropout: they are the same for any
// number of shards, those of 0 are those of no dropout, scores do not see it, and the mean
// of many comes near to the gradient without, as the logits are nearly linear in a few
// elements.
func TestDropout(t *testing.T) {
	m := newModel(t)
	b := batch(3, 4, 7)
	gradient := func(shards int, b train.Batch) []float32 {
		g, err := train.NewGradient(m, shards)
		if err != nil {
			t.Fatal(err)
		}
		grads := zeroGrads(m)
		if _, err := g.Add(grads, b, 1); err != nil {
			t.Fatal(err)
		}
		return grads.Of(m.Embedding.Weight)
	}
	plain := gradient(1, b)
	dropped := func(p float64, seed uint64) train.Batch {
		b := b
		b.Dropout, b.Seed = p, seed
		return b
	}
	one, four := gradient(1, dropped(0.3, 9)), gradient(4, dropped(0.3, 9))
	differ := 0
	for i := range one {
		if math.Abs(float64(one[i]-four[i])) > 1e-6 {
			t.Fatalf("gradient %d is %v in one shard, %v in four", i, one[i], four[i])
		}
		if one[i] != plain[i] {
			differ++
		}
	}
	if differ == 0 {
		t.Error("dropout changes nothing")
	}
	if slices.Equal(one, gradient(1, dropped(0.3, 10))) {
		t.Error("the seed changes nothing")
	}
	g, err := train.NewGradient(m, 2)
	if err != nil {
		t.Fatal(err)
	}
	with, _ := g.Score(dropped(0.3, 9))
	if without, _ := g.Score(b); with != without {
		t.Errorf("score %+v with dropout, %+v without", with, without)
	}
	mean, norm, off := make([]float64, len(plain)), 0.0, 0.0
	const n = 400
	for seed := range uint64(n) {
		for i, v := range gradient(1, dropped(0.02, seed)) {
			mean[i] += float64(v) / n
		}
	}
	for i, v := range plain {
		norm += float64(v) * float64(v)
		off += (mean[i] - float64(v)) * (mean[i] - float64(v))
	}
	if e := math.Sqrt(off / norm); e > 0.1 {
		t.Errorf("the mean with dropout is %.3f off the gradient without", e)
	}
}

func TestBadBatches(t *testing.T) {
	m := newModel(t)
	g, err := train.NewGradient(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	none := batch(1, 1, 3)
	for i := range none.Labels {
		none.Labels[i] = train.Ignore
	}
	for name, b := range map[string]train.Batch{
		"empty":     {},
		"uneven":    {IDs: []int{1, 2, 3}, Labels: []int{1, 2, 3}, Len: 2},
		"labels":    {IDs: []int{1, 2}, Labels: []int{1}, Len: 2},
		"token":     {IDs: []int{1, vocabulary}, Labels: []int{1, 1}, Len: 2},
		"label":     {IDs: []int{1, 1}, Labels: []int{1, vocabulary}, Len: 2},
		"long":      batch(1, 1, 21),
		"no labels": none,
		"dropout":   {IDs: []int{1}, Labels: []int{1}, Len: 1, Dropout: 1},
	} {
		if _, err := g.Add(zeroGrads(m), b, 1); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := train.NewGradient(m, -1); err == nil {
		t.Error("-1 shards: no error")
	}
}

// config describes a run that learns a few batches by heart.
func config(steps int) train.Config {
	return train.Config{
		Steps: steps,
		Batch: func(step int) ([]train.Batch, error) {
			return []train.Batch{batch(uint64(step%2), 4, 6), batch(uint64(step%2)+7, 4, 6)}, nil
		},
		Rate:  train.WarmupCosine(0, 1e-2, 1e-3, 5, steps),
		Clip:  1,
		AdamW: train.AdamWConfig{WeightDecay: 0.01, NoDecay: train.DecayMatrices},
	}
}

func newRun(t testing.TB, m *lm.Model, cfg train.Config) *train.Run {
	t.Helper()
	r, err := train.NewRun(m, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run trains a model and returns the losses.
func run(t testing.TB, r *train.Run) (losses []float64) {
	t.Helper()
	err := r.Run(context.Background(), func(s train.Step) error {
		losses = append(losses, s.Score.Mean())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return losses
}

// bits returns all parameters as bytes.
func bits(m *lm.Model) []byte {
	var b []byte
	for _, p := range m.Params() {
		for _, v := range p.Data() {
			u := math.Float32bits(v)
			b = append(b, byte(u), byte(u>>8), byte(u>>16), byte(u>>24))
		}
	}
	return b
}

func TestRunLearns(t *testing.T) {
	losses := run(t, newRun(t, newModel(t), config(150)))
	if first, last := losses[0], losses[len(losses)-1]; len(losses) != 150 || last > first/3 {
		t.Errorf("%d steps, the loss fell from %v to %v", len(losses), first, last)
	}
}

// TestResume interrupts a run, and goes on in another.
func TestResume(t *testing.T) {
	whole := newModel(t)
	run(t, newRun(t, whole, config(20)))

	file := filepath.Join(t.TempDir(), "run.safetensors")
	stop := errors.New("enough")
	first := newRun(t, newModel(t), config(20))
	err := first.Run(context.Background(), func(s train.Step) error {
		if s.Step == 8 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || first.Steps() != 9 {
		t.Fatalf("%d steps, error %v", first.Steps(), err)
	}
	if err := first.Save(file); err != nil {
		t.Fatal(err)
	}
	m := newModel(t)
	for _, p := range m.Params() {
		clear(p.Data())
	}
	second := newRun(t, m, config(20))
	if err := second.Load(file); err != nil {
		t.Fatal(err)
	}
	run(t, second)
	if !bytes.Equal(bits(m), bits(whole)) {
		t.Error("the resumed run differs from the one that was not interrupted")
	}

	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before := bits(m)
	for _, damaged := range [][]byte{nil, data[:len(data)/2], data[:100]} {
		if err := os.WriteFile(file, damaged, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := second.Load(file); err == nil {
			t.Errorf("%d of %d bytes were loaded", len(damaged), len(data))
		}
	}
	if !bytes.Equal(bits(m), before) || second.Steps() != 20 {
		t.Error("an error changed the run")
	}
}

func TestCores(t *testing.T) {
	one, two := newModel(t), newModel(t)
	before := runtime.GOMAXPROCS(1)
	run(t, newRun(t, one, config(10)))
	runtime.GOMAXPROCS(2)
	run(t, newRun(t, two, config(10)))
	runtime.GOMAXPROCS(before)
	if !bytes.Equal(bits(one), bits(two)) {
		t.Error("the number of cores changes the result")
	}
}

func TestFrozen(t *testing.T) {
	m := newModel(t)
	cfg := config(3)
	cfg.Frozen = func(name string) bool { return name == "layers.0.mixer.weight" }
	kept := map[string][]float32{}
	for name, p := range m.Params() {
		kept[name] = slices.Clone(p.Data())
	}
	run(t, newRun(t, m, cfg))
	for name, p := range m.Params() {
		if slices.Equal(kept[name], p.Data()) != (name == "layers.0.mixer.weight") {
			t.Errorf("%s: changed or not, against what was asked", name)
		}
	}
}

func TestRunErrors(t *testing.T) {
	for name, change := range map[string]func(*train.Config){
		"no batches": func(c *train.Config) { c.Batch = nil },
		"no rate":    func(c *train.Config) { c.Rate = nil },
		"steps":      func(c *train.Config) { c.Steps = -1 },
		"clip":       func(c *train.Config) { c.Clip = math.NaN() },
		"beta":       func(c *train.Config) { c.AdamW.Beta1 = 1 },
		"decay":      func(c *train.Config) { c.AdamW.WeightDecay = -1 },
	} {
		cfg := config(1)
		change(&cfg)
		if _, err := train.NewRun(newModel(t), cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	packed := newModel(t)
	packed.Pack()
	if _, err := train.NewRun(packed, config(1)); err == nil {
		t.Error("packed weights: no error")
	}
	m := newModel(t)
	m.Embedding.Weight.Data()[0] = float32(math.NaN())
	if err := newRun(t, m, config(1)).Run(context.Background(), nil); err == nil {
		t.Error("a NaN among the parameters: no error")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := newRun(t, newModel(t), config(1)).Run(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ended: %v", err)
	}
}

func TestCrossEntropy(t *testing.T) {
	rows := tensor.MatOf([]float32{1, 2, 3, 0, 0, 0, 1000, 0, -1000}, 3, 3)
	s := train.CrossEntropy(rows, []int{2, train.Ignore, 1}, 0.5)
	want := math.Log(math.Exp(1)+math.Exp(2)+math.Exp(3)) - 3 + 1000
	if math.Abs(s.Loss-want) > 1e-4 || s.Count != 2 || s.Correct != 1 {
		t.Errorf("%+v, want a loss of %v", s, want)
	}
	for i, w := range []float64{0.0450, 0.1224, -0.1674, 0, 0, 0, 0.5, -0.5, 0} {
		if math.Abs(float64(rows.Data[i])-w) > 1e-4 {
			t.Errorf("gradient %d is %v, want %v", i, rows.Data[i], w)
		}
	}
	for _, labels := range [][]int{{1}, {0, 1, 3}} {
		func() {
			defer func() {
				if _, ok := recover().(*tensor.ShapeError); !ok {
					t.Errorf("labels %v: no ShapeError", labels)
				}
			}()
			train.CrossEntropy(rows, labels, 0)
		}()
	}
}
