package checkpoint

import (
	"fmt"
	"slices"
	"testing"
)

// An entry whose dimensions are permuted reads the same in any pieces.
func TestGather(t *testing.T) {
	values := make([]float32, 6*7001)
	for i := range values {
		values[i] = float32(i)
	}
	raw := appendFloat32s(nil, values)
	whole := &Entry{dtype: F32, shape: []int{12, 5, 6}, n: 360, store: &storage{file: &mapping{}, raw: func() ([]byte, error) { return raw, nil }}}
	scattered := whole.transposed(4, 3)
	narrow := *scattered // not all of the last dimension
	narrow.shape = []int{3, 4, 1, 5, 4}
	narrow.n = 3 * 4 * 5 * 4
	columns := &Entry{dtype: F32, shape: []int{6, 60}, strides: []int{1, 6}, n: 360, store: whole.store}
	long := &Entry{dtype: F32, shape: []int{6, 7001}, n: len(values), store: whole.store} // more than fits in a piece
	for _, e := range []*Entry{scattered, long.transposed(2, 3), &narrow, columns, scattered.transposed(1, 3)} {
		want := make([]float32, e.n)
		for i := range want {
			at := 0
			for d, index := range position(e.shape, i) {
				at += index * e.strides[d]
			}
			want[i] = values[at]
		}
		for from := 0; from <= e.n; from += max(e.n/50, 1) {
			for _, n := range []int{0, 1, 5, 6, 31, e.n - from} {
				got := make([]float32, min(n, e.n-from))
				if err := e.ReadFloat32s(got, from); err != nil {
					t.Fatal(err)
				}
				if b := want[from : from+len(got)]; !slices.Equal(got, b) {
					t.Fatalf("%v: elements from %d on are %v, want %v", e.shape, from, got, b)
				}
			}
		}
	}
	if got := fmt.Sprint(scattered.shape, scattered.strides); got != "[3 4 1 5 6] [30 90 30 6 1]" {
		t.Errorf("transposed: %s", got)
	}
}
