package golden

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/goldentest"
)

// TestFamilies runs on every tier the golden vectors that lie beside the mixers.
func TestFamilies(t *testing.T) {
	for _, pkg := range []string{"nn", "ssm", "attention", "based"} {
		paths, err := filepath.Glob(filepath.Join("../..", pkg, "testdata/*.safetensors"))
		if err != nil || len(paths) == 0 {
			t.Errorf("no golden vectors in %s (%v)", pkg, err)
		}
		for _, path := range paths {
			f, err := goldentest.Load(strings.TrimSuffix(path, ".safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			t.Run(pkg+"/"+f.Name, func(t *testing.T) {
				cputest.ForEachTier(t, func(t *testing.T) {
					if runFamily(t, f) == 0 {
						t.Error("no case was computed")
					}
				})
			})
		}
	}
}

// runFamily runs all cases and returns how many of them were computed.
func runFamily(t *testing.T, f *goldentest.Family) (computed int) {
	for _, c := range f.Cases {
		for _, o := range Run(c) {
			if o.Err != nil {
				t.Errorf("%s: %v", o.Name, o.Err)
			}
			if o.Skipped == "" {
				computed++
			}
		}
	}
	return computed
}

// TestExternalFamilies does the same with the folder of golden vectors, if it is
// there: it holds more of them.
func TestExternalFamilies(t *testing.T) {
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA is not set")
	}
	families, _ := filepath.Glob(filepath.Join(root, "golden", "*", "cases.json"))
	for _, path := range families {
		f, err := goldentest.Load(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		t.Run(f.Name, func(t *testing.T) { runFamily(t, f) })
	}
}
