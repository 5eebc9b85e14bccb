package checkpoint_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// The peak of resident memory while a model is loaded is the memory of the model and no
// more than 64 MiB: the file is given back while it is read.
func TestLoadResident(t *testing.T) {
	if dir := os.Getenv("CHECKPOINT_TEST_LOAD"); dir != "" {
		loadAndReport(t, dir)
		return
	}
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	const dim, layers = 640, 12
	e := nn.NewEmbedding(50280, dim)
	m := &lm.Model{Embedding: e, Head: e.Head(), Norm: nn.NewRMSNorm(dim, 1e-5)}
	for range layers {
		m.Layers = append(m.Layers, &seqmix.Residual{Norm: nn.NewRMSNorm(dim, 1e-5), Mixer: must(ssm.NewMamba(ssm.MambaConfig{DModel: dim}))})
	}
	m.Quantize(tensor.BFloat16)
	dir := made{m, strings.Replace(mambaConfig, "24", fmt.Sprint(layers), 1), mambaName}.write(t)

	cmd := exec.Command(os.Args[0], "-test.run=^TestLoadResident$", "-test.v")
	cmd.Env = append(os.Environ(), "CHECKPOINT_TEST_LOAD="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, report, ok := strings.Cut(string(out), "resident: ")
	var resident, memory, file int
	if _, err := fmt.Sscan(report, &resident, &memory, &file); !ok || err != nil {
		t.Fatalf("no report (%v)\n%s", err, out)
	}
	t.Logf("%d MB at most for a model of %d MB, from a file of %d MB", resident>>20, memory>>20, file>>20)
	if extra := resident - memory; extra > 64<<20 || file < 64<<20 {
		t.Errorf("%d MiB more than the model takes", extra>>20)
	}
}

// loadAndReport is the other process.
func loadAndReport(t *testing.T, dir string) {
	f, err := checkpoint.OpenModel(dir, checkpoint.ModelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, high, _ := strings.Cut(string(status), "VmHWM:")
	var kilobytes int
	if _, err := fmt.Sscan(high, &kilobytes); err != nil {
		t.Fatal(err)
	}
	_, bytes := m.Size()
	fmt.Println("resident:", kilobytes<<10, bytes, f.FileBytes)
}
