package checkpoint

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// littleEndian reports whether this machine has the byte order of the files.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// view returns raw as a slice of numbers in the same memory, if the byte order and
// the address allow it.
func view[T uint16 | float32](raw []byte) ([]T, bool) {
	var zero T
	size := unsafe.Sizeof(zero)
	if len(raw) == 0 {
		return []T{}, true
	}
	p := unsafe.Pointer(unsafe.SliceData(raw))
	if !littleEndian || uintptr(p)%size != 0 {
		return nil, false
	}
	return unsafe.Slice((*T)(p), len(raw)/int(size)), true
}

// bytesOf returns the memory of numbers in the byte order of the files, if that is
// the byte order of this machine.
func bytesOf[T uint16 | float32](v []T) ([]byte, bool) {
	if len(v) == 0 {
		return []byte{}, true
	}
	if !littleEndian {
		return nil, false
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*int(unsafe.Sizeof(v[0]))), true
}

// copyFloat32s decodes float32s from raw, at whatever address it is.
func copyFloat32s(dst []float32, raw []byte) {
	if b, ok := bytesOf(dst); ok {
		copy(b, raw)
		return
	}
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
}

// appendFloat32s appends v in the byte order of the files.
func appendFloat32s(b []byte, v []float32) []byte {
	if raw, ok := bytesOf(v); ok {
		return append(b, raw...)
	}
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// appendUint16s appends v in the byte order of the files.
func appendUint16s(b []byte, v []uint16) []byte {
	if raw, ok := bytesOf(v); ok {
		return append(b, raw...)
	}
	for _, x := range v {
		b = binary.LittleEndian.AppendUint16(b, x)
	}
	return b
}
