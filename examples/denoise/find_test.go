package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindCheckpoint(t *testing.T) {
	folder := func(names ...string) string {
		dir := t.TempDir()
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	one := folder("config.json", "model.safetensors", "README.md")
	several := folder("mamba.pt", "mamba.safetensors", "s4.pt", "s4.json")
	others := folder("a.pt", "b.ckpt")
	if err := os.Mkdir(filepath.Join(one, "golden.pt"), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ path, net, want string }{
		{one, "", "model.safetensors"},
		{one, "model", "model.safetensors"},
		{several, "", "mamba.safetensors"},
		{several, "s4", "s4.pt"},
		{filepath.Join(several, "mamba.pt"), "", "mamba.pt"},
	} {
		got, err := findCheckpoint(test.path, test.net)
		if err != nil || filepath.Base(got) != test.want {
			t.Errorf("findCheckpoint(%s, %q) = %s, %v, want %s", test.path, test.net, got, err, test.want)
		}
	}
	for _, test := range []struct{ path, net, want string }{
		{others, "", "several checkpoints, choose one with -net: a, b"},
		{several, "mha", "no checkpoint called mha (-net is one of mamba, s4)"},
		{folder("README.md"), "", "no checkpoint"},
		{filepath.Join(several, "mamba.pt"), "mamba", "is a file"},
		{filepath.Join(several, "none.pt"), "", "none.pt"},
	} {
		if _, err := findCheckpoint(test.path, test.net); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("findCheckpoint(%s, %q): error %v, want %q", test.path, test.net, err, test.want)
		}
	}
}

func TestConfig(t *testing.T) {
	for _, test := range []struct {
		name, file, json, want string
		heads                  int
	}{
		{"none", "", "", "", 0},
		{"beside", "tiny.json", `{"network": "CleanUNet", "network_config": {"kernel_size": 4, "stride": 2, "tsfm_n_head": 3}}`, "", 3},
		{"for the folder", "config.json", `{"network_config": {"tsfm_n_head": 6}}`, "", 6},
		{"of another network", "other.json", `{"network_config": {"tsfm_n_head": 6}}`, "", 0},
		{"broken", "tiny.json", `{"network_config": 7}`, "tiny.json", 0},
		{"other taps", "tiny.json", `{"network_config": {"kernel_size": 8}}`, "tiny.json: kernel_size 8, want 4", 0},
		{"other stride", "config.json", `{"network_config": {"stride": 4}}`, "config.json: stride 4, want 2", 0},
	} {
		dir := tinyNetwork(1, tinyAttention).save(t, "tiny")
		if test.file != "" {
			if err := os.WriteFile(filepath.Join(dir, test.file), []byte(test.json), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		want := test.want
		if want == "" && test.heads == 0 {
			want = "tsfm_n_head"
		}
		_, err := loadNetwork(filepath.Join(dir, "tiny.safetensors"))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: error %v, want %q", test.name, err, want)
		}
	}
}
