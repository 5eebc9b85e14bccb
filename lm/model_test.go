package lm_test

import (
	"errors"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// naiveLogits computes a model as its documentation says, whole sequences at a time.
func naiveLogits(m *lm.Model, ids []int) tensor.Seq {
	x := tensor.NewSeq(1, len(ids), m.Dim())
	for i, id := range ids {
		m.Embedding.Weight.Row(x.At(0, i), id)
		if m.Positions != nil {
			row := make([]float32, m.Dim())
			m.Positions.Weight.Row(row, i)
			tensor.Add(x.At(0, i), x.At(0, i), row)
		}
	}
	m.Layers.Mix(x, x)
	m.Norm.Mix(x, x)
	y := tensor.NewSeq(1, len(ids), m.Head.Out())
	m.Head.Apply(y, x)
	return y
}

func TestLogitsAndScore(t *testing.T) {
	m := newModel(t)
	ids := randomIDs(700) // more than one piece
	want := naiveLogits(m, ids)
	got, err := m.Logits(ids)
	if err != nil {
		t.Fatal(err)
	}
	scores, err := m.Score(ids)
	if err != nil {
		t.Fatal(err)
	}
	if len(scores) != len(ids)-1 {
		t.Fatalf("%d scores of %d tokens", len(scores), len(ids))
	}
	total := 0.0
	for i := range ids {
		row := want.At(0, i)[:vocabulary]
		if !slices.Equal(got.At(0, i), row) {
			t.Fatalf("logits of position %d are %v, want %v", i, got.At(0, i), row)
		}
		if i+1 == len(ids) {
			break
		}
		sum := 0.0
		for _, v := range row {
			sum += math.Exp(float64(v))
		}
		want := float64(row[ids[i+1]]) - math.Log(sum)
		if math.Abs(scores[i]-want) > 1e-5 {
			t.Errorf("score of position %d is %v, want %v", i, scores[i], want)
		}
		total += want
	}
	if got, want := lm.Perplexity(scores), math.Exp(-total/float64(len(scores))); math.Abs(got/want-1) > 1e-5 {
		t.Errorf("perplexity %v, want %v", got, want)
	}
}

func TestHidden(t *testing.T) {
	m := newModel(t)
	ids := randomIDs(20)
	h, err := m.Hidden(ids)
	if err != nil {
		t.Fatal(err)
	}
	y := tensor.NewSeq(1, len(ids), padded)
	m.Head.Apply(y, h)
	if !slices.Equal(y.Data, naiveLogits(m, ids).Data) {
		t.Error("the head does not make logits of what Hidden returns")
	}
}

func TestPositions(t *testing.T) {
	m := newModel(t)
	m.Positions, m.MaxLen = nn.NewEmbedding(40, dim), 30
	nn.Normal(m.Positions.Weight, newRand(), 1)
	ids := randomIDs(30)
	want := naiveLogits(m, ids)
	s := newSession(t, m)
	for i, id := range ids {
		feed(t, s, id)
		if !slices.Equal(s.Logits(), want.At(0, i)[:vocabulary]) {
			t.Fatalf("logits of position %d differ", i)
		}
	}
	if err := s.Feed(1); !errors.Is(err, lm.ErrTooLong) {
		t.Errorf("one token too many: error %v, want ErrTooLong", err)
	}
	if _, err := m.Score(randomIDs(31)); !errors.Is(err, lm.ErrTooLong) {
		t.Errorf("one token too many: error %v, want ErrTooLong", err)
	}
	if s.Len() != 30 {
		t.Errorf("after the error the session has %d tokens, want 30", s.Len())
	}
}

func TestParams(t *testing.T) {
	m := newModel(t)
	names := maps.Collect(m.Params())
	for _, name := range []string{"embedding.weight", "layers.0.mixer.in_proj.weight", "layers.2.norm.weight", "norm.weight", "head.weight"} {
		if names[name] == nil {
			t.Errorf("no parameter %s among %v", name, slices.Sorted(maps.Keys(names)))
		}
	}
	n, bytes := m.Size()
	want := 0
	for name, p := range names {
		if name != "head.weight" { // the embedding
			want += p.Len()
		}
	}
	if n != want || bytes != 4*want {
		t.Errorf("size %d, %d bytes; want %d, %d bytes", n, bytes, want, 4*want)
	}
}

// TestQuantize checks that smaller weights give nearly the same scores, and packing the
// same bits.
func TestQuantize(t *testing.T) {
	ids := randomIDs(50)
	base := newModel(t)
	want, err := base.Score(ids)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		format tensor.DType
		bound  float64
	}{{tensor.Float32, 0}, {tensor.BFloat16, 0.1}, {tensor.Int8, 0.12}, {tensor.Int4, 2}} {
		m := newModel(t)
		_, before := m.Size()
		m.Quantize(c.format)
		m.Pack()
		got, err := m.Score(ids)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if math.Abs(got[i]-want[i]) > c.bound {
				t.Errorf("%v: score %d is %v, with float32 %v", c.format, i, got[i], want[i])
			}
		}
		if _, after := m.Size(); c.format != tensor.Float32 && after >= before {
			t.Errorf("%v: %d bytes, with float32 %d", c.format, after, before)
		}
		m.Compact()
		if compact, err := m.Score(ids); err != nil || !slices.Equal(compact, got) {
			t.Errorf("%v: compact, the scores are %v, packed %v; %v", c.format, compact, got, err)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, change := range map[string]func(*lm.Model){
		"no embedding":     func(m *lm.Model) { m.Embedding = nil },
		"no head":          func(m *lm.Model) { m.Head = nil },
		"layer":            func(m *lm.Model) { m.Layers = append(m.Layers, nn.NewRMSNorm(dim+1, 1)) },
		"norm":             func(m *lm.Model) { m.Norm = nn.NewRMSNorm(dim-1, 1) },
		"head":             func(m *lm.Model) { m.Head = nn.NewLinear(dim+1, padded, false) },
		"vocabulary":       func(m *lm.Model) { m.Vocabulary = padded + 1 },
		"positions":        func(m *lm.Model) { m.Positions = nn.NewEmbedding(8, dim) },
		"narrow positions": func(m *lm.Model) { m.Positions, m.MaxLen = nn.NewEmbedding(8, dim-1), 8 },
		"length":           func(m *lm.Model) { m.MaxLen = -1 },
	} {
		m := newModel(t)
		change(m)
		if err := m.Check(); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := m.NewSession(); err == nil {
			t.Errorf("%s: a session without an error", name)
		}
	}
	m := newModel(t)
	m.Layers = append(m.Layers, whole{})
	if _, err := m.NewSession(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a layer that does not stream: error %v", err)
	}
}

// whole is a mixer that does not stream.
type whole struct{ seqmix.Stack }

func (whole) Dim() int { return dim }

func (whole) NewStream(int) (seqmix.Stream, error) { return nil, errors.ErrUnsupported }

func TestTokensOutside(t *testing.T) {
	m := newModel(t)
	for _, id := range []int{-1, vocabulary, padded, math.MaxInt} {
		s := newSession(t, m, 1, 2)
		if err := s.Feed(3, id); err == nil || s.Len() != 2 {
			t.Errorf("token %d: error %v, and %d tokens", id, err, s.Len())
		}
		if _, err := m.Score([]int{1, id}); err == nil {
			t.Errorf("token %d was scored", id)
		}
	}
}
