package golden

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/lm"
)

// alu is a piece of DNA that is repeated a million times in the human genome.
const alu = "GGCCGGGCGCGGTGGCTCACGCCTGTAATCCCAGCACTTTGGGAGGCCGAGGCGGGCGGATCACCTGAGGTCAGGAGTTCGAGACCAGCCTGGCCAACATGGTGAAACCCCGTCTCTACTAAAAATACAAAAATTAGCCGGGCGTGGTGGCG" +
	"CGCGCCTGTAATCCCAGCTACTCGGGAGGCTGAGGCAGGAGAATCGCTTGAACCCGGGAGGCGGAGGTTGCAGTGAGCCGAGATCGCGCCACTGCACTCCAGCCTGGGCGACAGAGCGAGACTCCGTCTCAAAAAAA"

// TestHyenaDNATiny runs the published HyenaDNA tiny-1k, whole and base by base, on the
// sequences of spec/models.md: the logits are those of a float64 program, and the losses
// those that tell a working model from one with nearly any mistake.
func TestHyenaDNATiny(t *testing.T) {
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA is not set")
	}
	dir := filepath.Join(root, "weights", "hyenadna-tiny-1k")
	golden, err := checkpoint.Open(filepath.Join(dir, "golden.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer golden.Close()
	m, err := loadHyenaDNA(dir, 0.05)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ ids, logits string }{{"ids", "logits"}, {"alu.ids", "alu.logits"}} {
		ids := entryInts(t, golden, c.ids)
		got, err := m.Logits(ids)
		if err != nil {
			t.Fatal(err)
		}
		want := entryFloats(t, golden, c.logits)
		var worst, size float64
		for i, w := range want {
			worst, size = max(worst, math.Abs(float64(got.Data[i])-float64(w))), max(size, math.Abs(float64(w)))
		}
		if !(worst <= 1e-5*size) {
			t.Errorf("%s: error %.3g of the largest", c.logits, worst/size)
		}
	}
	bases := map[rune]int{'A': 7, 'C': 8, 'G': 9, 'T': 10}
	for name, c := range map[string]struct {
		ids  []int
		loss float64
	}{
		"lambda phage": {entryInts(t, golden, "ids"), 1.39194}, "Alu": {dna(alu, bases), 0.1280}, "(AC)×500": {dna(strings.Repeat("AC", 500), bases), 0.2123},
	} {
		if loss := meanLoss(t, m, c.ids); math.Abs(loss-c.loss) > 6e-5 {
			t.Errorf("%s: %.5f nats a base, want %.5f", name, loss, c.loss)
		}
		if loss := streamedLoss(t, m, c.ids); math.Abs(loss-c.loss) > 6e-5 {
			t.Errorf("%s, base by base: %.5f nats a base, want %.5f", name, loss, c.loss)
		}
	}
}

func dna(s string, bases map[rune]int) []int {
	var ids []int
	for _, b := range s {
		ids = append(ids, bases[b])
	}
	return ids
}

func meanLoss(t *testing.T, m *lm.Model, ids []int) float64 {
	scores, err := m.Score(ids)
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, s := range scores {
		sum -= s
	}
	return sum / float64(len(scores))
}

// streamedLoss feeds one base after the other.
func streamedLoss(t *testing.T, m *lm.Model, ids []int) float64 {
	s, err := m.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for i, id := range ids {
		if i > 0 {
			var total float64
			for _, l := range s.Logits() {
				total += math.Exp(float64(l))
			}
			sum += math.Log(total) - float64(s.Logits()[id])
		}
		if err := s.Feed(id); err != nil {
			t.Fatal(err)
		}
	}
	return sum / float64(len(ids)-1)
}

func entryFloats(t *testing.T, f *checkpoint.File, name string) []float32 {
	t.Helper()
	e, ok := f.Lookup(name)
	if !ok {
		t.Fatalf("no tensor %s", name)
	}
	v := make([]float32, e.Len())
	if err := e.ReadFloat32s(v, 0); err != nil {
		t.Fatal(err)
	}
	return v
}

func entryInts(t *testing.T, f *checkpoint.File, name string) []int {
	t.Helper()
	e, ok := f.Lookup(name)
	if !ok {
		t.Fatalf("no tensor %s", name)
	}
	b, err := e.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	var ids []int
	for ; len(b) >= 8; b = b[8:] {
		ids = append(ids, int(binary.LittleEndian.Uint64(b)))
	}
	return ids
}
