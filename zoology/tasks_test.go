package zoology

import (
	"math"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/train"
)

func generate(t testing.TB, task Task, n int) train.Batch {
	t.Helper()
	vocabulary, length, err := task.Shape()
	if err != nil {
		t.Fatal(err)
	}
	b, err := task.Generate(n, testSource(3))
	if err != nil {
		t.Fatal(err)
	}
	if b.Size() != n || b.Len != length || len(b.Labels) != n*length {
		t.Fatalf("%T: %d sequences of %d with %d labels", task, b.Size(), b.Len, len(b.Labels))
	}
	for i, id := range b.IDs {
		if l := b.Labels[i]; id < 0 || id >= vocabulary || l != train.Ignore && (l < 0 || l >= vocabulary) {
			t.Fatalf("%T: token %d, label %d", task, id, l)
		}
	}
	return b
}

// TestMQAR checks sequences against the definition, with other random tokens or none.
func TestMQAR(t *testing.T) {
	for _, random := range []bool{false, true} {
		for _, task := range []MQAR{
			{VocabSize: 64, SeqLen: 32, Pairs: 4},
			{VocabSize: 64, SeqLen: 16, Pairs: 4}, // every slot is used
			{VocabSize: 66, SeqLen: 40, Pairs: 5, Passes: 2, PowerA: 1},
			{},
		} {
			task.RandomNonQueries = &random
			full := task.WithDefaults()
			b := generate(t, task, 50)
			for i := range 50 {
				ids, labels := sequence(b, i)
				checkRecall(t, full, 2*full.Pairs*full.Passes, ids, labels)
			}
		}
	}
}

// checkRecall finds the label of every query in the context, the last time it is there.
func checkRecall(t *testing.T, task MQAR, context int, ids, labels []int) {
	t.Helper()
	value, queries := map[int]int{}, 0
	for k := 0; k < context; k += 2 {
		if ids[k] < 1 || ids[k] >= task.VocabSize/2 || ids[k+1] < task.VocabSize/2 {
			t.Fatalf("pair %v", ids[k:k+2])
		}
		value[ids[k]] = ids[k+1]
	}
	if len(value) != task.Pairs {
		t.Fatalf("%d keys of %d are different", len(value), task.Pairs)
	}
	for i, l := range labels {
		switch {
		case l != train.Ignore:
			queries++
			if i < context || i%2 != 0 || value[ids[i]] != l {
				t.Fatalf("label %d at %d for the key %d in %v", l, i, ids[i], ids)
			}
		case i >= context && !*task.RandomNonQueries && ids[i] != 0:
			t.Fatalf("token %d at %d between queries", ids[i], i)
		}
	}
	if queries != task.Pairs {
		t.Fatalf("%d queries for %d keys", queries, task.Pairs)
	}
}

// TestDistances compares mean distances of queries from their values with those computed
// elsewhere by another implementation of the generator.
func TestDistances(t *testing.T) {
	for _, test := range []struct {
		length, pairs int
		mean          float64
	}{{64, 4, 18.4}, {64, 8, 22.9}, {64, 16, 31}, {128, 8, 36.4}, {256, 16, 72.4}, {512, 64, 186.7}} {
		const n = 2000
		b := generate(t, MQAR{SeqLen: test.length, Pairs: test.pairs}, n)
		sum := 0.0
		for i := range n {
			ids, labels := sequence(b, i)
			for at, l := range labels {
				if l != train.Ignore {
					sum += float64(at - slices.Index(ids, l))
				}
			}
		}
		if mean := sum / float64(n*test.pairs); math.Abs(mean-test.mean) > 0.03*test.mean {
			t.Errorf("%d pairs in %d: %.1f positions on average, want %.1f", test.pairs, test.length, mean, test.mean)
		}
	}
}

