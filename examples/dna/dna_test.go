package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image/png"
	"io"
	"iter"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

const tinyLen = 40

// tensors are the parameters of a model under the names of the files.
type tensors []struct {
	name  string
	param *tensor.Tensor
}

func (ts *tensors) add(prefix string, m checkpoint.Model) {
	for name, p := range m.Params() {
		*ts = append(*ts, struct {
			name  string
			param *tensor.Tensor
		}{prefix + name, p})
	}
}

func (ts tensors) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		for _, t := range ts {
			if !yield(t.name, t.param) {
				return
			}
		}
	}
}

// tinyModel writes a random HyenaDNA for tinyLen bases to a new folder.
func tinyModel(t testing.TB) string {
	t.Helper()
	const dim, hidden, layers = 8, 16, 2
	r := rand.New(rand.NewPCG(3, 4))
	var ts tensors
	e := nn.NewEmbedding(16, dim)
	e.Init(r, 1)
	ts.add("hyena.backbone.embeddings.word_embeddings.", e)
	for i := range layers {
		mixer, err := hyena.New(hyena.Config{DModel: dim, LMax: tinyLen, EmbDim: 5, FilterOrder: 8})
		if err != nil {
			t.Fatal(err)
		}
		mixer.Init(r)
		mlp, err := nn.NewMLP(nn.MLPConfig{Dim: dim, Hidden: hidden, Activation: nn.GELUTanh, Bias: true})
		if err != nil {
			t.Fatal(err)
		}
		mlp.Init(r)
		prefix := fmt.Sprintf("hyena.backbone.layers.%d.", i)
		ts.add(prefix+"mixer.", mixer)
		ts.add(prefix+"mlp.", mlp)
		ts.add(prefix+"norm1.", nn.NewLayerNorm(dim, 1e-5))
		ts.add(prefix+"norm2.", nn.NewLayerNorm(dim, 1e-5))
	}
	ts.add("hyena.backbone.ln_f.", nn.NewLayerNorm(dim, 1e-5))
	head := nn.NewLinear(dim, 16, false)
	head.Init(r)
	ts.add("lm_head.", head)
	dir := t.TempDir()
	write(t, dir, "config.json", fmt.Sprintf(`{"model_type": "hyenadna", "n_layer": %d, "d_model": %d, "vocab_size": 12, "max_seq_len": %d}`, layers, dim, tinyLen))
	if err := checkpoint.Save(filepath.Join(dir, "model.safetensors"), ts, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// randomBases returns n bases, some of them unknown.
func randomBases(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = "ACGTACGTACGTN"[r.IntN(13)]
	}
	return string(b)
}

func TestFlagErrors(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"", "-model, -in missing"},
		{"-model m", "-in missing"},
		{"-model m -in a b", `unexpected argument "b"`},
		{"-model m -in a -window 1", "-window 1"},
		{"-model m -in a -window -5", "-window -5"},
		{"-model m -in a -overlap -1", "-overlap -1"},
		{"-model m -in a -threads 0", "-threads 0"},
		{"-model m -in a -out plot.doc", "ends in .png"},
		{"-model m -in a -loud", errFlags.Error()},
		{"-help", flag.ErrHelp.Error()},
	} {
		_, err := parseFlags(strings.Fields(test.args), io.Discard)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.args, err, test.want)
		}
	}
}

// readAll reads the records of a text in pieces of n bases.
func readAll(text string, n int) (string, error) {
	var out strings.Builder
	f := newFASTA("x.fa", strings.NewReader(text))
	for {
		name, err := f.next()
		if err == io.EOF {
			return out.String(), nil
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "[%s]", name)
		for buf := make([]byte, n); ; {
			got, err := f.read(buf)
			if err != nil {
				return "", err
			}
			out.Write(buf[:got])
			if got < n {
				break
			}
		}
	}
}

