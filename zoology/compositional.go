package zoology

import (
	"fmt"
	"math"

	"github.com/seqmix/seqmix/train"
)

// CompositionalMQAR is [MQAR] with keys of two tokens: a sequence has √D tokens of the
// first kind and √D of the second, and each of the D combinations has a value of its own,
// so that neither token alone tells it.
//
//	A X V1 B X V2 A Y V3 B Y V4  B Y ·  A X ·  …
//	                               V4     V1     labels
//
// The combinations come in any order. Slots have three positions. Tokens of the first kind
// are of [1, V/3), of the second of [V/3, 2·(V/3)), and values of what is left.
//
// The zero value of a field stands for the default of HazyResearch/zoology, with which the
// JSON keys agree.
type CompositionalMQAR struct {
	VocabSize        int     `json:"vocab_size,omitempty"`    // V, 8192 by default
	SeqLen           int     `json:"input_seq_len,omitempty"` // N, even; 64 by default
	Pairs            int     `json:"num_kv_pairs,omitempty"`  // D, a square; 4 by default; 6D ≤ N
	PowerA           float64 `json:"power_a,omitempty"`       // see MQAR; 0.01 by default
	RandomNonQueries *bool   `json:"random_non_queries,omitempty"`
}

// WithDefaults returns the task with all fields filled in.
func (t CompositionalMQAR) WithDefaults() CompositionalMQAR {
	setDefault(&t.VocabSize, 8192)
	setDefault(&t.SeqLen, 64)
	setDefault(&t.Pairs, 4)
	setDefault(&t.PowerA, 0.01)
	if t.RandomNonQueries == nil {
		t.RandomNonQueries = new(true)
	}
	return t
}

// grid returns √D, rounded down.
func (t CompositionalMQAR) grid() int { return int(math.Sqrt(float64(t.Pairs))) }

// Shape returns V and N.
func (t CompositionalMQAR) Shape() (vocabulary, length int, err error) {
	t = t.WithDefaults()
	if err := checkSizes("compositional MQAR", t.VocabSize, 6, t.SeqLen, 6); err != nil {
		return 0, 0, err
	}
	third := t.VocabSize / 3
	switch {
	case t.SeqLen%2 != 0 || t.Pairs < 1 || t.Pairs > t.SeqLen || 6*t.Pairs > t.SeqLen:
		err = fmt.Errorf("zoology: compositional MQAR with num_kv_pairs %d does not fit into input_seq_len %d, which must be even", t.Pairs, t.SeqLen)
	case t.grid()*t.grid() != t.Pairs:
		err = fmt.Errorf("zoology: compositional MQAR with num_kv_pairs %d, want a square", t.Pairs)
	case t.grid() > third-1 || t.Pairs > t.VocabSize-2*third:
		err = fmt.Errorf("zoology: compositional MQAR with num_kv_pairs %d, too many for vocab_size %d", t.Pairs, t.VocabSize)
	case !(t.PowerA >= leastPower && t.PowerA <= mostPower):
		err = fmt.Errorf("zoology: power_a %v, want %v to %v", t.PowerA, leastPower, mostPower)
	}
	return t.VocabSize, t.SeqLen, err
}

// Generate returns n sequences.
func (t CompositionalMQAR) Generate(n int, src Source) (train.Batch, error) {
	t = t.WithDefaults()
	if _, _, err := t.Shape(); err != nil {
		return train.Batch{}, err
	}
	third, side := t.VocabSize/3, t.grid()
	first := distinctRows(n, side, 1, third, src)
	second := distinctRows(n, side, third, 2*third, src)
	order := distinctRows(n, t.Pairs, 0, t.Pairs, src)
	values := distinctRows(n, t.Pairs, 2*third, t.VocabSize, src)
	slots := slotRows(n, t.Pairs, (t.SeqLen-3*t.Pairs)/3, t.PowerA, src)
	b := newBatch(n, t.SeqLen)
	for i := range n {
		ids, labels := sequence(b, i)
		for k, pair := range order[i] {
			k1, k2, query := first[i][pair/side], second[i][pair%side], 3*t.Pairs+3*slots[i][k]
			ids[3*k], ids[3*k+1], ids[3*k+2] = k1, k2, values[i][k]
			ids[query], ids[query+1], labels[query+1] = k1, k2, values[i][k]
		}
	}
	if *t.RandomNonQueries {
		fill(b, t.VocabSize, src)
	}
	return b, nil
}
