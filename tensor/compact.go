package tensor

import (
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
)

// Compact is [Tensor.Pack] into less memory, without loss: the exponents of the numbers of a
// weight lie close together, so that four bits are enough for the sign and what differs of
// the exponent of almost every one. A float32 then takes about 28 bits, and a bfloat16 12.
//
// All products have the same bits as those with the packed tensor. Decoding, where a product
// of one row with weights takes as long as reading them from memory takes, becomes faster by
// as much. What stays in the caches of the processor does not gain by it, nor do products of
// many rows, which convert the weights on the way for about one percent of their time.
//
// Int8 and Int4 tensors have no exponents, and numbers of columns that are no multiple of
// four cannot be compact; these are packed, and so are all where the processor has no kernels
// for it ([CPU]). Packing a compact tensor does nothing.
func (t *Tensor) Compact() {
	if t.Compacted() || !t.compactable(t.dtype) {
		t.Pack()
		return
	}
	t.Unpack()
	n, k := t.rowsCols()
	s := t.memory()
	c := kernel.NewCompact(t.dtype == Float32, n, k, nil)
	step := max(compactPiece/max(k, 1)/PanelRows, 1) * PanelRows
	par.Do((n+step-1)/step, 1, par.Func(func(lo, hi int) {
		for from := lo * step; from < min(hi*step, n); from += step {
			to := min(from+step, n)
			if t.dtype == Float32 {
				c.SetFloat32s(from, s.f32[from*k:to*k], to-from)
			} else {
				c.SetBF16s(from, s.u16[from*k:to*k], to-from)
			}
		}
	}))
	*s = storage{compact: c}
	t.packed = true
}

// compactPiece is about how many elements are made compact at a time: what a core has in its
// cache.
const compactPiece = 1 << 17

// compactable reports whether t can be compact in format d.
func (t *Tensor) compactable(d DType) bool {
	_, k := t.rowsCols()
	return (d == Float32 || d == BFloat16) && k%kernel.CompactK == 0 && kernel.CompactKernels()
}

// uncompact is Unpack of a compact tensor.
func (t *Tensor) uncompact() {
	values := make([]float32, t.Len())
	t.CopyFloat32s(values)
	t.packed = false
	if t.dtype == Float32 {
		t.store = storage{f32: values}
		return
	}
	halves := make([]uint16, len(values))
	kernel.Float32ToBF16(halves, values)
	t.store = storage{u16: halves}
}

// RenewCompact is [Tensor.Renew] for a tensor that is compact, or, if it cannot be, packed:
// see [Tensor.Compact]. How much memory it takes is known only after its rows were set; it is
// not more than a percent above that of the packed tensor.
func (t *Tensor) RenewCompact(d DType) { (*Arena)(nil).RenewCompact(t, d) }
