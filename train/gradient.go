package train

import (
	"errors"
	"fmt"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A Batch is sequences of tokens of one length, one after the other, with a label for
// every position: the token that the model should find likely after it, or [Ignore].
type Batch struct {
	IDs, Labels []int
	Len         int // of a sequence

	// Dropout is the share of the elements of embeddings that are 0 in training, by
	// chance, and Seed says which (arXiv:1207.0580). All others are divided by 1-Dropout.
	// Scores are those of the whole.
	Dropout float64
	Seed    uint64
}

// NextTokens makes batches of a text: of len(ids)-1 positions, whose labels are the tokens
// that follow.
func NextTokens(ids []int) Batch {
	n := len(ids) - 1
	return Batch{IDs: ids[:n], Labels: ids[1:], Len: n}
}

// Size returns the number of sequences.
func (b Batch) Size() int {
	if b.Len == 0 {
		return 0
	}
	return len(b.IDs) / b.Len
}

// part returns sequences lo to hi-1.
func (b Batch) part(lo, hi int) Batch {
	b.IDs, b.Labels = b.IDs[lo*b.Len:hi*b.Len], b.Labels[lo*b.Len:hi*b.Len]
	return b
}

func (b Batch) check(m *lm.Model) error {
	if b.Len < 1 || len(b.IDs)%b.Len != 0 || len(b.Labels) != len(b.IDs) {
		return fmt.Errorf("train: %d tokens and %d labels for sequences of %d", len(b.IDs), len(b.Labels), b.Len)
	}
	if !(b.Dropout >= 0 && b.Dropout < 1) {
		return fmt.Errorf("train: dropout %v, want at least 0 and less than 1", b.Dropout)
	}
	if m.MaxLen > 0 && b.Len > m.MaxLen {
		return fmt.Errorf("train: sequences of %d tokens, but the model takes %d: %w", b.Len, m.MaxLen, lm.ErrTooLong)
	}
	for i, id := range b.IDs {
		if id < 0 || id >= m.Embedding.Vocabulary() || b.Labels[i] >= m.Head.Out() {
			return fmt.Errorf("train: token %d with label %d at position %d of sequence %d; the vocabulary is %d", id, b.Labels[i], i%b.Len, i/b.Len, m.Embedding.Vocabulary())
		}
	}
	return nil
}

// labelled returns the number of labels that count.
func (b Batch) labelled() int {
	n := 0
	for _, l := range b.Labels {
		if l >= 0 {
			n++
		}
	}
	return n
}

// A Gradient computes losses of a language model and their gradients.
//
// A batch is divided into shards, which are computed side by side on all cores and whose
// gradients are then added in order: results depend on the number of shards, but not on
// that of cores. Where a batch is one sequence, there is one shard, and the cores work
// within it.
type Gradient struct {
	// Segments say how long sequences are divided, to compute gradients and scores of
	// them in little memory. The zero value leaves them whole.
	Segments Segments

	model  *lm.Model
	shards shardTask
}

// defaultShards is how many shards a batch has if it is not said: enough for the cores of
// ordinary computers, and few enough for the gradients of each to take little memory.
const defaultShards = 4

// NewGradient returns what computes gradients of m in so many shards; 0 stands for 4.
func NewGradient(m *lm.Model, shards int) (*Gradient, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	setDefault(&shards, defaultShards)
	if shards < 1 {
		return nil, fmt.Errorf("train: %d shards", shards)
	}
	g := &Gradient{model: m}
	for range shards {
		g.shards = append(g.shards, &shard{model: m})
	}
	return g, nil
}

// errNoLabels is for batches from which nothing can be learnt.
var errNoLabels = errors.New("train: a batch without labels")

// Add adds the gradient of the mean loss of a batch, times weight, to grads, and returns
// the score of the batch. A weight of 1/n makes a step of n batches one of a batch n times
// as large, if they have the same number of labels.
func (g *Gradient) Add(grads seqmix.Grads, b Batch, weight float64) (Score, error) {
	if err := g.check(b); err != nil {
		return Score{}, err
	}
	n := b.labelled()
	if n == 0 {
		return Score{}, errNoLabels
	}
	size := b.Size()
	shards := g.shards[:min(len(g.shards), size)]
	for i, s := range shards {
		s.segments, s.first = g.Segments, i*size/len(shards)
		s.batch = b.part(s.first, (i+1)*size/len(shards))
		s.scale = float32(weight / float64(n))
		s.prepare(grads, i == 0)
	}
	score, err := computeShards(shards)
	if err == nil && len(shards) > 1 {
		addShards(grads, shards[1:])
	}
	return score, err
}

func (g *Gradient) check(b Batch) error {
	if err := g.Segments.check(); err != nil {
		return err
	}
	return b.check(g.model)
}

// computeShards runs shards side by side.
func computeShards(shards shardTask) (Score, error) {
	par.Do(len(shards), 1, shards)
	var score Score
	for _, s := range shards {
		if s.err != nil {
			return Score{}, s.err
		}
		score.Add(s.score)
	}
	return score, nil
}

// addShards adds the gradients of shards to those of the caller, one after the other.
func addShards(grads seqmix.Grads, shards []*shard) {
	const grain = 1 << 13
	sum := &shardSum{parts: make([][]float32, len(shards))}
	for p, g := range grads {
		sum.total = g.Data()
		for i, s := range shards {
			sum.parts[i] = s.grads[p].Data()
		}
		par.Do(len(sum.total), grain, sum)
	}
}

// shardSum adds parts to a total.
type shardSum struct {
	total []float32
	parts [][]float32
}

// Run adds elements lo to hi-1, so few at a time that they stay in the cache.
func (s *shardSum) Run(lo, hi int) {
	const step = 1 << 12
	for ; lo < hi; lo += step {
		end := min(lo+step, hi)
		for _, p := range s.parts {
			tensor.Add(s.total[lo:end], s.total[lo:end], p[lo:end])
		}
	}
}

// Score returns the score of a batch without computing gradients.
func (g *Gradient) Score(b Batch) (Score, error) {
	if err := g.check(b); err != nil {
		return Score{}, err
	}
	size := b.Size()
	shards := g.shards[:min(len(g.shards), size)]
	for i, s := range shards {
		s.segments = g.Segments
		s.batch, s.scale = b.part(i*size/len(shards), (i+1)*size/len(shards)), 0
	}
	return computeShards(shards)
}

type shardTask []*shard

// Run computes shards lo to hi-1.
func (t shardTask) Run(lo, hi int) {
	for _, s := range t[lo:hi] {
		s.score, s.err = s.run()
	}
}

// shard computes a part of a batch.
type shard struct {
	model    *lm.Model
	segments Segments
	batch    Batch
	at       int     // position at which the batch begins, which may be a segment
	first    int     // index of the first sequence in the whole batch
	scale    float32 // of the sum of losses; 0 for no gradient
	grads    seqmix.Grads
	own      seqmix.Grads // memory of grads, unless these are the caller's
	score    Score
	err      error
	scratch  tensor.Scratch
	dropout  dropout

	rows, labels []int // that the head computes
}

// prepare gives the shard gradients to add to: those of the caller if it is the first,
// else zeros of its own.
func (s *shard) prepare(grads seqmix.Grads, first bool) {
	if first {
		s.grads = grads
		return
	}
	if s.own == nil {
		s.own = seqmix.Grads{}
	}
	s.grads = seqmix.Grads{}
	for p := range grads {
		if s.own[p] == nil {
			s.own[p] = tensor.New(p.Shape()...)
		} else {
			clear(s.own[p].Data())
		}
		s.grads[p] = s.own[p]
	}
}

// layers returns the layers and the norm as one mixer.
func (s *shard) layers() seqmix.Stack {
	if s.model.Norm == nil {
		return s.model.Layers
	}
	return append(append(seqmix.Stack{}, s.model.Layers...), s.model.Norm)
}

func (s *shard) run() (Score, error) {
	b, dim := s.batch, s.model.Dim()
	if s.segments.divide(b.Len) {
		return s.runSegments()
	}
	s.scratch.Reset()
	x, h := tensor.GetSeq(b.Size(), b.Len, dim), tensor.GetSeq(b.Size(), b.Len, dim)
	defer tensor.PutSeq(x, h)
	if err := s.embed(x); err != nil {
		return Score{}, err
	}
	if s.scale == 0 {
		s.layers().Mix(h, x)
		return s.head(h, tensor.Seq{}), nil
	}
	s.drop(x, s.draws())
	tape, err := seqmix.Record(s.layers(), h, x)
	if err != nil {
		return Score{}, fmt.Errorf("train: %w", err)
	}
	return s.backward(h, func(dh tensor.Seq) {
		tape.Backward(dh, dh, s.grads)
		seqmix.Release(tape)
	}), nil
}

// backward scores h and goes back from there: through the layers by a function that takes
// gradients back in place.
func (s *shard) backward(h tensor.Seq, layers func(dh tensor.Seq)) Score {
	dh := tensor.GetSeq(h.Batch, h.Len, h.Dim)
	clear(dh.Data)
	score := s.head(h, dh)
	layers(dh)
	s.dropout.apply(dh)
	s.embedBackward(dh)
	tensor.PutSeq(dh)
	return score
}

func (s *shard) embed(x tensor.Seq) error {
	if err := s.model.Embedding.Lookup(x, s.batch.IDs); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	if s.model.Positions == nil {
		return nil
	}
	row := s.scratch.Take(x.Dim)
	for i := range x.Len {
		s.model.Positions.Weight.Row(row, s.at+i)
		for b := range x.Batch {
			tensor.Add(x.At(b, i), x.At(b, i), row)
		}
	}
	return nil
}

func (s *shard) embedBackward(dx tensor.Seq) {
	s.model.Embedding.Backward(dx, s.batch.IDs, s.grads)
	if s.model.Positions == nil {
		return
	}
	for b := range dx.Batch {
		s.model.Positions.Backward(dx.Sequence(b), positions(s.at, dx.Len), s.grads)
	}
}

// positions returns n positions from the first on.
func positions(first, n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = first + i
	}
	return p
}

