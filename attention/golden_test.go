package attention_test

import (
	"strings"
	"testing"

	"github.com/seqmix/seqmix/internal/cpu/cputest"
	"github.com/seqmix/seqmix/internal/golden"
	"github.com/seqmix/seqmix/internal/goldentest"
)

// TestGolden compares with flash-attention: attention on its own, rotary embeddings and
// layers with their caches.
func TestGolden(t *testing.T) {
	f, err := goldentest.Load("testdata/attention")
	if err != nil {
		t.Fatal(err)
	}
	cputest.ForEachTier(t, func(t *testing.T) {
		for _, c := range f.Cases {
			for _, o := range golden.Run(c) {
				if o.Err != nil {
					t.Errorf("%s: %v", o.Name, o.Err)
				}
				if o.Skipped != "" && !strings.HasSuffix(o.Name, " gradients") {
					t.Errorf("%s was skipped: %s", o.Name, o.Skipped)
				}
			}
		}
	})
}
