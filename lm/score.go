package lm

import (
	"math"
	"slices"

	"github.com/seqmix/seqmix/tensor"
)

// scoreRows is the number of positions whose logits are in memory at a time.
const scoreRows = 32

// Score returns how likely the model finds a text: for each of ids but the first, the
// natural logarithm of the probability that it gives it after the ones before it.
func (m *Model) Score(ids []int) ([]float64, error) {
	scores := make([]float64, 0, max(len(ids)-1, 0))
	err := m.eachLogits(ids, func(i int, logits []float32) {
		if i+1 < len(ids) {
			scores = append(scores, float64(logits[ids[i+1]])-logSumExp(logits))
		}
	})
	if err != nil {
		return nil, err
	}
	return scores, nil
}

// logSumExp is tensor.LogSumExp with the sum of the maximum and the rest in float64.
func logSumExp(x []float32) float64 {
	top := tensor.Max(x)
	sum := 0.0
	for part := range slices.Chunk(x, 4096) {
		sum += math.Exp(float64(tensor.LogSumExp(part)) - float64(top))
	}
	return float64(top) + math.Log(sum)
}

// Perplexity returns exp(-mean of scores), the perplexity of a text per token, or NaN
// if there are none.
func Perplexity(scores []float64) float64 {
	sum := 0.0
	for _, s := range scores {
		sum += s
	}
	return math.Exp(-sum / float64(len(scores)))
}

// Logits returns the logits after each of ids, of shape (1, len(ids), vocabulary).
func (m *Model) Logits(ids []int) (tensor.Seq, error) {
	if err := m.Check(); err != nil {
		return tensor.Seq{}, err
	}
	all := tensor.NewSeq(1, len(ids), m.vocabulary())
	err := m.eachLogits(ids, func(i int, logits []float32) { copy(all.At(0, i), logits) })
	return all, err
}

// eachLogits calls f with the logits after each of ids.
func (m *Model) eachLogits(ids []int, f func(i int, logits []float32)) error {
	s := tensor.GetScratch()
	defer tensor.PutScratch(s)
	return m.eachHidden(ids, func(first int, h tensor.Seq) {
		for i := 0; i < h.Len; i += scoreRows {
			rows := h.Slice(i, min(i+scoreRows, h.Len))
			s.Reset()
			logits := tensor.MatOf(s.Take(rows.Len*m.vocabulary()), rows.Len, m.vocabulary())
			m.logits(s, logits, rows)
			for r := range rows.Len {
				f(first+i+r, logits.Row(r))
			}
		}
	})
}

// Hidden returns what the head reads: the vectors after the last norm at each position,
// of shape (1, len(ids), Dim).
func (m *Model) Hidden(ids []int) (tensor.Seq, error) {
	all := tensor.NewSeq(1, len(ids), m.Dim())
	err := m.eachHidden(ids, func(first int, h tensor.Seq) { tensor.Copy(all.Slice(first, first+h.Len), h) })
	return all, err
}

// eachHidden calls f with the finished vectors of pieces of ids, from position first
// on.
func (m *Model) eachHidden(ids []int, f func(first int, h tensor.Seq)) error {
	s, err := m.NewSession()
	if err != nil {
		return err
	}
	if err := m.checkIDs(ids, 0); err != nil {
		return err
	}
	first := 0
	for piece := range slices.Chunk(ids, m.readPositions()) {
		h := s.read(piece)
		m.finish(h)
		f(first, h)
		first += len(piece)
	}
	s.scratch.Release()
	return nil
}