// headElements bounds the logits that are in memory at a time: only rows with a label get
// any, and of those so many together.
const headElements = 1 << 21

// head scores the labelled rows of h and, if there is a gradient to compute, writes the
// gradient of h to dh, which is zero.
func (s *shard) head(h, dh tensor.Seq) Score {
	head := s.model.Head
	rows := s.rows[:0]
	for i, l := range s.batch.Labels {
		if l >= 0 {
			rows = append(rows, i)
		}
	}
	s.rows = rows
	most := max(1, headElements/head.Out())
	var score Score
	for len(rows) > 0 {
		n := min(most, len(rows))
		score.Add(s.headRows(head, h, dh, rows[:n]))
		rows = rows[n:]
	}
	return score
}

// headRows does so for some rows.
func (s *shard) headRows(head *nn.Linear, h, dh tensor.Seq, rows []int) Score {
	s.scratch.Reset()
	x := s.scratch.TakeSeq(1, len(rows), h.Dim)
	labels := s.labels[:0]
	for k, i := range rows {
		copy(x.At(0, k), h.At(i/h.Len, i%h.Len))
		labels = append(labels, s.batch.Labels[i])
	}
	s.labels = labels
	logits := s.scratch.TakeSeq(1, len(rows), head.Out())
	head.Apply(logits, x)
	score := CrossEntropy(logits.Mat(), labels, s.scale)
	if s.scale == 0 {
		return score
	}
	dx := s.scratch.TakeSeq(1, len(rows), h.Dim)
	head.Backward(dx, logits, x, s.grads)
	for k, i := range rows {
		copy(dh.At(i/h.Len, i%h.Len), dx.At(0, k))
	}
	return score
}