func TestFASTA(t *testing.T) {
	for text, want := range map[string]string{
		">a\nACGT\n":                            "[a]ACGT",
		">a first one\r\nac\r\n gt\r\n\r\n>b":   "[a]ACGT[b]",
		"\n>a\nAUG\nRYN\n\n>b\tx\nA\n>c\nC":     "[a]ATGNNN[b]A[c]C",
		">\nTT":                                 "[unnamed]TT",
		">a\n\n>b\n" + strings.Repeat("G\n", 5): "[a][b]GGGGG",
	} {
		for _, n := range []int{1, 2, 3, 100} {
			if got, err := readAll(text, n); err != nil || got != want {
				t.Errorf("%q in pieces of %d: %q, %v, want %q", text, n, got, err, want)
			}
		}
	}
	for text, want := range map[string]string{
		"":                                      "x.fa: empty",
		" \n\n":                                 "x.fa: empty",
		"ACGT\n":                                "x.fa:1: begins with 'A'",
		"\x1f\x8b\x08":                          "gunzip",
		"@read\nACGT\n+\nIIII\n":                "FASTQ",
		">a\nAC\nGX1\n":                         "x.fa:3: 'X' at column 2 is not a base",
		">a\nAC>b\n":                            "x.fa:2: '>' at column 3",
		">a\nAC-T\n":                            "x.fa:2: '-' at column 3",
		">a\n\x00\x01":                          "x.fa:2: '\\x00' at column 1",
		">" + strings.Repeat("n", 1<<17) + "\n": "a name of more than",
	} {
		if got, err := readAll(text, 7); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %q and error %v, want %q", text, got, err, want)
		}
	}
}

// Every base but N is judged once: after all those before it in its window.
func TestJudge(t *testing.T) {
	dir := tinyModel(t)
	for _, c := range []struct{ length, window, overlap int }{
		{1, 10, 0}, {9, 10, 0}, {10, 10, 0}, {11, 10, 0}, {40, 0, 0}, {57, 0, 0}, {57, 10, 1}, {57, 10, 9}, {10, 10, 5}, {30, 12, 4},
	} {
		m, err := loadModel(dir, c.window, c.overlap)
		if err != nil {
			t.Fatal(err)
		}
		text := randomBases(uint64(c.length), c.length)
		records, err := m.judge(newFASTA("x.fa", strings.NewReader(">a\n"+text+"\n")), nil)
		if err != nil {
			t.Fatal(err)
		}
		window := m.window
		sum, judged := 0.0, 0
		for at := range text {
			begin := at - at%window
			if c.overlap > 0 && at >= window {
				step := window - c.overlap
				begin = step * ((at-window)/step + 1)
			}
			if at == begin || text[at] == 'N' {
				continue
			}
			scores, err := m.Score(m.letters.Encode(text[begin : at+1]))
			if err != nil {
				t.Fatal(err)
			}
			sum -= scores[len(scores)-1]
			judged++
		}
		r := records[0]
		if r.Bases != c.length || r.Judged != judged {
			t.Errorf("%v: %d of %d bases were judged, want %d", c, r.Judged, r.Bases, judged)
		}
		if judged > 0 && math.Abs(r.Nats-sum/float64(judged)) > 1e-5 {
			t.Errorf("%v: %v nats a base, want %v", c, r.Nats, sum/float64(judged))
		}
	}
}

// However long a sequence is, its trace is short and loses nothing.
func TestTrace(t *testing.T) {
	for _, n := range []int{1, mostBins, mostBins + 1, 5000, 100001} {
		var tr trace
		sum, count := 0.0, 0
		for at := range n {
			if at%7 != 3 {
				tr.add(at, float64(at))
				sum += float64(at)
				count++
			}
		}
		for _, c := range []trace{tr, tr.coarse(400)} {
			for i, b := range c.bins {
				sum -= b.sum
				count -= b.count
				if mid := b.sum / float64(b.count); b.count > 0 && (mid < float64(i*c.step) || mid >= float64((i+1)*c.step)) {
					t.Errorf("%d bases: a mean of %v in step %d of %d", n, mid, i, c.step)
				}
			}
			if sum != 0 || count != 0 || len(c.bins) > mostBins {
				t.Errorf("%d bases: %v and %d are left over of %d steps", n, sum, count, len(c.bins))
			}
			for _, b := range c.bins {
				sum += b.sum
				count += b.count
			}
		}
		if got := len(tr.coarse(400).bins); got > 400 {
			t.Errorf("%d bases: %d steps", n, got)
		}
	}
}

func TestRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	dir := tinyModel(t)
	in := write(t, dir, "in.fa", ">first sequence\n"+randomBases(1, 100)+"\n>second\n"+randomBases(2, 30)+"\n>third\nNNN\n")
	plot, bases := filepath.Join(dir, "plot.png"), filepath.Join(dir, "bases.tsv")
	var stdout, stderr bytes.Buffer
	if err := run([]string{"-model", dir, "-in", in, "-out", plot, "-bases", bases, "-overlap", "4", "-threads", "1"}, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`model    HyenaDNA of 2 layers`, `windows  of 40 bases, 4 of them context`,
		`first +100 +3 +\d+ +\d\.\d{5} +\d+\.\d %`, `second +30 +1 +\d+ `, `third +3 +1 +0 +- +-`, `all +133 +5 +\d+ `, `plot: \S+plot.png`,
	} {
		if !regexp.MustCompile(want).Match(stdout.Bytes()) {
			t.Errorf("%q is not in\n%s", want, stdout.String())
		}
	}
	f, err := os.Open(plot)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := png.Decode(f); err != nil {
		t.Error(err)
	}
	var asJSON bytes.Buffer
	if err := run([]string{"-model", dir, "-in", in, "-overlap", "4", "-json"}, &asJSON, &stderr); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Window  int
		Records []record
		Total   record
	}
	if err := json.Unmarshal(asJSON.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Records) != 3 || got.Window != 40 || got.Total.Bases != 133 || !(got.Records[0].Nats > 0) {
		t.Errorf("JSON: %+v", got)
	}
	lines, err := os.ReadFile(bases)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(lines, []byte("\n")); n != got.Total.Judged+1 {
		t.Errorf("%d lines for %d bases that were judged", n, got.Total.Judged)
	}
}

func TestRunErrors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	dir := tinyModel(t)
	in := write(t, dir, "in.fa", ">a\nACGT\n")
	for _, c := range []struct{ args, want string }{
		{"-model " + dir + " -in " + filepath.Join(dir, "none.fa"), "none.fa"},
		{"-model " + dir + " -in " + dir, "is a folder"},
		{"-model " + filepath.Join(dir, "none") + " -in " + in, "none"},
		{"-model " + dir + " -in " + in + " -window 41", "takes 40 bases"},
		{"-model " + dir + " -in " + in + " -overlap 40", "-overlap 40"},
		{"-model " + dir + " -in " + write(t, dir, "empty.fa", ""), "empty.fa: empty"},
		{"-model " + dir + " -in " + write(t, dir, "none.fa", ">a\n>b\nAC\n"), "the sequence a has no bases"},
		{"-model " + dir + " -in " + in + " -bases " + filepath.Join(dir, "no", "table"), "table"},
	} {
		if err := run(strings.Fields(c.args), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.args, err, c.want)
		}
	}
	other := t.TempDir()
	write(t, other, "config.json", `{"model_type": "bert"}`)
	if _, err := loadModel(other, 0, 0); err == nil {
		t.Error("a folder without a model gave no error")
	}
	if err := run([]string{"-x"}, io.Discard, io.Discard); !errors.Is(err, errFlags) {
		t.Errorf("a wrong flag gave error %v", err)
	}
}

// The published model on the genome of the phage λ, in the windows that its figures are
// known of.
func TestPublished(t *testing.T) {
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA is not set")
	}
	m, err := loadModel(filepath.Join(root, "weights", "hyenadna-tiny-1k", "model.safetensors"), 1000, 0)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(root, "data", "lambda_phage_NC_001416.fa"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	windows := 48
	want, right := 1.39706, 14335
	if testing.Short() {
		windows, want, right = 1, 1.39194, 290
	}
	whole := newFASTA(f.Name(), f)
	if _, err := whole.next(); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 1000*windows)
	if _, err := whole.read(text); err != nil {
		t.Fatal(err)
	}
	records, err := m.judge(newFASTA("part", io.MultiReader(strings.NewReader(">lambda\n"), bytes.NewReader(text))), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := records[0]
	if r.Judged != 999*windows || math.Abs(r.Nats-want) > 1e-4 {
		t.Errorf("%.5f nats for each of %d bases, want %.5f for %d", r.Nats, r.Judged, want, 999*windows)
	}
	if got := int(math.Round(r.Accuracy * float64(r.Judged))); got < right-right/200 || got > right+right/200 {
		t.Errorf("%d bases are right, want %d", got, right)
	}
	if xy := points(r); len(xy) < mostPoints/4 || len(xy) > mostPoints {
		t.Errorf("a plot of %d points", len(xy))
	}
}
