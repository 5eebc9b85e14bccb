package tensor

import (
	"fmt"
	"slices"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/pages"
)

// A Tensor is a parameter of a mixer: an array of numbers with a shape, stored in
// one of several formats. Mixers are keyed and trained by the identity of their
// tensors, so a Tensor is used through a pointer and not copied.
//
// The elements are in row-major order, last index fastest. A matrix can be packed
// ([Tensor.Pack]) into the order in which the kernels read it; it then holds its
// elements once, in that order, and gives the row-major form on demand.
//
// Reading a Tensor is safe for many goroutines at once. Whoever changes one
// (Pack, Convert, SetFloat32s, writing to Data) sees to it that nobody reads.
type Tensor struct {
	shape    []int
	dtype    DType
	weight   bool // see NewWeight
	constant bool // see SetConstant
	packed   bool
	blank    blank
	store    storage
}

// storage holds the elements; which of the fields are in use depends on the format.
type storage struct {
	f32    []float32 // Float32, either order
	u16    []uint16  // BFloat16, either order; Int8 and Int4, row-major: the scales, row by row
	q8     []int8    // Int8, row-major
	q4     []byte    // Int4, row-major: two elements to a byte
	panels []byte    // Int8 and Int4, packed

	compact *kernel.Compact // Float32 and BFloat16, compact
}

// New returns a Float32 tensor of zeros. It panics with a *[ShapeError] if a
// dimension is negative or the size overflows.
func New(shape ...int) *Tensor {
	n := elements(shape)
	if n < 0 {
		panic(&ShapeError{"tensor.New", shape, nil})
	}
	return FromFloat32s(pages.Make[float32](n), shape...)
}

// NewWeight returns a Float32 matrix of zeros that is marked as a weight: it is used
// only through [Linear], the matrix products and [Tensor.Row], all of which take
// every format and order. Weights are what packing and quantising a whole model
// apply to; parameters that a mixer reads element by element are made with [New].
//
// Its memory is taken when the elements are first used, so that a model can be made
// and described, and then loaded in another format with [Tensor.Renew], without
// memory for zeros.
func NewWeight(rows, cols int) *Tensor {
	shape := []int{rows, cols}
	if elements(shape) < 0 {
		panic(&ShapeError{"tensor.NewWeight", shape, nil})
	}
	t := &Tensor{shape: shape, weight: true}
	t.blank.on.Store(true)
	return t
}

// IsWeight reports whether t was made by [NewWeight].
func (t *Tensor) IsWeight() bool { return t.weight }

// FromFloat32s returns a Float32 tensor that uses data as its memory. It panics
// with a *[ShapeError] if data has another size than the shape.
func FromFloat32s(data []float32, shape ...int) *Tensor {
	if elements(shape) != len(data) {
		panic(&ShapeError{"tensor.FromFloat32s", []int{len(data)}, shape})
	}
	return &Tensor{shape: slices.Clone(shape), store: storage{f32: data}}
}

// FromBFloat16s returns a BFloat16 tensor that uses data, the upper halves of
// float32s, as its memory. It panics with a *[ShapeError] if data has another size
// than the shape.
func FromBFloat16s(data []uint16, shape ...int) *Tensor {
	if elements(shape) != len(data) {
		panic(&ShapeError{"tensor.FromBFloat16s", []int{len(data)}, shape})
	}
	return &Tensor{shape: slices.Clone(shape), dtype: BFloat16, store: storage{u16: data}}
}

// FromInt8s returns an Int8 tensor that uses data as its memory: element i of a row is
// data[i] times the scale of block i/[QuantBlock] of the row. The scales are rounded to
// those of the format, which changes none that is a float16; as they have no sign, the
// integers of a block with a negative scale change theirs in data, whereby -128 becomes
// 127. Below 2^-41 a scale counts as 0, and its integers become 0; one that is not below
// 2^23 makes its block NaN, as infinities and NaN do. It panics with a *[ShapeError] if
// data has another size than the shape, or scales than there are blocks.
func FromInt8s(data []int8, scales []float32, shape ...int) *Tensor {
	t := new(Tensor)
	t.useInt8s("tensor.FromInt8s", data, scales, shape)
	return t
}

// UseInt8s makes t, which may be a Tensor that was in no use yet, what [FromInt8s] returns. It
// stores scales in the memory in which it did so before, if that suffices: to convert a matrix
// piece by piece.
func (t *Tensor) UseInt8s(data []int8, scales []float32, shape ...int) {
	t.useInt8s("tensor.UseInt8s", data, scales, shape)
}

func (t *Tensor) useInt8s(op string, data []int8, scales []float32, shape []int) {
	if elements(shape) != len(data) {
		panic(&ShapeError{op, []int{len(data)}, shape})
	}
	var u16 []uint16
	if t.dtype == Int8 {
		u16 = t.store.u16
	}
	t.blank.on.Store(false)
	t.shape, t.dtype, t.packed, t.store = slices.Clone(shape), Int8, false, storage{q8: data}
	rows, cols := t.rowsCols()
	if len(scales) != rows*quantBlocks(cols) {
		panic(&ShapeError{op, []int{len(scales)}, []int{rows, quantBlocks(cols)}})
	}
	if cap(u16) < len(scales) {
		u16 = make([]uint16, len(scales))
	}
	t.store.u16 = u16[:len(scales)]
	kernel.RoundQ8Scales(t.store.u16, data, scales, rows, cols)
}

