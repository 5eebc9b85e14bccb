package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/cpuid/v2"
)

// torchScript is the program that PyTorch is measured with.
//
//go:embed peers/mamba.py
var torchScript []byte

// torchTraining is the one that its training is measured with.
//
//go:embed peers/train.py
var torchTraining []byte

// torchPeer is an installed PyTorch.
type torchPeer struct {
	python, script, version string
}

// findTorch looks for PyTorch in a Python and writes a script to the directory work.
func findTorch(python, work, name string, script []byte) (*torchPeer, error) {
	out, err := exec.Command(python, "-c", "import torch; print(torch.__version__)").CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return nil, fmt.Errorf("%s: %w: %s", python, err, lines[len(lines)-1])
	}
	t := &torchPeer{python, filepath.Join(work, name), strings.TrimSpace(string(out))}
	return t, os.WriteFile(t.script, script, 0o666)
}

// firstLine returns the first line of what a program printed.
func firstLine(out []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// tuning makes PyTorch two to three times as fast as it is out of the box: memory is kept,
// in large pages, in place of being mapped anew for each tensor, and OpenBLAS uses AVX-512
// where it would not on processors of AMD.
func tuning(threads int) []string {
	env := []string{
		"GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=34359738368:glibc.malloc.top_pad=268435456",
		"OMP_NUM_THREADS=" + strconv.Itoa(threads),
	}
	switch {
	case cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512BF16):
		env = append(env, "OPENBLAS_CORETYPE=Cooperlake")
	case cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW):
		env = append(env, "OPENBLAS_CORETYPE=SkylakeX")
	}
	return env
}

func (t *torchPeer) start(name, file string, threads int) (*contestant, error) {
	return start(name, []string{t.python, t.script, file, strconv.Itoa(threads)}, tuning(threads))
}

func (t *torchPeer) startTraining(threads int) (*contestant, error) {
	return start("PyTorch", []string{t.python, t.script, strconv.Itoa(threads)}, tuning(threads))
}
