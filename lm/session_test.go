package lm_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/seqmix/seqmix/lm"
)

func newRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// TestPieces reads a prompt in pieces of several lengths.
func TestPieces(t *testing.T) {
	m := newModel(t)
	m.Pack()
	ids := randomIDs(600)
	want := slices.Clone(newSession(t, m, ids...).Logits())
	for _, n := range []int{1, 7, 64, 512} {
		s := newSession(t, m)
		for piece := range slices.Chunk(ids, n) {
			feed(t, s, piece...)
		}
		if !slices.Equal(s.Logits(), want) {
			t.Errorf("pieces of %d: other logits", n)
		}
	}
}

// greedy returns what follows.
func greedy(t testing.TB, s *lm.Session, n int) []int {
	t.Helper()
	var ids []int
	for id, err := range s.Generate(context.Background(), lm.Options{MaxTokens: n}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func TestForkAndSnapshot(t *testing.T) {
	m := newModel(t)
	prompt := randomIDs(40)
	s := newSession(t, m, prompt...)
	fork, reset := s.Fork(), s.Fork()
	saved, err := s.AppendBinary([]byte("before"))
	if err != nil {
		t.Fatal(err)
	}
	want := greedy(t, s, 20)
	feed(t, fork, 5, 6)
	other := greedy(t, fork, 20)
	if slices.Equal(other, want) {
		t.Error("a fork that went another way says the same")
	}
	reset.Reset()
	feed(t, reset, append(slices.Clone(prompt), 5, 6)...)
	if !slices.Equal(greedy(t, reset, 20), other) {
		t.Error("a fork continues otherwise than a session of its own")
	}

	restored := newSession(t, m, 1, 2, 3)
	if err := restored.UnmarshalBinary(saved[6:]); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(restored.Tokens(), prompt) {
		t.Errorf("tokens %v, want %v", restored.Tokens(), prompt)
	}
	if got := greedy(t, restored, 20); !slices.Equal(got, want) {
		t.Errorf("the restored session says %v, want %v", got, want)
	}
}

// FuzzUnmarshalBinary reads damaged snapshots: the session is to stay as it is.
func FuzzUnmarshalBinary(f *testing.F) {
	m := newModel(f)
	s := newSession(f, m, 1, 2, 3)
	saved, err := s.AppendBinary(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(saved)
	f.Add(saved[:len(saved)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newSession(t, m, 4, 5)
		before, _ := s.AppendBinary(nil)
		if err := s.UnmarshalBinary(data); err == nil {
			return
		}
		if after, _ := s.AppendBinary(nil); !bytes.Equal(after, before) {
			t.Error("an error changed the session")
		}
	})
}

// TestStep advances sessions of different lengths together.
func TestStep(t *testing.T) {
	m := newModel(t)
	m.Pack()
	var alone, together []*lm.Session
	for _, n := range []int{1, 5, 40, 3} {
		s := newSession(t, m, randomIDs(n)...)
		alone, together = append(alone, s), append(together, s.Fork())
	}
	for round := range 5 {
		ids := randomIDs(len(alone) + round)[:len(alone)]
		if err := lm.Step(together, ids); err != nil {
			t.Fatal(err)
		}
		for i, s := range alone {
			feed(t, s, ids[i])
			if !slices.Equal(together[i].Logits(), s.Logits()) {
				t.Fatalf("round %d: logits of session %d differ", round, i)
			}
		}
	}
	if err := lm.Step(together, []int{1, 2, vocabulary, 3}); err == nil {
		t.Error("a token outside of the vocabulary gave no error")
	}
	if err := lm.Step(together, []int{1}); err == nil {
		t.Error("too few tokens gave no error")
	}
	if err := lm.Step([]*lm.Session{together[0], newSession(t, newModel(t), 1)}, []int{1, 1}); err == nil {
		t.Error("sessions of two models gave no error")
	}
	for i, s := range together {
		if s.Len() != alone[i].Len() {
			t.Errorf("an error changed session %d", i)
		}
	}
}

func TestGenerateEach(t *testing.T) {
	m := newModel(t)
	var sessions []*lm.Session
	var options []lm.Options
	var want [][]int
	for i, n := range []int{1, 30, 4} {
		s := newSession(t, m, randomIDs(n)...)
		o := lm.Options{MaxTokens: 5 * (i + 1), Sampler: lm.Sampler{Temperature: 0.8, Seed: uint64(i)}}
		alone := s.Fork()
		var ids []int
		for id, err := range alone.Generate(context.Background(), o) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		sessions, options, want = append(sessions, s), append(options, o), append(want, ids)
	}
	got := make([][]int, len(sessions))
	for token, err := range lm.GenerateEach(context.Background(), sessions, options) {
		if err != nil {
			t.Fatal(err)
		}
		got[token.Session] = append(got[token.Session], token.ID)
	}
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("session %d: %v, alone %v", i, got[i], want[i])
		}
	}
}

func TestGenerateEnds(t *testing.T) {
	m := newModel(t)
	prompt := randomIDs(10)
	all := greedy(t, newSession(t, m, prompt...), 30)
	run := func(ctx context.Context, o lm.Options) (ids []int, err error) {
		s := newSession(t, m, prompt...)
		for id, e := range s.Generate(ctx, o) {
			if e != nil {
				return ids, e
			}
			ids = append(ids, id)
		}
		if s.Len() != len(prompt)+len(ids) {
			t.Errorf("%d tokens in the session, want %d", s.Len(), len(prompt)+len(ids))
		}
		return ids, nil
	}
	first := slices.Index(all, all[7])
	if got, _ := run(context.Background(), lm.Options{MaxTokens: 30, Stop: []int{all[7]}}); !slices.Equal(got, all[:first]) {
		t.Errorf("with a stop token: %v, want %v", got, all[:first])
	}
	stop := all[6:9]
	end := 0
	for end = 3; !slices.Equal(all[end-3:end], stop); end++ {
	}
	if got, _ := run(context.Background(), lm.Options{MaxTokens: 30, StopSequences: [][]int{{}, stop}}); !slices.Equal(got, all[:end]) {
		t.Errorf("with a stop sequence: %v, want %v", got, all[:end])
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if got, err := run(ctx, lm.Options{MaxTokens: 30}); !errors.Is(err, context.Canceled) || len(got) != 0 {
		t.Errorf("with a context that ended: %v, error %v", got, err)
	}
	m.MaxLen = 15
	if got, err := run(context.Background(), lm.Options{}); err != nil || len(got) != 5 {
		t.Errorf("with a length of 15: %d tokens, error %v", len(got), err)
	}
	if _, err := run(context.Background(), lm.Options{Sampler: lm.Sampler{TopP: 2}}); err == nil {
		t.Error("a top-p of 2 gave no error")
	}
	for _, err := range newSession(t, m).Generate(context.Background(), lm.Options{}) {
		if err == nil {
			t.Error("an empty session was continued")
		}
	}
}

// TestManySessions runs 64 sessions of one model on as many goroutines.
func TestManySessions(t *testing.T) {
	m := newModel(t)
	m.Pack()
	prompt := randomIDs(20)
	want := greedy(t, newSession(t, m, prompt...), 20)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if got := greedy(t, newSession(t, m, prompt...), 20); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
	wg.Wait()
}

// TestTemporaryMemory checks that the temporary memory of a long prompt does not grow with
// the number of layers, nor with that of sessions.
func TestTemporaryMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector loses memory on purpose")
	}
	const layers, sessions = 40, 5
	m := newModel(t)
	for len(m.Layers) < layers {
		m.Layers = append(m.Layers, m.Layers[0])
	}
	ids := randomIDs(512)
	newSession(t, m, ids...).Logits()
	var all []*lm.Session
	for range sessions {
		all = append(all, newSession(t, m))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, s := range all {
		feed(t, s, ids...)
		s.Logits()
	}
	runtime.ReadMemStats(&after)
	const activations = 4 * 512 * dim // between two layers
	if n := after.TotalAlloc - before.TotalAlloc; n > sessions*layers*activations/4 {
		t.Errorf("%d sessions of %d layers allocate %d bytes, that is %.1f times what is between two layers", sessions, layers, n, float64(n)/activations)
	} else {
		t.Logf("%d bytes", n)
	}
}

// TestFeedAllocates checks that a token costs no memory, but for the list of tokens.
func TestFeedAllocates(t *testing.T) {
	s := newSession(t, newModel(t), randomIDs(100)...)
	s.Logits()
	if n := testing.AllocsPerRun(50, func() {
		feed(t, s, 3)
		s.Logits()
	}); n > 0 && !raceEnabled {
		t.Errorf("%v allocations per token", n)
	}
}
