package train_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/train"
)

// newSegmented returns a model with layers that carry all kinds of states, and positions.
func newSegmented(t testing.TB) *lm.Model {
	t.Helper()
	m := newHybrid(t)
	r := rand.New(rand.NewPCG(7, 8))
	dim := m.Dim()
	for _, add := range []func() (seqmix.Mixer, error){
		func() (seqmix.Mixer, error) { return wrap(ssm.NewH3(ssm.H3Config{DModel: dim, DState: 8})) },
		func() (seqmix.Mixer, error) {
			return wrap(ssm.NewS4Block(ssm.S4BlockConfig{DModel: dim, S4D: &ssm.S4DConfig{DState: 8}}))
		},
		func() (seqmix.Mixer, error) {
			return wrap(hyena.NewStriped(hyena.StripedConfig{CascadeConfig: hyena.CascadeConfig{Dim: dim}}))
		},
	} {
		x, err := add()
		if err != nil {
			t.Fatal(err)
		}
		x.(interface{ Init(*rand.Rand) }).Init(r)
		m.Layers = append(m.Layers, &seqmix.Residual{Norm: nn.NewRMSNorm(dim, 1e-5), Mixer: x})
	}
	m.Positions, m.MaxLen = nn.NewEmbedding(64, dim), 64
	m.Positions.Init(r, 0.1)
	return m
}

// segmentGradient returns the gradients of a batch in segments, and its score.
func segmentGradient(t testing.TB, m *lm.Model, b train.Batch, s train.Segments) (seqmix.Grads, train.Score) {
	t.Helper()
	g, err := train.NewGradient(m, 2)
	if err != nil {
		t.Fatal(err)
	}
	g.Segments = s
	grads := zeroGrads(m)
	score, err := g.Add(grads, b, 1)
	if err != nil {
		t.Fatal(err)
	}
	b.Dropout = 0
	if only, err := g.Score(b); err != nil || only.Count != score.Count {
		t.Fatalf("score %+v without gradients, %+v with; %v", only, score, err)
	}
	return grads, score
}

// apart returns the largest distance between gradients of a parameter, relative to their
// norm.
func apart(m *lm.Model, got, want seqmix.Grads) (worst float64) {
	for _, p := range m.Params() {
		var off, norm float64
		for i, w := range want.Of(p) {
			d := float64(got.Of(p)[i]) - float64(w)
			off, norm = off+d*d, norm+float64(w)*float64(w)
		}
		worst = max(worst, math.Sqrt(off/(norm+1e-30)))
	}
	return worst
}

// Not truncated, gradients in segments are those of the whole.
func TestSegmentGradients(t *testing.T) {
	m := newSegmented(t)
	for _, dropout := range []float64{0, 0.3} {
		b := batch(1, 3, 40)
		b.Dropout, b.Seed = dropout, 5
		want, score := segmentGradient(t, m, b, train.Segments{})
		for _, s := range []train.Segments{{Len: 40}, {Len: 39}, {Len: 20}, {Len: 7}, {Len: 1}, {Len: 7, Truncate: 6}, {Len: 16, Truncate: 8}} {
			got, in := segmentGradient(t, m, b, s)
			if e := apart(m, got, want); !(e < 1e-5) {
				t.Errorf("%+v, dropout %v: gradients off by %.3g", s, dropout, e)
			}
			if in.Count != score.Count || in.Correct != score.Correct || math.Abs(in.Loss-score.Loss) > 1e-4 {
				t.Errorf("%+v, dropout %v: score %+v, want %+v", s, dropout, in, score)
			}
		}
	}
}

// A truncated gradient is that of segments whose first states are constants.
func TestTruncate(t *testing.T) {
	m := newSegmented(t)
	b := batch(1, 3, 40)
	whole, _ := segmentGradient(t, m, b, train.Segments{})
	for _, n := range []int{4, 8, 13} {
		want := detached(t, m, b, n)
		if e := apart(m, want, whole); e < 1e-2 {
			t.Fatalf("segments of %d: truncation changes gradients by %.3g only", n, e)
		}
		got, _ := segmentGradient(t, m, b, train.Segments{Len: n, Truncate: 1})
		if e := apart(m, got, want); !(e < 1e-5) {
			t.Errorf("segments of %d, truncated after each: off by %.3g", n, e)
		}
		if n%2 != 0 {
			continue
		}
		got, _ = segmentGradient(t, m, b, train.Segments{Len: n / 2, Truncate: 2})
		if e := apart(m, got, want); !(e < 1e-5) {
			t.Errorf("segments of %d, truncated after two: off by %.3g", n/2, e)
		}
	}
}

