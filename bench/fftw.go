package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// fftwDriver is the program that FFTW is measured with.
//
//go:embed peers/fftw.c
var fftwDriver []byte

// fftwPeer is an installed FFTW.
type fftwPeer struct{ driver string }

// findFFTW compiles the driver in the directory work, which succeeds if FFTW is there.
func findFFTW(work string) (*fftwPeer, error) {
	p := &fftwPeer{filepath.Join(work, "fftw")}
	source := p.driver + ".c"
	if err := os.WriteFile(source, fftwDriver, 0o666); err != nil {
		return nil, err
	}
	args := []string{"-O3", "-march=native", "-ffast-math", "-fopenmp", "-Wall", "-o", p.driver, source, "-lfftw3f", "-lm"}
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("gcc: %w: %s", err, firstLine(out))
	}
	return p, nil
}

func (p *fftwPeer) start(threads int) (*contestant, error) {
	return start("FFTW", []string{p.driver, strconv.Itoa(threads)}, nil)
}
