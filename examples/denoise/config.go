package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seqmix/seqmix/checkpoint"
)

// A config is what no tensor shows. Its JSON keys are those of the published training
// code.
type config struct {
	KernelSize int `json:"kernel_size"`
	Stride     int `json:"stride"`
	Heads      int `json:"tsfm_n_head"` // 0 if unknown
}

// readConfig returns the configuration of a checkpoint: from NAME.json or config.json
// beside it or, if there is neither, from the checkpoint itself, where PyTorch files
// have it. It is the zero config if it is nowhere.
func readConfig(path string, f *checkpoint.File) (config, error) {
	cfg, where, err := findConfig(path, f)
	switch {
	case err != nil:
	case cfg.KernelSize != 0 && cfg.KernelSize != taps:
		err = fmt.Errorf("kernel_size %d, want %d", cfg.KernelSize, taps)
	case cfg.Stride != 0 && cfg.Stride != stride:
		err = fmt.Errorf("stride %d, want %d", cfg.Stride, stride)
	}
	if err != nil {
		return config{}, fmt.Errorf("%s: %w", where, err)
	}
	return cfg, nil
}

// findConfig also returns where the configuration is.
func findConfig(path string, f *checkpoint.File) (cfg config, where string, err error) {
	for _, where := range []string{
		strings.TrimSuffix(path, filepath.Ext(path)) + ".json",
		filepath.Join(filepath.Dir(path), "config.json"),
	} {
		text, err := os.ReadFile(where)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var file struct {
			Config config `json:"network_config"`
		}
		if err == nil {
			err = json.Unmarshal(text, &file)
		}
		return file.Config, where, err
	}
	if saved, ok := f.Root().(*checkpoint.Dict); ok {
		return configIn(saved), path, nil
	}
	return config{}, path, nil
}

// configIn returns the configuration that was saved with a network.
func configIn(saved *checkpoint.Dict) config {
	v, _ := saved.Get("network_config")
	d, ok := v.(*checkpoint.Dict)
	if !ok {
		return config{}
	}
	number := func(key string) int {
		v, _ := d.Get(key)
		n, _ := v.(int64)
		return int(n)
	}
	return config{KernelSize: number("kernel_size"), Stride: number("stride"), Heads: number("tsfm_n_head")}
}