// detached computes gradients segment by segment, none of which is handed on.
func detached(t *testing.T, m *lm.Model, b train.Batch, n int) seqmix.Grads {
	t.Helper()
	grads := zeroGrads(m)
	layers := append(append(seqmix.Stack{}, m.Layers...), m.Norm)
	labels := 0
	for _, l := range b.Labels {
		if l >= 0 {
			labels++
		}
	}
	for i := range b.Size() {
		var state *seqmix.State
		for at := 0; at < b.Len; at += n {
			from, to := i*b.Len+at, i*b.Len+min(at+n, b.Len)
			ids := b.IDs[from:to]
			var positions []int
			for p := range ids {
				positions = append(positions, at+p)
			}
			x, p := tensor.NewSeq(1, len(ids), m.Dim()), tensor.NewSeq(1, len(ids), m.Dim())
			if err := errors.Join(m.Embedding.Lookup(x, ids), m.Positions.Lookup(p, positions)); err != nil {
				t.Fatal(err)
			}
			tensor.AddSeq(x, x, p)
			h := tensor.NewSeq(1, len(ids), m.Dim())
			tape, next, err := seqmix.RecordSegment(layers, h, x, state)
			if err != nil {
				t.Fatal(err)
			}
			state = next
			logits := tensor.NewSeq(1, len(ids), m.Head.Out())
			m.Head.Apply(logits, h)
			train.CrossEntropy(logits.Mat(), b.Labels[from:to], 1/float32(labels))
			d := tensor.NewSeq(1, len(ids), m.Dim())
			m.Head.Backward(d, logits, h, grads)
			tape.BackwardSegment(d, d, nil, grads)
			m.Embedding.Backward(d, ids, grads)
			m.Positions.Backward(d, positions, grads)
		}
	}
	return grads
}

// The bits do not depend on the number of cores.
func TestSegmentCores(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	m, b := newSegmented(t), batch(1, 3, 40)
	for _, s := range []train.Segments{{Len: 16}, {Len: 7, Truncate: 2}} {
		runtime.GOMAXPROCS(1)
		one, _ := segmentGradient(t, m, b, s)
		runtime.GOMAXPROCS(2)
		two, _ := segmentGradient(t, m, b, s)
		for name, p := range m.Params() {
			if !slices.Equal(one.Of(p), two.Of(p)) {
				t.Errorf("%+v: not the same gradient of %s on two cores", s, name)
			}
		}
	}
}

// heapProbe is a layer that does nothing but look at how much memory is in use when a
// gradient passes it.
type heapProbe struct {
	*nn.RMSNorm
	most *uint64
}

type heapTape struct {
	seqmix.SegmentTape
	most *uint64
}

func (p heapProbe) RecordSegment(dst, src tensor.Seq, first *seqmix.State) (seqmix.SegmentTape, *seqmix.State, error) {
	tape, last, err := seqmix.RecordSegment(p.RMSNorm, dst, src, first)
	return heapTape{tape, p.most}, last, err
}

func (t heapTape) BackwardSegment(dsrc, ddst tensor.Seq, dlast *seqmix.State, grads seqmix.Grads) *seqmix.State {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	*t.most = max(*t.most, m.HeapAlloc)
	return t.SegmentTape.BackwardSegment(dsrc, ddst, dlast, grads)
}

// The memory of long sequences is that of a segment and of states.
func TestSegmentMemory(t *testing.T) {
	const dim = 32
	var most uint64
	m := &lm.Model{Embedding: nn.NewEmbedding(vocabulary, dim), Layers: seqmix.Stack{heapProbe{nn.NewRMSNorm(dim, 1e-5), &most}}}
	m.Embedding.Init(rand.New(rand.NewPCG(1, 1)), 0.5)
	m.Head = m.Embedding.Head()
	for range 4 {
		x, err := ssm.NewS4Block(ssm.S4BlockConfig{DModel: dim, S4D: &ssm.S4DConfig{DState: 4}})
		if err != nil {
			t.Fatal(err)
		}
		x.Init(rand.New(rand.NewPCG(1, 1)))
		m.Layers = append(m.Layers, x)
	}
	used := func(length int, s train.Segments) int {
		b := batch(1, 1, length)
		g, err := train.NewGradient(m, 1)
		if err != nil {
			t.Fatal(err)
		}
		grads := zeroGrads(m)
		runtime.GC()
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		most = 0
		g.Segments = s
		if _, err := g.Add(grads, b, 1); err != nil {
			t.Fatal(err)
		}
		return int(most) - int(before.HeapAlloc)
	}
	used(256, train.Segments{Len: 128}) // what is kept for all
	short := used(256, train.Segments{Len: 128})
	for _, truncate := range []int{0, 1, 3} {
		if long := used(1<<13, train.Segments{Len: 128, Truncate: truncate}); long > 2*short {
			t.Errorf("truncated after %d: %d bytes for 8192 positions, %d for 256", truncate, long, short)
		}
	}
	if whole := used(1<<13, train.Segments{Len: 1<<13 - 1}); whole < 8*short {
		t.Errorf("the measure is wrong: %d bytes for a tape of 8191 positions, %d for one of 128", whole, short)
	}
}

