package zoology

import (
	"fmt"

	"github.com/seqmix/seqmix/train"
)

// MQAR is multi-query associative recall (arXiv:2312.04927), the task of Zoology: a
// sequence begins with D pairs of a key and a value, and later asks for the value of each
// key,
//
//	K1 V1 K2 V2 … KD VD  ·  ·  K2 ·  ·  ·  K1 ·  …
//	                           V2          V1        labels
//
// Keys are different tokens of [1, V/2), values different ones of [V/2, V), in each
// sequence others. What follows the pairs are slots of two positions, of which slot g
// holds a query with a probability proportional to (g+1)^(a-1): keys draw their slots one
// after the other, so that first keys tend to be asked for first. The value is the label
// where the key is, and never shown again. Tokens between queries are 0, or any tokens.
//
// The zero value of a field stands for the default of HazyResearch/zoology, with which
// the JSON keys agree (zoology/data/multiquery_ar.py).
type MQAR struct {
	VocabSize int     `json:"vocab_size,omitempty"`    // V, 8192 by default
	SeqLen    int     `json:"input_seq_len,omitempty"` // N, even; 64 by default
	Pairs     int     `json:"num_kv_pairs,omitempty"`  // D, 8 by default; 2D·(Passes+1) ≤ N
	PowerA    float64 `json:"power_a,omitempty"`       // a, 0.01 by default; 1 makes all slots equally likely
	Passes    int     `json:"num_passes,omitempty"`    // how often the pairs are shown (arXiv:2407.05483); 1 by default

	// RandomNonQueries puts any tokens where there would be 0; true by default. Figure 2
	// of Zoology was made without.
	RandomNonQueries *bool `json:"random_non_queries,omitempty"`
}

// WithDefaults returns the task with all fields filled in.
func (t MQAR) WithDefaults() MQAR {
	setDefault(&t.VocabSize, 8192)
	setDefault(&t.SeqLen, 64)
	setDefault(&t.Pairs, 8)
	setDefault(&t.PowerA, 0.01)
	setDefault(&t.Passes, 1)
	if t.RandomNonQueries == nil {
		t.RandomNonQueries = new(true)
	}
	return t
}

// Shape returns V and N.
func (t MQAR) Shape() (vocabulary, length int, err error) {
	t = t.WithDefaults()
	if err := checkSizes("MQAR", t.VocabSize, 4, t.SeqLen, 4); err != nil {
		return 0, 0, err
	}
	return t.VocabSize, t.SeqLen, t.check(t.Pairs * t.Passes)
}

// check returns an error unless shown pairs fit, and queries after them.
func (t MQAR) check(shown int) error {
	switch {
	case t.SeqLen%2 != 0 || t.Pairs < 1 || t.Pairs > t.SeqLen || t.Passes < 1 || t.Passes > t.SeqLen || 2*(shown+t.Pairs) > t.SeqLen:
		return fmt.Errorf("zoology: %d pairs of keys and values and %d queries do not fit into input_seq_len %d, which must be even", shown, t.Pairs, t.SeqLen)
	case t.Pairs > t.VocabSize/2-1:
		return fmt.Errorf("zoology: %d keys, but a vocab_size of %d has %d", t.Pairs, t.VocabSize, t.VocabSize/2-1)
	case !(t.PowerA >= leastPower && t.PowerA <= mostPower):
		return fmt.Errorf("zoology: power_a %v, want %v to %v", t.PowerA, leastPower, mostPower)
	}
	return nil
}

// Generate returns n sequences.
func (t MQAR) Generate(n int, src Source) (train.Batch, error) {
	t = t.WithDefaults()
	if _, _, err := t.Shape(); err != nil {
		return train.Batch{}, err
	}
	keys := distinctRows(n, t.Pairs, 1, t.VocabSize/2, src)
	values := distinctRows(n, t.Pairs, t.VocabSize/2, t.VocabSize, src)
	b := newBatch(n, t.SeqLen)
	for i := range n {
		ids, _ := sequence(b, i)
		for k := range t.Pairs * t.Passes {
			ids[2*k], ids[2*k+1] = keys[i][k%t.Pairs], values[i][k%t.Pairs]
		}
	}
	t.ask(b, 2*t.Pairs*t.Passes, keys, values, src)
	return b, nil
}

// ask puts queries for keys after a context, with values as labels, and fills what is left.
func (t MQAR) ask(b train.Batch, context int, keys, values [][]int, src Source) {
	slots := slotRows(b.Size(), t.Pairs, (t.SeqLen-context)/2, t.PowerA, src)
	for i := range slots {
		ids, labels := sequence(b, i)
		for k, g := range slots[i] {
			at := context + 2*g
			ids[at], labels[at] = keys[i][k], values[i][k]
		}
	}
	if *t.RandomNonQueries {
		fill(b, t.VocabSize, src)
	}
}

// distinctRows draws n rows of k different tokens of [lo, hi).
func distinctRows(n, k, lo, hi int, src Source) [][]int {
	rows := newRows(n, k)
	for _, row := range rows {
		src.Distinct(row, hi-lo)
		for i := range row {
			row[i] += lo
		}
	}
	return rows
}

// slotRows draws n rows of k different slots.
func slotRows(n, k, slots int, a float64, src Source) [][]int {
	rows := newRows(n, k)
	law, p := powerLaw(slots, a), make([]float64, slots)
	for _, row := range rows {
		copy(p, law)
		weighted(row, p, src)
	}
	return rows
}

func newRows(n, k int) [][]int {
	all, rows := make([]int, n*k), make([][]int, n)
	for i := range rows {
		rows[i] = all[i*k : (i+1)*k]
	}
	return rows
}
