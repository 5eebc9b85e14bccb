package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// extensions are those of checkpoints. Of two files that differ in them only, the one
// whose extension comes first is read.
var extensions = []string{".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pkl"}

// findCheckpoint returns the file to read: path itself, or in a folder the checkpoint
// called net. Without a net it is the only one, or the one called mamba.
func findCheckpoint(path, net string) (string, error) {
	if fi, err := os.Stat(path); err != nil {
		return "", err
	} else if !fi.IsDir() {
		if net != "" {
			return "", fmt.Errorf("-net %s chooses in a folder, but %s is a file", net, path)
		}
		return path, nil
	}
	files, err := checkpointsIn(path)
	if err != nil {
		return "", err
	}
	names := slices.Sorted(maps.Keys(files))
	switch {
	case len(names) == 0:
		return "", fmt.Errorf("%s: no checkpoint (a file that ends in %s)", path, strings.Join(extensions, ", "))
	case net != "":
		if files[net] == "" {
			return "", fmt.Errorf("%s: no checkpoint called %s (-net is one of %s)", path, net, strings.Join(names, ", "))
		}
		return files[net], nil
	case len(names) == 1:
		return files[names[0]], nil
	case files["mamba"] != "":
		return files["mamba"], nil
	}
	return "", fmt.Errorf("%s: several checkpoints, choose one with -net: %s", path, strings.Join(names, ", "))
}

// checkpointsIn returns the checkpoints in a folder by their names.
func checkpointsIn(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, ext := range extensions {
		for _, e := range entries {
			name, ok := strings.CutSuffix(e.Name(), ext)
			if ok && !e.IsDir() && files[name] == "" {
				files[name] = filepath.Join(dir, e.Name())
			}
		}
	}
	return files, nil
}