// copies are sequences of random tokens and the same again, half a sequence later, where
// they are to be foretold.
func copies(step int) train.Batch {
	const size, half = 8, 6
	r := rand.New(rand.NewPCG(uint64(step), 3))
	b := train.Batch{Len: 2 * half}
	for range size {
		for range half {
			b.IDs, b.Labels = append(b.IDs, 1+r.IntN(vocabulary-1)), append(b.Labels, train.Ignore)
		}
		b.Labels = append(b.Labels, b.IDs[len(b.IDs)-half:]...)
		b.IDs = append(b.IDs, make([]int, half)...)
	}
	return b
}

// What lies in an earlier segment can be learnt, with and without gradients that go back to
// it, if the state is carried, and only then.
func TestCopyAcrossSegments(t *testing.T) {
	loss := func(s train.Segments, apart bool) float64 {
		m := &lm.Model{Embedding: nn.NewEmbedding(vocabulary, 24)}
		r := rand.New(rand.NewPCG(1, 2))
		m.Embedding.Init(r, 0.5)
		m.Head = m.Embedding.Head()
		h3, err := ssm.NewH3(ssm.H3Config{DModel: 24, DState: 16})
		if err != nil {
			t.Fatal(err)
		}
		shift, err := ssm.NewShift(ssm.ShiftConfig{DModel: 24, DState: 8})
		if err != nil {
			t.Fatal(err)
		}
		h3.Init(r)
		shift.Init(r)
		m.Layers = seqmix.Stack{&seqmix.Residual{Mixer: h3}, &seqmix.Residual{Mixer: shift}}
		cfg := train.Config{
			Steps: 60, Segments: s, Clip: 1,
			Rate: train.WarmupCosine(0, 2e-2, 1e-3, 5, 60),
			Batch: func(step int) ([]train.Batch, error) {
				b := copies(step)
				if apart { // every half is a sequence
					b.Len /= 2
				}
				return []train.Batch{b}, nil
			},
		}
		losses := run(t, newRun(t, m, cfg))
		return losses[len(losses)-1]
	}
	alone := loss(train.Segments{}, true)
	if chance := math.Log(vocabulary - 1); alone < chance-0.1 {
		t.Fatalf("loss %.3f without a state, chance is %.3f", alone, chance)
	}
	for _, s := range []train.Segments{{Len: 6}, {Len: 6, Truncate: 1}, {Len: 3, Truncate: 2}} {
		if l := loss(s, false); !(l < alone/4) {
			t.Errorf("%+v: loss %.3f with a state, %.3f without", s, l, alone)
		}
	}
}

// A run in segments that is interrupted goes on to the same bits.
func TestSegmentResume(t *testing.T) {
	cfg := config(8)
	cfg.Segments = train.Segments{Len: 2, Truncate: 2}
	whole := newModel(t)
	run(t, newRun(t, whole, cfg))
	file := filepath.Join(t.TempDir(), "run.safetensors")
	ctx, stop := context.WithCancel(context.Background())
	first := newRun(t, newModel(t), cfg)
	err := first.Run(ctx, func(s train.Step) error {
		if s.Step == 3 {
			stop()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := first.Save(file); err != nil {
		t.Fatal(err)
	}
	m := newModel(t)
	second := newRun(t, m, cfg)
	if err := second.Load(file); err != nil {
		t.Fatal(err)
	}
	run(t, second)
	if !bytes.Equal(bits(m), bits(whole)) {
		t.Error("the resumed run differs from the one that was not interrupted")
	}
}

func TestSegmentErrors(t *testing.T) {
	for _, s := range []train.Segments{{Len: -1}, {Len: 3, Truncate: -1}, {Truncate: 1}} {
		cfg := config(1)
		cfg.Segments = s
		if _, err := train.NewRun(newModel(t), cfg); err == nil {
			t.Errorf("%+v: no error", s)
		}
	}
	m := newModel(t)
	both, err := ssm.NewS4D(ssm.S4DConfig{DModel: dim, DState: 4, Bidirectional: true})
	if err != nil {
		t.Fatal(err)
	}
	m.Layers = append(m.Layers, both)
	g, err := train.NewGradient(m, 1)
	if err != nil {
		t.Fatal(err)
	}
	g.Segments = train.Segments{Len: 2}
	if _, err := g.Add(zeroGrads(m), batch(1, 1, 6), 1); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a layer that sees later positions: %v", err)
	}
	if _, err := g.Score(batch(1, 1, 6)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("scores of a layer that sees later positions: %v", err)
	}
}
