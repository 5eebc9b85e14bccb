package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// llamaDriver is the program that llama.cpp is measured with.
//
//go:embed peers/llama.c
var llamaDriver []byte

// A llamaBuild is an installed llama.cpp, with the driver that was linked with it.
type llamaBuild struct {
	name, version string
	dir           string // of its libraries
	driver        string
}

// findLlama looks for the prebuilt library below a directory where npm installed
// node-llama-cpp, for one in each directory of others (name=directory), and compiles the
// driver for each, in the directory work.
func findLlama(npm, others, work string) ([]llamaBuild, error) {
	module := filepath.Join(npm, "node_modules", "node-llama-cpp")
	version, err := llamaVersion(module)
	if err != nil {
		return nil, fmt.Errorf("no node-llama-cpp in %q: %w", npm, err)
	}
	builds := []llamaBuild{{name: "llama.cpp", version: version + ", prebuilt",
		dir: filepath.Join(npm, "node_modules", "@node-llama-cpp", "linux-x64", "bins", "linux-x64")}}
	for _, other := range strings.FieldsFunc(others, func(r rune) bool { return r == ',' }) {
		name, dir, ok := strings.Cut(other, "=")
		if !ok {
			return nil, fmt.Errorf("-llama %q: want name=directory", other)
		}
		builds = append(builds, llamaBuild{name: "llama.cpp " + name, version: version + ", " + name, dir: dir})
	}
	headers := filepath.Join(work, "llama.cpp")
	if err := unpackHeaders(filepath.Join(module, "llama", "gitRelease.bundle"), headers); err != nil {
		return nil, err
	}
	for i := range builds {
		b := &builds[i]
		b.driver = filepath.Join(work, fmt.Sprintf("llama%d", i))
		if err := b.compile(headers); err != nil {
			return nil, err
		}
	}
	return builds, nil
}

// llamaVersion returns the version of llama.cpp that node-llama-cpp brings.
func llamaVersion(module string) (string, error) {
	data, err := os.ReadFile(filepath.Join(module, "llama", "binariesGithubRelease.json"))
	if err != nil {
		return "", err
	}
	var v struct{ Release string }
	if err := json.Unmarshal(data, &v); err != nil {
		return "", err
	}
	return v.Release, nil
}

// unpackHeaders clones the sources that come with node-llama-cpp and checks out the
// headers, which must be those that the library was built from: structs are passed by
// value.
func unpackHeaders(bundle, dir string) error {
	for _, args := range [][]string{
		{"clone", "-q", "--no-checkout", bundle, dir},
		{"-C", dir, "checkout", "-q", "HEAD", "--", "include", "ggml/include"},
	} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", args[0], err, out)
		}
	}
	return nil
}

// compile compiles the driver and links it with the libraries of the build.
func (b *llamaBuild) compile(headers string) error {
	libraries, err := b.libraries()
	if err != nil {
		return err
	}
	source := b.driver + ".c"
	if err := os.WriteFile(source, llamaDriver, 0o666); err != nil {
		return err
	}
	args := []string{"-O2", "-Wall", "-o", b.driver, source,
		"-I" + filepath.Join(headers, "include"), "-I" + filepath.Join(headers, "ggml", "include")}
	args = append(args, libraries...)
	args = append(args, "-Wl,-rpath,"+b.dir, "-Wl,--allow-shlib-undefined")
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("gcc: %w: %s", err, out)
	}
	return nil
}

// libraries returns the paths of libllama and libggml, which may have a version in their
// names.
func (b *llamaBuild) libraries() ([]string, error) {
	var found []string
	for _, name := range []string{"libllama", "libggml", "libggml-base"} {
		plain, _ := filepath.Glob(filepath.Join(b.dir, name+".so"))
		versioned, _ := filepath.Glob(filepath.Join(b.dir, name+".v*.so"))
		all := slices.Concat(plain, versioned)
		if len(all) == 0 {
			return nil, fmt.Errorf("%s: no %s.so", b.dir, name)
		}
		found = append(found, all[0])
	}
	return found, nil
}

func (b *llamaBuild) start(name, file string, threads int) (*contestant, error) {
	if b.driver == "" {
		return nil, errors.New("llama.cpp: no driver")
	}
	return start(name, []string{b.driver, file, strconv.Itoa(threads), b.dir, b.version}, nil)
}
