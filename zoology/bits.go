package zoology

import "github.com/seqmix/seqmix/train"

// Tokens of the tasks about bits. The bits are 0 and 1.
const (
	endOfBits      = 2
	bitsVocabulary = 3
)

// Parity asks for the parity of N-1 random bits: after them comes the token 2, and the
// label there is 1 if the number of ones is odd.
type Parity struct {
	SeqLen int `json:"input_seq_len,omitempty"` // N, 64 by default
}

// Majority asks, as [Parity], for 1 if more than half of N-1 random bits are ones.
type Majority struct {
	SeqLen int `json:"input_seq_len,omitempty"` // N, 64 by default
}

// CumulativeParity asks at each of N-1 random bits for the parity of those so far.
type CumulativeParity struct {
	SeqLen int `json:"input_seq_len,omitempty"` // N, 64 by default
}

// CumulativeMajority asks at each of N random bits for 1 if at least half of those so far
// are ones.
type CumulativeMajority struct {
	SeqLen int `json:"input_seq_len,omitempty"` // N, 16 by default
}

// Shape returns 3 and N.
func (t Parity) Shape() (vocabulary, length int, err error) { return bitsShape("parity", t.SeqLen, 64) }

// Shape returns 3 and N.
func (t Majority) Shape() (vocabulary, length int, err error) {
	return bitsShape("majority", t.SeqLen, 64)
}

// Shape returns 3 and N-1.
func (t CumulativeParity) Shape() (vocabulary, length int, err error) {
	vocabulary, length, err = bitsShape("cumulative parity", t.SeqLen, 64)
	return vocabulary, length - 1, err
}

// Shape returns 3 and N.
func (t CumulativeMajority) Shape() (vocabulary, length int, err error) {
	return bitsShape("cumulative majority", t.SeqLen, 16)
}

func bitsShape(task string, length, standard int) (int, int, error) {
	setDefault(&length, standard)
	return bitsVocabulary, length, checkSizes(task, bitsVocabulary, bitsVocabulary, length, 2)
}

// Generate returns n sequences.
func (t Parity) Generate(n int, src Source) (train.Batch, error) {
	return lastLabel(t, n, src, func(ones, _ int) bool { return ones%2 == 1 })
}

// Generate returns n sequences.
func (t Majority) Generate(n int, src Source) (train.Batch, error) {
	return lastLabel(t, n, src, func(ones, bits int) bool { return 2*ones > bits })
}

// Generate returns n sequences.
func (t CumulativeParity) Generate(n int, src Source) (train.Batch, error) {
	return everyLabel(t, n, src, func(ones, _ int) bool { return ones%2 == 1 })
}

// Generate returns n sequences.
func (t CumulativeMajority) Generate(n int, src Source) (train.Batch, error) {
	return everyLabel(t, n, src, func(ones, bits int) bool { return 2*ones >= bits })
}

// lastLabel draws bits, and labels the end token after them.
func lastLabel(t Task, n int, src Source, label func(ones, bits int) bool) (train.Batch, error) {
	_, length, err := t.Shape()
	if err != nil {
		return train.Batch{}, err
	}
	b := newBatch(n, length)
	for i := range n {
		ids, labels := sequence(b, i)
		ones, last := 0, length-1
		for k := range last {
			ids[k] = src.IntN(2)
			ones += ids[k]
		}
		ids[last], labels[last] = endOfBits, number(label(ones, last))
	}
	return b, nil
}

// everyLabel draws bits, and labels each.
func everyLabel(t Task, n int, src Source, label func(ones, bits int) bool) (train.Batch, error) {
	_, length, err := t.Shape()
	if err != nil {
		return train.Batch{}, err
	}
	b := newBatch(n, length)
	for i := range n {
		ids, labels := sequence(b, i)
		ones := 0
		for k := range ids {
			ids[k] = src.IntN(2)
			ones += ids[k]
			labels[k] = number(label(ones, k+1))
		}
	}
	return b, nil
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
