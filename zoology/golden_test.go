package zoology_test

import (
	"testing"

	"github.com/seqmix/seqmix/internal/golden"
	"github.com/seqmix/seqmix/internal/goldentest"
)

// TestGolden makes the data of the reference again, to the token.
func TestGolden(t *testing.T) {
	f, err := goldentest.Load("testdata/zoology-data")
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Cases) == 0 {
		t.Error("no cases")
	}
	for _, c := range f.Cases {
		for _, o := range golden.Run(c) {
			if o.Err != nil || o.Skipped != "" {
				t.Errorf("%s: %v %s", o.Name, o.Err, o.Skipped)
			}
		}
	}
}
