package tensor

import (
	"fmt"
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
)

// Renew makes all elements zero, and stores t in format d from now on, packed or not
// (see [Tensor.Pack]). The memory is allocated, and what there was is given up.
// Together with [Tensor.SetRows] it loads a weight piece by piece in the form that it
// will have. All weights of a model are better renewed in an [Arena].
func (t *Tensor) Renew(d DType, packed bool) { (*Arena)(nil).Renew(t, d, packed) }

// BytesAs returns what [Tensor.Bytes] would be in format d, packed or not.
func (t *Tensor) BytesAs(d DType, packed bool) int {
	n, k := t.rowsCols()
	switch {
	case d == Float32 && packed:
		return 4 * kernel.PanelLen(n, k)
	case d == Float32:
		return 4 * n * k
	case d == BFloat16 && packed:
		return 2 * kernel.BF16PanelLen(n, k)
	case d == BFloat16:
		return 2 * n * k
	case d == Int8 && packed:
		return kernel.Q8PanelLen(n, k)
	case d == Int8:
		return n*k + 2*n*quantBlocks(k)
	case d == Int4 && packed:
		return kernel.Q4PanelLen(n, k)
	case d == Int4:
		return n * (kernel.Q4RowLen(k) + 2*quantBlocks(k))
	}
	panic(fmt.Sprintf("tensor: BytesAs %v", d))
}

func quantBlocks(k int) int { return (k + QuantBlock - 1) / QuantBlock }

// PanelRows is the number of rows of which a piece that [Tensor.SetRows] writes to a
// packed tensor must begin at a multiple.
const PanelRows = kernel.PanelWidth

// SetRows makes src, rounded to the format of t and put into its order, the rows from
// the given one on: the elements from*n and on of the row-major order, n being the last
// dimension. src is n wide, a Float32, BFloat16 or Int8 tensor in row-major order; from
// one Int8 tensor to another the integers and scales are copied. In a packed
// tensor, from must be a multiple of [PanelRows], and the rows that complete the last
// panel of src become zero: write them after it, or as a part of src.
//
// Different rows may be written by many goroutines at once, as long as no two write to
// the same panel. It panics with a *[ShapeError] if the shapes do not fit.
func (t *Tensor) SetRows(from int, src *Tensor) {
	n, k := t.rowsCols()
	m, width := src.rowsCols()
	if width != k || from < 0 || m > n-from {
		panic(&ShapeError{"tensor.SetRows", src.shape, []int{n - from, k}})
	}
	if t.packed && from%PanelRows != 0 {
		panic(fmt.Sprintf("tensor: SetRows from %d of %v, want a multiple of %d", from, t, PanelRows))
	}
	if src.packed || src.dtype != Float32 && src.dtype != BFloat16 && src.dtype != Int8 {
		panic(fmt.Sprintf("tensor: SetRows of %v, want float32, bfloat16 or int8 in row-major order", src))
	}
	switch {
	case src.dtype == Int8 && t.dtype == Int8:
		t.setIntegers(from, m, k, src)
	case src.dtype != Int8 && t.dtype == BFloat16:
		t.setHalves(from, m, k, src)
	case src.dtype == Float32:
		t.setFloats(from, m, k, src.memory().f32)
	default:
		b := takeBuffer(m * k)
		values := b.data[:m*k]
		src.CopyFloat32s(values)
		if t.dtype == BFloat16 {
			t.setHalves(from, m, k, FromFloat32s(values, m, k))
		} else {
			t.setFloats(from, m, k, values)
		}
		buffers.Put(b)
	}
}

// setIntegers is SetRows from one int8 tensor to another.
func (t *Tensor) setIntegers(from, m, k int, src *Tensor) {
	s, blocks := &t.store, quantBlocks(k)
	if t.packed {
		kernel.PackQ8Panels(s.panels[kernel.Q8PanelLen(from, k):], src.store.q8, src.store.u16, m, k)
		return
	}
	copy(s.q8[from*k:], src.store.q8)
	copy(s.u16[from*blocks:], src.store.u16)
}

