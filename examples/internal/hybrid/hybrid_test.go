package hybrid_test

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/examples/internal/hybrid"
)

// TestSave writes and reads a model of all kinds of mixers.
func TestSave(t *testing.T) {
	c := hybrid.Config{Pattern: hybrid.Mixers, Dim: 32, Heads: 2, Window: 8, Hidden: 48, MaxLen: 64}
	m, err := hybrid.New(c, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := hybrid.Save(path, c, m); err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	loaded, config, err := hybrid.Load(f)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(config.Pattern, c.Pattern) || config.Dim != c.Dim {
		t.Errorf("configuration %+v, want %+v", config, c)
	}
	ids := []int{0, 'p', 'a', 'c', 'k', 'a', 'g', 'e'}
	want, err := m.Score(ids)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := loaded.Score(ids); err != nil || !slices.Equal(got, want) {
		t.Errorf("scores %v, want %v (%v)", got, want, err)
	}
}

func TestErrors(t *testing.T) {
	good := hybrid.Config{Pattern: []string{"mamba"}, Dim: 32, Heads: 2}
	for name, change := range map[string]func(*hybrid.Config){
		"no pattern": func(c *hybrid.Config) { c.Pattern = nil },
		"mixer":      func(c *hybrid.Config) { c.Pattern = []string{"lstm"} },
		"width":      func(c *hybrid.Config) { c.Dim = 0 },
		"heads":      func(c *hybrid.Config) { c.Pattern, c.Heads = []string{"attention"}, 5 },
		"length":     func(c *hybrid.Config) { c.Pattern = []string{"hyena"} },
	} {
		c := good
		change(&c)
		if _, err := hybrid.New(c, rand.New(rand.NewPCG(1, 2))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	f, err := checkpoint.Parse("file", []byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := hybrid.Load(f); err == nil {
		t.Error("a file without a configuration was loaded")
	}
}
