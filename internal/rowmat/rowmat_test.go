package rowmat

import (
	"slices"
	"testing"

	"github.com/seqmix/seqmix/tensor"
)

func TestSpread(t *testing.T) {
	for _, tc := range []struct {
		rows, cols int
		copied     bool
	}{{40, 512, true}, {40, 1024, true}, {40, 768, false}, {40, 500, false}, {2, 512, false}, {1, 1024, false}} {
		var s tensor.Scratch
		m := tensor.MatOf(make([]float32, tc.rows*tc.cols), tc.rows, tc.cols)
		for i := range m.Data {
			m.Data[i] = float32(i)
		}
		c := Spread(m, &s)
		if copied := c.Stride != m.Stride; copied != tc.copied {
			t.Errorf("%d×%d: copied is %v, want %v", tc.rows, tc.cols, copied, tc.copied)
		}
		if contend(c.Stride) && tc.copied {
			t.Errorf("%d×%d: rows still contend, with a stride of %d", tc.rows, tc.cols, c.Stride)
		}
		for i := range m.Rows {
			if !slices.Equal(c.Row(i), m.Row(i)) {
				t.Fatalf("%d×%d: row %d differs", tc.rows, tc.cols, i)
			}
		}
	}
}

func TestLast(t *testing.T) {
	m := tensor.MatOf([]float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 6, 2).Slice(0, 1)
	for length, want := range map[int][]float32{1: {1, 3, 5, 7, 9, 11}, 2: {3, 7, 11}, 3: {5, 11}, 6: {11}} {
		last := Last(m, length)
		var got []float32
		for i := range last.Rows {
			got = append(got, last.Row(i)...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the last of %d rows each are %v, want %v", length, got, want)
		}
	}
}