// setFloats is SetRows of m rows of k float32s.
func (t *Tensor) setFloats(from, m, k int, values []float32) {
	s := t.memory()
	switch {
	case s.compact != nil:
		s.compact.SetFloat32s(from, values, m)
	case t.dtype == Float32 && t.packed:
		kernel.PackPanels(s.f32[kernel.PanelLen(from, k):], values, m, k, k, 1)
	case t.dtype == Float32:
		copy(s.f32[from*k:], values)
	case t.dtype == Int4:
		t.setCodes(from, m, k, values)
	case t.packed:
		b := quantBuffers.Get().(*quantBuffer)
		q, scales := b.take(m, k)
		kernel.QuantizeQ8(q, scales, values, m, k)
		kernel.PackQ8Panels(s.panels[kernel.Q8PanelLen(from, k):], q, scales, m, k)
		quantBuffers.Put(b)
	default:
		kernel.QuantizeQ8(s.q8[from*k:(from+m)*k], s.u16[from*quantBlocks(k):(from+m)*quantBlocks(k)], values, m, k)
	}
}

// setCodes is setFloats of an int4 tensor.
func (t *Tensor) setCodes(from, m, k int, values []float32) {
	s, blocks, row := t.memory(), quantBlocks(k), kernel.Q4RowLen(k)
	if !t.packed {
		kernel.QuantizeQ4(s.q4[from*row:(from+m)*row], s.u16[from*blocks:(from+m)*blocks], values, m, k)
		return
	}
	b := codeBuffers.Get().(*codeBuffer)
	codes, scales := b.take(m, k)
	kernel.QuantizeQ4(codes, scales, values, m, k)
	kernel.PackQ4Panels(s.panels[kernel.Q4PanelLen(from, k):], codes, scales, m, k)
	codeBuffers.Put(b)
}

// setHalves is SetRows of a bfloat16 tensor.
func (t *Tensor) setHalves(from, m, k int, src *Tensor) {
	s := &t.store
	halves := src.store.u16
	if src.dtype == Float32 {
		b := halfBuffers.Get().(*[]uint16)
		defer halfBuffers.Put(b)
		if cap(*b) < m*k {
			*b = make([]uint16, m*k)
		}
		halves = (*b)[:m*k]
		kernel.Float32ToBF16(halves, src.memory().f32)
	}
	if s.compact != nil {
		s.compact.SetBF16s(from, halves, m)
	} else if t.packed {
		kernel.PackBF16Panels(s.u16[kernel.BF16PanelLen(from, k):], halves, m, k)
	} else {
		copy(s.u16[from*k:], halves)
	}
}

// Temporary memory of SetRows, so that loading a model leaves no garbage behind.
var (
	halfBuffers  = sync.Pool{New: func() any { return new([]uint16) }}
	quantBuffers = sync.Pool{New: func() any { return new(quantBuffer) }}
	codeBuffers  = sync.Pool{New: func() any { return new(codeBuffer) }}
)

type quantBuffer struct {
	q      []int8
	scales []uint16
}

func (b *quantBuffer) take(m, k int) ([]int8, []uint16) {
	if n := m * quantBlocks(k); cap(b.q) < m*k || cap(b.scales) < n {
		b.q, b.scales = make([]int8, m*k), make([]uint16, n)
	}
	return b.q[:m*k], b.scales[:m*quantBlocks(k)]
}

type codeBuffer struct {
	codes  []byte
	scales []uint16
}

func (b *codeBuffer) take(m, k int) ([]byte, []uint16) {
	codes, scales := m*kernel.Q4RowLen(k), m*quantBlocks(k)
	if cap(b.codes) < codes || cap(b.scales) < scales {
		b.codes, b.scales = make([]byte, codes), make([]uint16, scales)
	}
	return b.codes[:codes], b.scales[:scales]
}
