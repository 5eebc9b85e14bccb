package checkpoint_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/internal/short"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// The peak of resident memory, while a model is loaded, reads a prompt and writes, is the
// memory of its weights and its state and no more than 64 MiB: the file is given back while
// it is read, all layers have the temporary memory of one, and that does not grow with the
// width.
func TestResident(t *testing.T) {
	if dir := os.Getenv("CHECKPOINT_TEST_RESIDENT"); dir != "" {
		runAndReport(t, dir, os.Getenv("CHECKPOINT_TEST_FORMAT"))
		return
	}
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	for _, shape := range []struct {
		name                    string
		dim, layers, vocabulary int
	}{{"deep", 640, 24, 50280}, {"wide", 4096, 1, 512}} {
		t.Run(shape.name, func(t *testing.T) {
			dir := writeMamba(t, shape.dim, shape.layers, shape.vocabulary)
			for _, format := range short.First([]tensor.DType{tensor.BFloat16, tensor.Int8, tensor.Float32}) {
				t.Run(format.String(), func(t *testing.T) { checkResident(t, dir, format) })
			}
		})
	}
}

// writeMamba writes a model of zeros.
func writeMamba(t *testing.T, dim, layers, vocabulary int) (dir string) {
	e := nn.NewEmbedding(vocabulary, dim)
	m := &lm.Model{Embedding: e, Head: e.Head(), Norm: nn.NewRMSNorm(dim, 1e-5)}
	for range layers {
		m.Layers = append(m.Layers, &seqmix.Residual{Norm: nn.NewRMSNorm(dim, 1e-5), Mixer: must(ssm.NewMamba(ssm.MambaConfig{DModel: dim}))})
	}
	m.Quantize(tensor.BFloat16)
	config := fmt.Sprintf(`{"model_type": "mamba", "num_hidden_layers": %d, "vocab_size": %d, "layer_norm_epsilon": 1e-05}`, layers, vocabulary)
	return made{m, config, mambaName}.write(t)
}

// residentMore is what there may be beside weights and state, in MiB: less than 64, because
// 16 are for what is derived from the parameters of some fifty layers.
const residentMore = 64 - 16

// checkResident runs a model in another process, of which it checks the memory.
func checkResident(t *testing.T, dir string, format tensor.DType) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestResident$", "-test.v")
	cmd.Env = append(os.Environ(), "CHECKPOINT_TEST_RESIDENT="+dir, "CHECKPOINT_TEST_FORMAT="+format.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, report, ok := strings.Cut(string(out), "resident: ")
	var loaded, peak, weights, state, file int
	if _, err := fmt.Sscan(report, &loaded, &peak, &weights, &state, &file); !ok || err != nil {
		t.Fatalf("no report (%v)\n%s", err, out)
	}
	const MiB = 1 << 20
	t.Logf("MiB: %d once loaded, %d at most, of which weights %d and state %d; from a file of %d", loaded/MiB, peak/MiB, weights/MiB, state/MiB, file/MiB)
	if weights < 64*MiB || file < 64*MiB || state < MiB/2 || peak < weights {
		t.Error("the model is not what this test is about")
	}
	if extra := peak - weights - state; extra > residentMore*MiB {
		t.Errorf("%d MiB more than weights and state", extra/MiB)
	}
}

// runAndReport is the other process.
func runAndReport(t *testing.T, dir, format string) {
	d := must(tensor.ParseDType(format))
	f := must(checkpoint.OpenModel(dir, checkpoint.ModelOptions{Weights: &d}))
	m := must(f.Load())
	file := f.FileBytes
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	loaded := peakResident(t)
	s := must(m.NewSession())
	prompt := make([]int, 512)
	for i := range prompt {
		prompt[i] = i
	}
	for range 2 { // some memory is taken the second time
		s.Reset()
		next := prompt
		for range 32 {
			if err := s.Feed(next...); err != nil {
				t.Fatal(err)
			}
			s.Logits()
			next = prompt[:1]
		}
	}
	peak := peakResident(t)
	_, weights := m.Size()
	fmt.Println("resident:", loaded, peak, weights, len(must(s.AppendBinary(nil))), file)
}

// peakResident returns the most memory that this process has had, in bytes.
func peakResident(t *testing.T) int {
	status := must(os.ReadFile("/proc/self/status"))
	_, high, _ := strings.Cut(string(status), "VmHWM:")
	var kilobytes int
	if _, err := fmt.Sscan(high, &kilobytes); err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}