// Shape returns the dimensions. The caller must not change them.
func (t *Tensor) Shape() []int { return t.shape }

// Dim returns dimension i; a negative i counts from the end.
func (t *Tensor) Dim(i int) int {
	if i < 0 {
		i += len(t.shape)
	}
	return t.shape[i]
}

// Len returns the number of elements.
func (t *Tensor) Len() int { return elements(t.shape) }

// DType returns the storage format.
func (t *Tensor) DType() DType { return t.dtype }

// Packed reports whether the elements are in the kernels' order.
func (t *Tensor) Packed() bool { return t.packed }

// Compacted reports whether the elements are in the kernels' order, and the exponents of most
// of them stored in four bits: see [Tensor.Compact].
func (t *Tensor) Compacted() bool { return t.store.compact != nil }

// Bytes returns the number of bytes that the elements take up.
func (t *Tensor) Bytes() int {
	if t.blank.on.Load() {
		return 4 * t.Len()
	}
	s := &t.store
	if s.compact != nil {
		return s.compact.Bytes()
	}
	return 4*len(s.f32) + 2*len(s.u16) + len(s.q8) + len(s.q4) + len(s.panels)
}

// String describes the tensor without its elements: "float32[64 128]".
func (t *Tensor) String() string {
	s := fmt.Sprintf("%v%v", t.dtype, t.shape)
	switch {
	case t.Compacted():
		s += " compact"
	case t.packed:
		s += " packed"
	}
	return s
}

// Data returns the elements of a Float32 tensor in row-major order, sharing memory
// with t. It panics if t has another format or is packed; [Tensor.Float32s] works
// for all.
func (t *Tensor) Data() []float32 {
	if t.dtype != Float32 || t.packed {
		panic(fmt.Sprintf("tensor: Data of %v; it is for unpacked float32 tensors, Float32s is for all", t))
	}
	return t.memory().f32
}

// Float32s returns the elements as float32s in row-major order: the tensor's own
// memory if it is in that form, a fresh copy if not.
func (t *Tensor) Float32s() []float32 {
	if t.dtype == Float32 && !t.packed {
		return t.memory().f32
	}
	dst := make([]float32, t.Len())
	t.CopyFloat32s(dst)
	return dst
}

// CopyFloat32s writes the elements to dst in row-major order. It panics with a
// *[ShapeError] if dst has another length than t.
func (t *Tensor) CopyFloat32s(dst []float32) {
	if len(dst) != t.Len() {
		panic(&ShapeError{"tensor.CopyFloat32s", []int{len(dst)}, t.shape})
	}
	if len(t.shape) == 0 || t.packed && t.dtype == Float32 && !t.Compacted() {
		t.decode(dst)
		return
	}
	cols := t.Dim(-1)
	for i := 0; cols > 0 && i < len(dst)/cols; i++ {
		t.Row(dst[i*cols:(i+1)*cols], i)
	}
}

// decode is CopyFloat32s for scalars and for packed float32 matrices.
func (t *Tensor) decode(dst []float32) {
	s := t.memory()
	switch {
	case t.packed:
		n, k := t.rowsCols()
		kernel.UnpackPanels(dst, s.f32, n, k, k, 1)
	case t.dtype == BFloat16:
		kernel.BF16ToFloat32(dst, s.u16)
	default:
		copy(dst, s.f32)
	}
}

// Row writes row i to dst: the elements i*n to (i+1)*n-1 of the row-major order, n
// being the last dimension. In a matrix of embeddings, packed or not, it looks one
// up. It panics with a *[ShapeError] if dst does not have n elements.
func (t *Tensor) Row(dst []float32, i int) {
	n := t.Dim(-1)
	if len(dst) != n {
		panic(&ShapeError{"tensor.Row", []int{len(dst)}, t.shape})
	}
	if i < 0 || (i+1)*n > t.Len() {
		panic(fmt.Sprintf("tensor: row %d of %v", i, t))
	}
	s := t.memory()
	if s.compact != nil {
		s.compact.Row(dst, i)
		return
	}
	switch t.dtype {
	case Float32:
		if t.packed {
			kernel.PanelRow(dst, s.f32, i, n)
		} else {
			copy(dst, s.f32[i*n:])
		}
	case BFloat16:
		if t.packed {
			kernel.BF16PanelRow(dst, s.u16, i, n)
		} else {
			kernel.BF16ToFloat32(dst, s.u16[i*n:(i+1)*n])
		}
	case Int8:
		if t.packed {
			kernel.Q8PanelRow(dst, s.panels, i, n)
		} else {
			kernel.Q8Row(dst, s.q8[i*n:], s.u16[i*quantBlocks(n):])
		}
	case Int4:
		if t.packed {
			kernel.Q4PanelRow(dst, s.panels, i, n)
		} else {
			kernel.Q4Row(dst, s.q4[i*kernel.Q4RowLen(n):], s.u16[i*kernel.Q4RowBlocks(n):])
		}
	}
}

