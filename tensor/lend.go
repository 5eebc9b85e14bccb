package tensor

import (
	"math/bits"
	"sync"
	"unsafe"

	"github.com/seqmix/seqmix/internal/pages"
)

// GetSeq lends a Seq of undefined content. It is for what outlives the call that made it,
// such as what a tape keeps, and so cannot be in a [Scratch]. [PutSeq] gives it back; if
// that does not happen, it is garbage like any other.
func GetSeq(batch, length, dim int) Seq {
	return SeqOf(lend(batch*length*dim), batch, length, dim)
}

// PutSeq gives back what [GetSeq] lent, for others to use. The caller no longer uses it,
// nor anything that shares its memory. The zero Seq is nothing to give back.
func PutSeq(seqs ...Seq) {
	for _, s := range seqs {
		if n := len(s.Data); n > 0 {
			lent[lentClass(n)].Put(&s.Data[0])
		}
	}
}

// Memory is lent in sizes of which there are eight to a power of two, so that at most an
// eighth of it is wasted.
const (
	lentSteps = 3       // the logarithm of eight
	lentLeast = 1 << 10 // elements
)

// lent holds what was given back, by size: pointers to the first elements.
var lent [64 << lentSteps]sync.Pool

// lentClass returns the index of the smallest size that holds n elements.
func lentClass(n int) int {
	n = max(n, lentLeast) - 1
	shift := bits.Len(uint(n)) - lentSteps - 1
	return shift<<lentSteps + n>>shift&(1<<lentSteps-1) + 1
}

// lentSize returns the number of elements of a size.
func lentSize(class int) int {
	class--
	shift := class >> lentSteps
	return (1<<lentSteps + class&(1<<lentSteps-1) + 1) << shift
}

func lend(n int) []float32 {
	if n == 0 {
		return nil
	}
	class := lentClass(n)
	size := lentSize(class)
	if p, ok := lent[class].Get().(*float32); ok {
		return unsafe.Slice(p, size)[:n:n]
	}
	return pages.Temporary[float32](size)[:n:n]
}