// TestWindowCeiling compares with values computed elsewhere, and with sequences.
func TestWindowCeiling(t *testing.T) {
	for _, test := range []struct {
		length, pairs, left int
		want                float64
	}{
		{64, 4, 8, .329}, {64, 4, 32, .804}, {64, 4, 64, 1}, {64, 8, 16, .394}, {64, 16, 8, .001}, {64, 16, 32, .595},
		{128, 8, 64, .812}, {128, 32, 64, .575}, {256, 64, 128, .56}, {512, 64, 256, .761}, {1024, 256, 256, .021},
	} {
		got, err := MQAR{SeqLen: test.length, Pairs: test.pairs}.WindowCeiling(test.left, 4000, testSource(4))
		if err != nil || math.Abs(got-test.want) > 0.015 {
			t.Errorf("%d pairs in %d, window %d: %.3f, want %.3f (%v)", test.pairs, test.length, test.left, got, test.want, err)
		}
	}
	task := MQAR{VocabSize: 200, SeqLen: 64, Pairs: 6, Passes: 2, RandomNonQueries: new(false)}
	const n, left = 4000, 20
	b := generate(t, task, n)
	seen := 0.0
	for i := range n {
		ids, labels := sequence(b, i)
		for at, l := range labels {
			if l != train.Ignore && slices.Contains(ids[max(0, at-left):at], l) {
				seen += 1.0 / (n * 6)
			}
		}
	}
	if got, err := task.WindowCeiling(left, n, testSource(5)); err != nil || math.Abs(got-seen) > 0.02 {
		t.Errorf("a window of %d: %.3f, in sequences %.3f (%v)", left, got, seen, err)
	}
}

// TestPublishedWindows compares the mean ceilings of Figure 2 of Based with the points of
// sliding windows in it.
func TestPublishedWindows(t *testing.T) {
	tests := BasedFigure2().Test
	for left, want := range map[int]float64{32: .310, 64: .514, 128: .655, 256: .797} {
		mean := 0.0
		for _, task := range tests {
			c, err := task.WindowCeiling(left, 300, testSource(8))
			if err != nil {
				t.Fatal(err)
			}
			mean += c / float64(len(tests))
		}
		if math.Abs(mean-want) > 0.02 {
			t.Errorf("a window of %d: %.3f, published %.3f", left, mean, want)
		}
	}
}

func TestCompositionalMQAR(t *testing.T) {
	task := CompositionalMQAR{VocabSize: 96, SeqLen: 60, Pairs: 9, RandomNonQueries: new(false)}
	b := generate(t, task, 50)
	for i := range 50 {
		ids, labels := sequence(b, i)
		value, first, second := map[[2]int]int{}, map[int]int{}, map[int]int{}
		for k := 0; k < 27; k += 3 {
			value[[2]int{ids[k], ids[k+1]}] = ids[k+2]
			first[ids[k]]++
			second[ids[k+1]]++
		}
		if len(value) != 9 || len(first) != 3 || len(second) != 3 {
			t.Fatalf("%d combinations of %d and %d", len(value), len(first), len(second))
		}
		queries := 0
		for at, l := range labels {
			if l == train.Ignore {
				continue
			}
			queries++
			if l < 64 || value[[2]int{ids[at-1], ids[at]}] != l {
				t.Fatalf("label %d at %d of %v", l, at, ids)
			}
		}
		if queries != 9 {
			t.Fatalf("%d queries", queries)
		}
	}
}

func TestForgettingMQAR(t *testing.T) {
	for _, random := range []bool{false, true} {
		task := ForgettingMQAR{VocabSize: 128, SeqLen: 48, Pairs: 6, Updates: 3, RandomNonQueries: &random}
		b := generate(t, task, 50)
		for i := range 50 {
			ids, labels := sequence(b, i)
			checkRecall(t, task.mqar(), 18, ids, labels)
			if updated := ids[12:18]; updated[0] == updated[2] || updated[2] == updated[4] || updated[0] == updated[4] {
				t.Fatalf("one key is updated twice: %v", updated)
			}
		}
	}
}

func TestContinuousMQAR(t *testing.T) {
	const rows, dim, pairs = 12, 3, 4
	table := tensor.MatOf(make([]float32, rows*dim), rows, dim)
	for i := range table.Data {
		table.Data[i] = float32(i + 1)
	}
	for _, per := range []bool{true, false} {
		task := ContinuousMQAR{Embeddings: table, Pairs: pairs, Passes: 2, PerSequence: &per}
		x, labels, err := task.Generate(20, testSource(6))
		if err != nil || x.Batch != 20 || x.Len != 3*pairs || x.Dim != 2*dim || len(labels) != 20*pairs {
			t.Fatalf("%d sequences of %d vectors of %d, %d labels, %v", x.Batch, x.Len, x.Dim, len(labels), err)
		}
		for b := range x.Batch {
			value := map[float32]float32{}
			for i := range 2 * pairs {
				value[x.At(b, i)[0]] = x.At(b, i)[dim]
			}
			for i := range pairs {
				query := x.At(b, 2*pairs+i)
				want := table.Row(rows/2 + labels[b*pairs+i])[0]
				if len(value) != pairs || value[query[0]] != want || !slices.Equal(query[dim:], make([]float32, dim)) {
					t.Fatalf("query %v, label %v", query, want)
				}
			}
		}
	}
}

