package main

import (
	"maps"
	"math"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/examples/internal/corpus"
	"github.com/seqmix/seqmix/examples/internal/hybrid"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/tokenizer"
	"github.com/seqmix/seqmix/train"
)

func testModel(t *testing.T) (*lm.Model, hybrid.Config) {
	t.Helper()
	c := hybrid.Config{Pattern: []string{attentionName, "conv", attentionName}, Dim: testDim, Heads: testHeads, Window: unlimited, Hidden: testDim}
	m, err := hybrid.New(c, testRand())
	if err != nil {
		t.Fatal(err)
	}
	return m, c
}

func testBatch(sequences, length int) train.Batch {
	b := train.Batch{Len: length}
	for i := range sequences * length {
		b.IDs, b.Labels = append(b.IDs, i*i%251), append(b.Labels, (i+1)*(i+1)%251)
	}
	return b
}

// TestStudent checks which parameters a student has from its teacher.
func TestStudent(t *testing.T) {
	teacher, c := testModel(t)
	student, grafted, err := newStudent(teacher, c, []int{2}, "based", 64, 9)
	if err != nil {
		t.Fatal(err)
	}
	if c.Pattern[2] != attentionName || grafted.Pattern[2] != "based" {
		t.Errorf("blocks %v of the teacher, %v of the student", c.Pattern, grafted.Pattern)
	}
	from := weightsOf(teacher)
	kept := 0
	for name, p := range student.Params() {
		if q := from[name]; q != nil {
			kept++
			for i, v := range p.Data() {
				if v != q.Data()[i] {
					t.Fatalf("%s differs", name)
				}
			}
		}
	}
	if all := len(maps.Collect(teacher.Params())); kept != all-4 { // but for the four matrices of attention
		t.Errorf("%d of %d parameters kept", kept, all)
	}
	same, _, err := newStudent(teacher, c, nil, "", 0, 9)
	if err != nil {
		t.Fatal(err)
	}
	ids := testBatch(1, 20).IDs
	want, err := teacher.Logits(ids)
	if err != nil {
		t.Fatal(err)
	}
	got, err := same.Logits(ids)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range want.Data {
		if got.Data[i] != v {
			t.Fatal("a copy has other logits")
		}
	}
	for _, layers := range [][]int{{1}, {3}} {
		if _, _, err := newStudent(teacher, c, layers, "based", 0, 9); err == nil {
			t.Errorf("blocks %v were replaced", layers)
		}
	}
}

// TestObserve checks that what is seen at a block is what its mixer gets and makes.
func TestObserve(t *testing.T) {
	m, _ := testModel(t)
	b := testBatch(3, 20)
	sites, err := observe(m, b.IDs, b.Len, []int{0, 2})
	if err != nil {
		t.Fatal(err)
	}
	x := tensor.NewSeq(3, 20, testDim)
	if err := m.Embedding.Lookup(x, b.IDs); err != nil {
		t.Fatal(err)
	}
	for i, layer := range m.Layers {
		if s, ok := sites[i]; ok {
			in, out := tensor.NewSeq(3, 20, testDim), tensor.NewSeq(3, 20, testDim)
			residual(m, i).Norm.Mix(in, x)
			residual(m, i).Mixer.Mix(out, in)
			for k := range in.Data {
				if s.in.Data[k] != in.Data[k] || s.out.Data[k] != out.Data[k] {
					t.Fatalf("block %d: something else was seen", i)
				}
			}
		}
		layer.Mix(x, x)
	}
}

// TestLossGradient compares the gradient of the loss with differences of the formula.
func TestLossGradient(t *testing.T) {
	teacher, _ := testModel(t)
	b := testBatch(2, 3)
	const kl = 0.3
	l := lesson{teacher: teacher, kl: kl}
	r := testRand()
	logits := tensor.NewSeq(2, 3, 256)
	for i := range logits.Data {
		logits.Data[i] = float32(r.NormFloat64())
	}
	logQ := make([][]float64, len(b.Labels))
	for s := range 2 {
		z, err := teacher.Logits(b.IDs[s*3 : s*3+3])
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			logQ[s*3+i] = logSoftmax(z.At(0, i))
		}
	}
	value := func() float64 {
		sum := 0.0
		for i, label := range b.Labels {
			p := logSoftmax(logits.Mat().Row(i))
			sum -= (1 - kl) * p[label]
			for k, q := range logQ[i] {
				sum += kl * math.Exp(q) * (q - p[k])
			}
		}
		return sum / float64(len(b.Labels))
	}
	places := []int{b.Labels[0], 7, 256 + b.Labels[1], 3*256 + 100, 5*256 + b.Labels[5]}
	var want []float64
	for _, i := range places {
		const h = 1e-2
		x := logits.Data[i]
		logits.Data[i] = x + h
		up := value()
		logits.Data[i] = x - h
		want = append(want, (up-value())/(2*h))
		logits.Data[i] = x
	}
	if _, err := l.loss(logits, b, len(b.Labels)); err != nil {
		t.Fatal(err)
	}
	for k, i := range places {
		if got := float64(logits.Data[i]); math.Abs(got-want[k]) > 1e-3*math.Abs(want[k])+1e-6 {
			t.Errorf("logit %d has the gradient %v, want %v", i, got, want[k])
		}
	}
}

