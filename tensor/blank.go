package tensor

import (
	"sync"
	"sync/atomic"

	"github.com/seqmix/seqmix/internal/pages"
)

// blank says of a Float32 tensor in row-major order that all its elements are zero
// and that its memory was not allocated yet.
type blank struct {
	on atomic.Bool
	mu sync.Mutex
}

// memory returns the elements, and allocates them before if need be. Readers may do
// so on many goroutines at once.
func (t *Tensor) memory() *storage {
	if t.blank.on.Load() {
		t.blank.mu.Lock()
		defer t.blank.mu.Unlock()
		if t.blank.on.Load() {
			t.store.f32 = pages.Make[float32](t.Len())
			t.blank.on.Store(false)
		}
	}
	return &t.store
}
