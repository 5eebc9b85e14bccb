package tensor

import "unsafe"

// overlapInexactly reports whether a and b share memory without describing the
// same elements in the same places. Two different parts of one long batch, as
// [Seq.Slice] makes them, interleave without sharing; they count as overlapping
// only if a position of the one is a position of the other.
func overlapInexactly(a, b Seq) bool {
	na, nb := a.Len*a.Dim, b.Len*b.Dim
	if a.Batch == 0 || b.Batch == 0 || na == 0 || nb == 0 {
		return false
	}
	alo := uintptr(unsafe.Pointer(&a.Data[0])) / 4
	blo := uintptr(unsafe.Pointer(&b.Data[0])) / 4
	if alo == blo && (a.Batch == 1 || a.Stride == b.Stride) {
		return false
	}
	for i := range a.Batch {
		for j := range b.Batch {
			p, q := alo+uintptr(i*a.Stride), blo+uintptr(j*b.Stride)
			if p < q+uintptr(nb) && q < p+uintptr(na) {
				return true
			}
		}
	}
	return false
}