func logSoftmax(z []float32) []float64 {
	sum := 0.0
	for _, v := range z {
		sum += math.Exp(float64(v))
	}
	p := make([]float64, len(z))
	for i, v := range z {
		p[i] = float64(v) - math.Log(sum)
	}
	return p
}

// TestGradient compares the gradients of parts of a batch, without a teacher, with those of
// package train.
func TestGradient(t *testing.T) {
	m, _ := testModel(t)
	b := testBatch(6, 16)
	l := lesson{model: m}
	loss, got, err := newShards(m.Params(), nil).run(b.Size(), func(lo, hi int, grads seqmix.Grads) (float64, error) {
		part := train.Batch{IDs: b.IDs[lo*b.Len : hi*b.Len], Labels: b.Labels[lo*b.Len : hi*b.Len], Len: b.Len}
		return l.gradient(part, len(b.Labels), grads)
	})
	if err != nil {
		t.Fatal(err)
	}
	g, err := train.NewGradient(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := seqmix.Grads{}
	for _, p := range m.Params() {
		want[p] = tensor.New(p.Shape()...)
	}
	score, err := g.Add(want, b, 1)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(loss-score.Mean()) > 1e-5*loss {
		t.Errorf("loss %v, want %v", loss, score.Mean())
	}
	for name, p := range m.Params() {
		sum, size := 0.0, 0.0
		for i, v := range want.Of(p) {
			d := float64(got.Of(p)[i] - v)
			sum += d * d
			size += float64(v) * float64(v)
		}
		if sum > 1e-8*size {
			t.Errorf("%s: the gradient differs by %v", name, math.Sqrt(sum/size))
		}
	}
}

// TestExceptNew checks what learns if only what is new does.
func TestExceptNew(t *testing.T) {
	m, _ := testModel(t)
	frozen := exceptNew(m, []int{2})
	for name, want := range map[string]bool{
		"layers.2.0.mixer.q_proj.weight": false, "layers.0.0.mixer.q_proj.weight": true, "layers.0.0.norm.weight": false, "norm.weight": false,
		"embedding.weight": true, "layers.2.1.norm.weight": false, "layers.1.0.mixer.in_proj.weight": true,
	} {
		if weightsOf(m)[name] == nil {
			t.Errorf("there is no %s", name)
		}
		if got := frozen(name); got != want {
			t.Errorf("%s is frozen: %v", name, got)
		}
	}
}

// TestHeldOut checks that sequences are of the held-out files, with the byte that follows.
func TestHeldOut(t *testing.T) {
	c := &corpus.Corpus{Held: [][]byte{[]byte("abcdefghijklmnopqrs"), []byte("short"), []byte("ABCDEFGHIJ")}}
	k := c.Encode(tokenizer.Bytes{}, []int{0})
	batches, err := heldOut(k, 8, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if len(batches) != 1 || batches[0].Size() != 3 {
		t.Fatalf("%d batches, the first of %d sequences", len(batches), batches[0].Size())
	}
	want := "\x00abcdefghijklmno\x00ABCDEFG"
	for i, id := range batches[0].IDs {
		if byte(id) != want[i] || i%8 > 0 && batches[0].Labels[i-1] != id {
			t.Errorf("byte %d is %d, want %d", i, id, want[i])
		}
	}
	if fewer, err := heldOut(k, 8, 16); err != nil || len(fewer) != 1 || fewer[0].Size() != 2 {
		t.Errorf("of 16 bytes: %v (%v)", fewer, err)
	}
}

// TestCosts checks that the state of attention grows with the text, and that of Mamba-2 does
// not.
func TestCosts(t *testing.T) {
	for name, grows := range map[string]bool{attentionName: true, "mamba2-graft": false} {
		m, err := hybrid.New(hybrid.Config{Pattern: []string{name}, Dim: testDim, Heads: testHeads, Window: unlimited}, testRand())
		if err != nil {
			t.Fatal(err)
		}
		near, err := costs([]*lm.Model{m}, testBatch(1, 100).IDs)
		if err != nil {
			t.Fatal(err)
		}
		far, err := costs([]*lm.Model{m}, testBatch(1, 1000).IDs)
		if err != nil {
			t.Fatal(err)
		}
		if got := far[0].state > near[0].state+10; got != grows || near[0].perToken <= 0 {
			t.Errorf("%s: %d bytes after 100, %d after 1000; %v for one", name, near[0].state, far[0].state, near[0].perToken)
		}
	}
}
