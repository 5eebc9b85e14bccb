package tensor

import (
	"fmt"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/pages"
)

// An Arena is memory for the weights of one model, which lie next to each other in it. On
// Linux they are in pages of 2 MB then, of which weights that are made one by one have fewer,
// and are read faster. The memory is freed, in chunks of 64 MB, when nothing in it is used.
// Several goroutines may use an Arena at a time.
type Arena struct{ pages *pages.Arena }

// NewArena returns an Arena for about so many bytes: the sum of what [Tensor.BytesAs] says.
// More can be taken from it.
func NewArena(bytes int) *Arena { return &Arena{pages.NewArena(bytes)} }

// memory returns where tensors are to be; a nil Arena gives each memory of its own.
func (a *Arena) memory() *pages.Arena {
	if a == nil {
		return nil
	}
	return a.pages
}

// Renew is [Tensor.Renew] of t in an arena.
func (a *Arena) Renew(t *Tensor, d DType, packed bool) {
	n, k := t.rowsCols()
	t.blank.on.Store(false)
	t.dtype, t.packed, t.store = d, packed, storage{}
	s, m := &t.store, a.memory()
	switch {
	case d == Float32 && packed:
		s.f32 = pages.Take[float32](m, kernel.PanelLen(n, k))
	case d == Float32:
		s.f32 = pages.Take[float32](m, n*k)
	case d == BFloat16 && packed:
		s.u16 = pages.Take[uint16](m, kernel.BF16PanelLen(n, k))
	case d == BFloat16:
		s.u16 = pages.Take[uint16](m, n*k)
	case d == Int8 && packed:
		s.panels = pages.Take[byte](m, kernel.Q8PanelLen(n, k))
	case d == Int8:
		s.q8, s.u16 = pages.Take[int8](m, n*k), pages.Take[uint16](m, n*quantBlocks(k))
	case d == Int4 && packed:
		s.panels = pages.Take[byte](m, kernel.Q4PanelLen(n, k))
	case d == Int4:
		s.q4, s.u16 = pages.Take[byte](m, n*kernel.Q4RowLen(k)), pages.Take[uint16](m, n*quantBlocks(k))
	default:
		panic(fmt.Sprintf("tensor: Renew as %v", d))
	}
}

// RenewCompact is [Tensor.RenewCompact] of t in an arena.
func (a *Arena) RenewCompact(t *Tensor, d DType) {
	if !t.compactable(d) {
		a.Renew(t, d, true)
		return
	}
	n, k := t.rowsCols()
	t.blank.on.Store(false)
	t.dtype, t.packed = d, true
	t.store = storage{compact: kernel.NewCompact(d == Float32, n, k, a.memory())}
}
