package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"runtime/debug"
	"slices"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// An Entry is a tensor of a [Source]: its type, its shape, and where its elements
// are. They are read when one of the methods is called, and not before. Reading is
// safe for many goroutines.
type Entry struct {
	dtype  DType
	shape  []int
	n      int
	store  *storage
	offset int // of the first element in store, in bytes

	// strides is the distance between neighbours along each dimension, in
	// elements, or nil if the elements follow each other in row-major order.
	strides []int

	// param is a tensor in memory, which takes the place of store.
	param *tensor.Tensor

	// apply, if not nil, is what is done to the elements once they are float32s.
	apply func([]float32)
}

// A storage is a run of bytes that entries refer to. Several may share one.
type storage struct {
	file *mapping
	size int
	raw  func() ([]byte, error)
}

// bytes returns the content of the storage.
func (s *storage) bytes() ([]byte, error) {
	if s.file.closed {
		return nil, errors.New("the file is closed")
	}
	return s.raw()
}

// DType returns the type of the elements in the file.
func (e *Entry) DType() DType { return e.dtype }

// Shape returns the dimensions. The caller must not change them.
func (e *Entry) Shape() []int { return e.shape }

// Len returns the number of elements.
func (e *Entry) Len() int { return e.n }

// String describes the entry without its elements: "F32[64 128]".
func (e *Entry) String() string { return fmt.Sprintf("%s%v", e.dtype, e.shape) }

// ReadFloat32s converts elements from, from+1, … of the row-major order to
// float32 and fills dst with them. Numbers that float32 does not have are rounded
// to nearest, which is infinity for float64s beyond its range; booleans are 0 and
// 1. Complex numbers and types of less than a byte give an error. ReadFloat32s
// panics with a *tensor.ShapeError if dst reaches past the end.
func (e *Entry) ReadFloat32s(dst []float32, from int) error {
	if from < 0 || from > e.n || len(dst) > e.n-from {
		panic(&tensor.ShapeError{Op: "checkpoint.Entry.ReadFloat32s", Got: []int{from, len(dst)}, Want: e.shape})
	}
	if e.param != nil {
		readParam(dst, e.param, from)
		return nil
	}
	raw, err := e.open()
	if err != nil {
		return err
	}
	err = guard(func() { e.decode(dst, raw, from) })
	if err == nil && e.apply != nil {
		e.apply(dst)
	}
	return err
}

// decode is ReadFloat32s of elements in raw, as they are there.
func (e *Entry) decode(dst []float32, raw []byte, from int) {
	if e.dtype.blocks() {
		readBlocks(dst, raw, e.dtype, from)
		return
	}
	if e.strides == nil {
		size := e.dtype.Bits() / 8
		convert(dst, raw[from*size:], e.dtype)
		return
	}
	e.gather(raw, from, len(dst), func(raw []byte, n int) error {
		convert(dst[:n], raw, e.dtype)
		dst = dst[n:]
		return nil
	})
}

// Float32s returns all elements, converted as by [Entry.ReadFloat32s]. If the file
// holds them as they are needed, the result is the memory of the file: it must not
// be written to, and not be used after the file is closed. Otherwise it is a copy.
func (e *Entry) Float32s() ([]float32, error) {
	if e.param != nil {
		return e.param.Float32s(), nil
	}
	if e.dtype == F32 && e.strides == nil && e.apply == nil {
		raw, err := e.open()
		if err != nil {
			return nil, err
		}
		if v, ok := view[float32](raw); ok {
			return v, nil
		}
	}
	dst := make([]float32, e.n)
	return dst, e.ReadFloat32s(dst, 0)
}

// BFloat16s returns all elements of an entry of type BF16 without converting them:
// the upper halves of float32s. What is said of the memory of [Entry.Float32s]
// holds here too. Other types give an error.
func (e *Entry) BFloat16s() ([]uint16, error) {
	if e.dtype != BF16 {
		return nil, fmt.Errorf("elements of type %s, want %s", e.dtype, BF16)
	}
	raw, err := e.Bytes()
	if err != nil {
		return nil, err
	}
	if v, ok := view[uint16](raw); ok {
		return v, nil
	}
	v := make([]uint16, e.n)
	err = guard(func() {
		for i := range v {
			v[i] = uint16(raw[2*i]) | uint16(raw[2*i+1])<<8
		}
	})
	return v, err
}

// Bytes returns all elements of any type in row-major order, little-endian, as
// they are in a safetensors file. What is said of the memory of [Entry.Float32s]
// holds here too.
func (e *Entry) Bytes() ([]byte, error) {
	if e.param == nil && e.strides == nil {
		return e.bytes()
	}
	var w sliceWriter
	w.b = make([]byte, 0, e.size())
	err := e.writeTo(&w)
	return w.b, err
}

type sliceWriter struct{ b []byte }

