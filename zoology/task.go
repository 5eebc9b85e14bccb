package zoology

import (
	"fmt"

	"github.com/seqmix/seqmix/train"
)

// A Task makes sequences of tokens with labels.
type Task interface {
	// Shape returns the number of tokens of the vocabulary and the length of a sequence,
	// or an error if the task is not possible as configured.
	Shape() (vocabulary, length int, err error)

	// Generate returns n sequences, drawn from src. The error is that of Shape.
	Generate(n int, src Source) (train.Batch, error)
}

// maxSize bounds vocabularies and lengths, so that a damaged configuration is an error
// rather than the end of the program.
const maxSize = 1 << 24

// checkSizes returns an error unless both are at least the given ones.
func checkSizes(task string, vocabulary, leastVocabulary, length, leastLength int) error {
	if vocabulary < leastVocabulary || length < leastLength || vocabulary > maxSize || length > maxSize {
		return fmt.Errorf("zoology: %s with vocab_size %d and input_seq_len %d, want at least %d and %d and at most %d",
			task, vocabulary, length, leastVocabulary, leastLength, maxSize)
	}
	return nil
}

// newBatch returns n sequences of tokens 0 without labels.
func newBatch(n, length int) train.Batch {
	b := train.Batch{IDs: make([]int, n*length), Labels: make([]int, n*length), Len: length}
	for i := range b.Labels {
		b.Labels[i] = train.Ignore
	}
	return b
}

// sequence returns the tokens and the labels of sequence i.
func sequence(b train.Batch, i int) (ids, labels []int) {
	return b.IDs[i*b.Len : (i+1)*b.Len], b.Labels[i*b.Len : (i+1)*b.Len]
}

// fill replaces tokens 0 by any of the vocabulary. A token is drawn for every position, as
// the reference does.
func fill(b train.Batch, vocabulary int, src Source) {
	for i, id := range b.IDs {
		if v := src.Filler(vocabulary); id == 0 {
			b.IDs[i] = v
		}
	}
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}