func TestBits(t *testing.T) {
	for _, test := range []struct {
		task  Task
		label func(ones, bits int) bool
		every bool
	}{
		{Parity{SeqLen: 9}, func(ones, _ int) bool { return ones%2 != 0 }, false},
		{Majority{SeqLen: 10}, func(ones, bits int) bool { return ones > bits-ones }, false},
		{CumulativeParity{SeqLen: 9}, func(ones, _ int) bool { return ones%2 != 0 }, true},
		{CumulativeMajority{SeqLen: 9}, func(ones, bits int) bool { return ones >= bits-ones }, true},
	} {
		b := generate(t, test.task, 100)
		total, drawn := 0, 0
		for i := range 100 {
			ids, labels := sequence(b, i)
			ones, bits := 0, 0
			for k, id := range ids {
				last := k == len(ids)-1
				if !test.every && last {
					if id != 2 {
						t.Fatalf("%T ends in %d", test.task, id)
					}
				} else {
					bits++
					ones += id
				}
				if want := test.label(ones, bits); (test.every || last) && (labels[k] == 1) != want {
					t.Fatalf("%T: label %d at %d of %v", test.task, labels[k], k, ids)
				}
				if !test.every && !last && labels[k] != train.Ignore {
					t.Fatalf("%T: label %d at %d", test.task, labels[k], k)
				}
			}
			total, drawn = total+ones, drawn+bits
		}
		if share := float64(total) / float64(drawn); math.Abs(share-0.5) > 0.1 {
			t.Errorf("%T: %.2f of the bits are ones", test.task, share)
		}
	}
}

func TestVocabMajority(t *testing.T) {
	b := generate(t, VocabMajority{VocabSize: 5, SeqLen: 10}, 200)
	for i := range 200 {
		ids, labels := sequence(b, i)
		count := map[int]int{}
		for _, id := range ids[:9] {
			count[id]++
		}
		winner := labels[9]
		for id, n := range count {
			if id == 0 || id != winner && n >= count[winner] {
				t.Fatalf("label %d of %v", winner, ids)
			}
		}
		if ids[9] != 0 {
			t.Fatalf("%v does not end in 0", ids)
		}
	}
}

// TestImpossibleTasks checks that they are errors.
func TestImpossibleTasks(t *testing.T) {
	for _, task := range []Task{
		MQAR{SeqLen: 63}, MQAR{SeqLen: 16, Pairs: 5}, MQAR{VocabSize: 16, Pairs: 8}, MQAR{VocabSize: -1}, MQAR{PowerA: -1},
		MQAR{PowerA: math.NaN()}, MQAR{Passes: -1}, MQAR{Pairs: 1 << 62}, MQAR{Passes: 1 << 62}, MQAR{SeqLen: 1 << 40},
		CompositionalMQAR{Pairs: 5}, CompositionalMQAR{Pairs: 16}, CompositionalMQAR{Pairs: 1 << 62}, CompositionalMQAR{VocabSize: 7}, CompositionalMQAR{PowerA: 1e9},
		ForgettingMQAR{Updates: 9}, ForgettingMQAR{Updates: -1}, ForgettingMQAR{Pairs: 15, SeqLen: 64}, ForgettingMQAR{VocabSize: 2},
		Parity{SeqLen: 1}, Majority{SeqLen: -1}, CumulativeParity{SeqLen: 1}, CumulativeMajority{SeqLen: 1 << 40},
		VocabMajority{VocabSize: 1}, VocabMajority{SeqLen: 1},
	} {
		if _, _, err := task.Shape(); err == nil {
			t.Errorf("%T%+v: no error of Shape", task, task)
		}
		if _, err := task.Generate(1, testSource(7)); err == nil {
			t.Errorf("%T%+v: no error of Generate", task, task)
		}
	}
	if _, _, err := (ContinuousMQAR{}).Generate(1, testSource(7)); err == nil {
		t.Error("continuous MQAR without embeddings: no error")
	}
	if _, err := (MQAR{SeqLen: 1}).WindowCeiling(1, 1, testSource(7)); err == nil {
		t.Error("the ceiling of an impossible task: no error")
	}
}
