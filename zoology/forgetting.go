package zoology

import (
	"fmt"

	"github.com/seqmix/seqmix/train"
)

// ForgettingMQAR is [MQAR] in which U of the keys are shown a second time, with another
// value, after all pairs: queries ask for the last value of a key.
//
// The value of update j differs from the first value of pair j. The reference meant the
// pair that is updated; since that may be another, a key can be given the value that it
// had, once in about V/2 times.
//
// The zero value of a field stands for the default of HazyResearch/zoology, with which the
// JSON keys agree (zoology/data/forgetting_mqar.py).
type ForgettingMQAR struct {
	VocabSize        int     `json:"vocab_size,omitempty"`    // V, 8192 by default
	SeqLen           int     `json:"input_seq_len,omitempty"` // N, even; 64 by default
	Pairs            int     `json:"num_kv_pairs,omitempty"`  // D, 8 by default; 2(D+U)+2D ≤ N
	Updates          int     `json:"num_updates,omitempty"`   // U, at most D; 4 by default
	PowerA           float64 `json:"power_a,omitempty"`       // see MQAR; 0.01 by default
	RandomNonQueries *bool   `json:"random_non_queries,omitempty"`
}

// WithDefaults returns the task with all fields filled in.
func (t ForgettingMQAR) WithDefaults() ForgettingMQAR {
	m := t.mqar()
	setDefault(&t.Updates, 4)
	return ForgettingMQAR{m.VocabSize, m.SeqLen, m.Pairs, t.Updates, m.PowerA, m.RandomNonQueries}
}

// mqar returns the task without updates.
func (t ForgettingMQAR) mqar() MQAR {
	return MQAR{VocabSize: t.VocabSize, SeqLen: t.SeqLen, Pairs: t.Pairs, PowerA: t.PowerA, RandomNonQueries: t.RandomNonQueries}.WithDefaults()
}

// Shape returns V and N.
func (t ForgettingMQAR) Shape() (vocabulary, length int, err error) {
	t = t.WithDefaults()
	if err := checkSizes("forgetting MQAR", t.VocabSize, 4, t.SeqLen, 4); err != nil {
		return 0, 0, err
	}
	if t.Updates < 0 || t.Updates > t.Pairs {
		return 0, 0, fmt.Errorf("zoology: forgetting MQAR with num_updates %d of num_kv_pairs %d", t.Updates, t.Pairs)
	}
	return t.VocabSize, t.SeqLen, t.mqar().check(t.Pairs + t.Updates)
}

// Generate returns n sequences.
func (t ForgettingMQAR) Generate(n int, src Source) (train.Batch, error) {
	t = t.WithDefaults()
	if _, _, err := t.Shape(); err != nil {
		return train.Batch{}, err
	}
	half := t.VocabSize / 2
	keys := distinctRows(n, t.Pairs, 1, half, src)
	values := distinctRows(n, t.Pairs, half, t.VocabSize, src)
	updates := newRows(n, t.Updates)
	for i := range updates {
		for j := range updates[i] {
			v := half + src.IntN(t.VocabSize-half-1)
			if v >= values[i][j] {
				v++
			}
			updates[i][j] = v
		}
	}
	updated := distinctRows(n, t.Updates, 0, t.Pairs, src)
	b := newBatch(n, t.SeqLen)
	for i := range n {
		ids, _ := sequence(b, i)
		for k := range keys[i] {
			ids[2*k], ids[2*k+1] = keys[i][k], values[i][k]
		}
		for j, k := range updated[i] {
			values[i][k] = updates[i][j]
			ids[2*(t.Pairs+j)], ids[2*(t.Pairs+j)+1] = keys[i][k], values[i][k]
		}
	}
	t.mqar().ask(b, 2*(t.Pairs+t.Updates), keys, values, src)
	return b, nil
}