// SetFloat32s makes src, in row-major order, the elements of t, rounded to its
// format and put into its order. It panics with a *[ShapeError] if src has another
// length than t.
func (t *Tensor) SetFloat32s(src []float32) {
	if len(src) != t.Len() {
		panic(&ShapeError{"tensor.SetFloat32s", []int{len(src)}, t.shape})
	}
	if t.Compacted() {
		t.SetRows(0, FromFloat32s(src, t.shape...))
		return
	}
	packed := t.packed
	t.packed = false
	switch t.dtype {
	case Float32:
		if packed {
			n, k := t.rowsCols()
			kernel.PackPanels(t.store.f32, src, n, k, k, 1)
			t.packed = true
			return
		}
		copy(t.memory().f32, src)
	case BFloat16:
		t.store.u16 = make([]uint16, len(src))
		kernel.Float32ToBF16(t.store.u16, src)
	case Int8:
		n, k := t.rowsCols()
		t.store = storage{q8: make([]int8, len(src)), u16: make([]uint16, n*quantBlocks(k))}
		kernel.QuantizeQ8(t.store.q8, t.store.u16, src, n, k)
	case Int4:
		n, k := t.rowsCols()
		t.store = storage{q4: make([]byte, n*kernel.Q4RowLen(k)), u16: make([]uint16, n*quantBlocks(k))}
		kernel.QuantizeQ4(t.store.q4, t.store.u16, src, n, k)
	}
	if packed {
		t.Pack()
	}
}

// Convert changes the storage format, rounding to the nearest number that the new
// one has. The order, packed or not, stays; what is compact stays it if the new format can
// be. Int8 and Int4 need at least one dimension.
func (t *Tensor) Convert(d DType) {
	if d == t.dtype {
		return
	}
	if d > Int4 {
		panic(fmt.Sprintf("tensor: Convert to %v", d))
	}
	values := t.Float32s()
	packed, compact := t.packed, t.Compacted()
	t.packed, t.dtype, t.store = false, d, storage{}
	if d == Float32 {
		t.store.f32 = values
	} else {
		t.SetFloat32s(values)
	}
	switch {
	case compact:
		t.Compact()
	case packed:
		t.Pack()
	}
}

// rowsCols returns t as rows and columns, all but the last dimension taken together.
func (t *Tensor) rowsCols() (rows, cols int) {
	if len(t.shape) == 0 {
		return 1, 1
	}
	last := len(t.shape) - 1
	return elements(t.shape[:last]), t.shape[last]
}

// Pack puts the elements of a matrix into the order in which the kernels multiply
// by it: panels of 32 rows, column by column. It costs one pass over the memory and
// is worth it from the first product on. A tensor of more than two dimensions is
// taken as a matrix whose columns are the last. Packing a packed tensor does nothing.
func (t *Tensor) Pack() {
	if t.packed {
		return
	}
	n, k := t.rowsCols()
	s := t.memory()
	switch t.dtype {
	case Float32:
		p := pages.Make[float32](kernel.PanelLen(n, k))
		kernel.PackPanels(p, s.f32, n, k, k, 1)
		*s = storage{f32: p}
	case BFloat16:
		p := pages.Make[uint16](kernel.BF16PanelLen(n, k))
		kernel.PackBF16Panels(p, s.u16, n, k)
		*s = storage{u16: p}
	case Int8:
		p := pages.Make[byte](kernel.Q8PanelLen(n, k))
		kernel.PackQ8Panels(p, s.q8, s.u16, n, k)
		*s = storage{panels: p}
	case Int4:
		p := pages.Make[byte](kernel.Q4PanelLen(n, k))
		kernel.PackQ4Panels(p, s.q4, s.u16, n, k)
		*s = storage{panels: p}
	}
	t.packed = true
}

// Unpack puts the elements back into row-major order.
func (t *Tensor) Unpack() {
	if !t.packed {
		return
	}
	n, k := t.rowsCols()
	s := &t.store
	if s.compact != nil {
		t.uncompact()
		return
	}
	switch t.dtype {
	case Float32:
		d := pages.Make[float32](n * k)
		kernel.UnpackPanels(d, s.f32, n, k, k, 1)
		*s = storage{f32: d}
	case BFloat16:
		d := make([]uint16, n*k)
		kernel.UnpackBF16Panels(d, s.u16, n, k)
		*s = storage{u16: d}
	case Int8:
		q, scales := make([]int8, n*k), make([]uint16, n*quantBlocks(k))
		kernel.UnpackQ8Panels(q, scales, s.panels, n, k)
		*s = storage{q8: q, u16: scales}
	case Int4:
		codes, scales := make([]byte, n*kernel.Q4RowLen(k)), make([]uint16, n*quantBlocks(k))
		kernel.UnpackQ4Panels(codes, scales, s.panels, n, k)
		*s = storage{q4: codes, u16: scales}
	}
	t.packed = false
}
