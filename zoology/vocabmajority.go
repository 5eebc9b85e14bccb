package zoology

import "github.com/seqmix/seqmix/train"

// VocabMajority asks for the most frequent of N-1 random tokens of [1, V): after them
// comes the token 0, and the label is there. If several tokens are the most frequent, it
// is the smallest of them, which then takes the place of the first token that is another.
//
// The JSON keys are those of HazyResearch/zoology (zoology/data/circuits.py).
type VocabMajority struct {
	VocabSize int `json:"vocab_size,omitempty"`    // V, 8192 by default
	SeqLen    int `json:"input_seq_len,omitempty"` // N, 64 by default
}

// Shape returns V and N.
func (t VocabMajority) Shape() (vocabulary, length int, err error) {
	setDefault(&t.VocabSize, 8192)
	setDefault(&t.SeqLen, 64)
	return t.VocabSize, t.SeqLen, checkSizes("vocabulary majority", t.VocabSize, 2, t.SeqLen, 2)
}

// Generate returns n sequences.
func (t VocabMajority) Generate(n int, src Source) (train.Batch, error) {
	vocabulary, length, err := t.Shape()
	if err != nil {
		return train.Batch{}, err
	}
	b := newBatch(n, length)
	for i := range n {
		ids, labels := sequence(b, i)
		tokens := ids[:length-1]
		for k := range tokens {
			tokens[k] = 1 + src.IntN(vocabulary-1)
		}
		labels[length-1] = settleMajority(tokens)
	}
	return b, nil
}

// settleMajority returns the most frequent token, having made it the only one.
func settleMajority(tokens []int) int {
	count := map[int]int{}
	most := 0
	for _, id := range tokens {
		count[id]++
		most = max(most, count[id])
	}
	winner, winners := 0, 0
	for id, n := range count {
		if n < most {
			continue
		}
		if winners++; winners == 1 || id < winner {
			winner = id
		}
	}
	if winners == 1 {
		return winner
	}
	for k, id := range tokens {
		if id != winner {
			tokens[k] = winner
			break
		}
	}
	return winner
}