func (w *sliceWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

// size returns the number of bytes of the elements in row-major order.
func (e *Entry) size() int {
	n, _ := byteSize(e.dtype, e.n)
	return n
}

// bytes returns the storage from the first element on; of contiguous elements,
// exactly them.
func (e *Entry) bytes() ([]byte, error) {
	raw, err := e.store.bytes()
	if err != nil {
		return nil, err
	}
	if e.strides == nil {
		return raw[e.offset : e.offset+e.size() : e.offset+e.size()], nil
	}
	return raw[e.offset:], nil
}

// open is bytes for elements that are to be converted to float32.
func (e *Entry) open() ([]byte, error) {
	if !e.dtype.real() {
		return nil, fmt.Errorf("elements of type %s do not convert to float32", e.dtype)
	}
	return e.bytes()
}

// check returns the error that ReadFloat32s would.
func (e *Entry) check() error {
	if e.param != nil {
		return nil
	}
	_, err := e.open()
	return err
}

// writeTo writes the elements in row-major order, little-endian.
func (e *Entry) writeTo(w io.Writer) error {
	if e.param != nil {
		return writeParam(w, e.param)
	}
	raw, err := e.bytes()
	if err != nil {
		return err
	}
	var werr error
	err = guard(func() {
		if e.strides == nil {
			_, werr = w.Write(raw)
			return
		}
		werr = e.gather(raw, 0, e.n, func(raw []byte, _ int) error {
			_, err := w.Write(raw)
			return err
		})
	})
	return errors.Join(err, werr)
}

// gatherBytes is the size of the pieces in which scattered elements are collected.
const gatherBytes = 16 << 10

// gather collects n scattered elements, beginning with element from, and passes
// them to yield in pieces. raw begins at the first element of the entry.
func (e *Entry) gather(raw []byte, from, n int, yield func(raw []byte, n int) error) error {
	size := e.dtype.Bits() / 8
	buf := make([]byte, 0, gatherBytes)
	index := make([]int, len(e.shape))
	last := len(index) - 1
	at, rest := 0, from
	for d := last; d >= 0 && e.n > 0; d-- {
		index[d] = rest % e.shape[d]
		rest /= e.shape[d]
		at += index[d] * e.strides[d]
	}
	for n > 0 {
		run := 1 // elements that follow each other
		if last >= 0 && e.strides[last] == 1 {
			run = min(e.shape[last]-index[last], n, (cap(buf)-len(buf))/size)
		}
		buf = append(buf, raw[at*size:(at+run)*size]...)
		n -= run
		if len(buf)+size > cap(buf) || n == 0 {
			if err := yield(buf, len(buf)/size); err != nil {
				return err
			}
			buf = buf[:0]
		}
		for d := last; d >= 0; d-- {
			at += run * e.strides[d]
			if index[d] += run; index[d] < e.shape[d] {
				break
			}
			at -= index[d] * e.strides[d]
			index[d], run = 0, 1
		}
	}
	return nil
}

// entryOf returns t as an entry. Formats that the files do not have become F32.
func entryOf(t *tensor.Tensor) *Entry {
	e := &Entry{dtype: F32, shape: t.Shape(), n: t.Len(), param: t}
	if t.DType() == tensor.BFloat16 {
		e.dtype = BF16
	}
	return e
}

// plain reports whether t.Data may be called.
func plain(t *tensor.Tensor) bool { return t.DType() == tensor.Float32 && !t.Packed() }

// readParam fills dst with the elements of t from the given one on.
func readParam(dst []float32, t *tensor.Tensor, from int) {
	if plain(t) {
		copy(dst, t.Data()[from:])
		return
	}
	if len(dst) == t.Len() {
		t.CopyFloat32s(dst)
		return
	}
	if len(t.Shape()) == 0 {
		return // dst is empty: the one element was copied above
	}
	row := make([]float32, t.Dim(-1))
	for len(dst) > 0 {
		t.Row(row, from/len(row))
		n := copy(dst, row[from%len(row):])
		dst, from = dst[n:], from+n
	}
}

// writeParam writes the elements of t as entryOf describes them, in pieces.
func writeParam(w io.Writer, t *tensor.Tensor) error {
	values := make([]float32, min(t.Len(), gatherBytes))
	halves := make([]uint16, len(values))
	buf := make([]byte, 0, 4*len(values))
	for from := 0; from < t.Len(); from += len(values) {
		values = values[:min(len(values), t.Len()-from)]
		readParam(values, t, from)
		if t.DType() == tensor.BFloat16 {
			kernel.Float32ToBF16(halves[:len(values)], values)
			buf = appendUint16s(buf[:0], halves[:len(values)])
		} else {
			buf = appendFloat32s(buf[:0], values)
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// guard calls f, which reads mapped memory, and turns the fault that follows if
// the file has become shorter meanwhile into an error.
func guard(f func()) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(interface{ Addr() uintptr }); !ok {
				panic(r)
			}
			err = fmt.Errorf("the file has changed while it was in use: %v", r)
		}
	}()
	f()
	return nil
}

// elements returns the number of elements of a shape, or false if it overflows an
// int64 or a dimension is negative.
func elements(shape []int) (n int, ok bool) {
	if slices.Contains(shape, 0) {
		return 0, !slices.ContainsFunc(shape, func(d int) bool { return d < 0 })
	}
	n = 1
	for _, d := range shape {
		hi, lo := bits.Mul64(uint64(n), uint64(d))
		if d < 0 || hi != 0 || lo > maxInt {
			return 0, false
		}
		n = int(lo)
	}
	return n, true
}

const maxInt = uint64(^uint(0) >> 1)

// byteSize returns the number of bytes of n elements, or false if that overflows
// or is not a whole number.
func byteSize(d DType, n int) (int, bool) {
	if length, size := d.block(); length > 0 {
		return n / length * size, n%length == 0 && n/length <= int(maxInt)/size
	}
	hi, lo := bits.Mul64(uint64(n), uint64(d.Bits()))
	if hi != 0 || lo%8 != 0 || lo/8 > maxInt {
		return 0, false
	}
	return int(lo / 8), true
}
