package zoology

import (
	"fmt"

	"github.com/seqmix/seqmix/tensor"
)

// ContinuousMQAR is associative recall of vectors instead of tokens: a sequence is
// Passes·D steps that hold a key beside its value, each pass in another order, and then D
// steps that hold a key beside zeros, for which the value is asked.
//
// Keys are rows of the first half of Embeddings, (V, d), and values of the second. An
// answer is scored by its products with all values: a label is the index of the value
// among these.
//
// The zero value of the other fields stands for the default of HazyResearch/zoology, with
// which the JSON keys agree (zoology/data/stacked_mqar.py).
type ContinuousMQAR struct {
	Embeddings tensor.Mat `json:"-"`
	Pairs      int        `json:"num_kv_pairs,omitempty"` // D, 8 by default, at most V/2
	Passes     int        `json:"num_passes,omitempty"`   // 1 by default

	// PerSequence gives every sequence its own mapping of the keys chosen to the values
	// chosen; true by default. Without it the mapping is that of the first sequence. As
	// in the reference, the keys and values chosen are other ones nevertheless.
	PerSequence *bool `json:"per_sequence_mapping,omitempty"`
}

// WithDefaults returns the task with all fields filled in.
func (t ContinuousMQAR) WithDefaults() ContinuousMQAR {
	setDefault(&t.Pairs, 8)
	setDefault(&t.Passes, 1)
	if t.PerSequence == nil {
		t.PerSequence = new(true)
	}
	return t
}

func (t ContinuousMQAR) check() error {
	if t.Pairs < 1 || t.Pairs > t.Embeddings.Rows/2 || t.Passes < 0 || t.Passes > maxSize {
		return fmt.Errorf("zoology: continuous MQAR with num_kv_pairs %d, num_passes %d and %d embeddings", t.Pairs, t.Passes, t.Embeddings.Rows)
	}
	return nil
}

// Generate returns n sequences of (Passes+1)·D vectors of 2d elements, and the labels of
// the last D positions of each.
func (t ContinuousMQAR) Generate(n int, src Source) (inputs tensor.Seq, labels []int, err error) {
	t = t.WithDefaults()
	if err := t.check(); err != nil {
		return tensor.Seq{}, nil, err
	}
	half, dim := t.Embeddings.Rows/2, t.Embeddings.Cols
	inputs = tensor.NewSeq(n, (t.Passes+1)*t.Pairs, 2*dim)
	labels = make([]int, 0, n*t.Pairs)
	keys, values := make([]int, t.Pairs), make([]int, t.Pairs)
	mapping, order := make([]int, t.Pairs), make([]int, t.Pairs)
	for b := range n {
		src.Distinct(keys, half)
		src.Distinct(values, half)
		if *t.PerSequence || b == 0 {
			src.Distinct(mapping, t.Pairs)
		}
		for at := 0; at < inputs.Len; at += t.Pairs {
			src.Distinct(order, t.Pairs)
			for j, k := range order {
				x := inputs.At(b, at+j)
				copy(x, t.Embeddings.Row(keys[k]))
				if v := values[mapping[k]]; at < t.Passes*t.Pairs {
					copy(x[dim:], t.Embeddings.Row(half+v))
				} else {
					labels = append(labels, v)
				}
			}
		}
	}
	return inputs, labels, nil
}
