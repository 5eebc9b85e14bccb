package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

const ggufMagic = "GGUF"

// isGGUF reports whether data begins like a GGUF file.
func isGGUF(data []byte) bool { return bytes.HasPrefix(data, []byte(ggufMagic)) }

// Bounds on what parseGGUF reads.
const (
	maxGGUFRank      = 8 // dimensions; ggml has 4
	maxGGUFDepth     = 4 // of arrays in arrays
	maxGGUFAlignment = 1 << 20
	ggufAlignment    = 32 // unless the file says otherwise
)

// ggufTypes are the element types that are read, by their numbers in the file.
var ggufTypes = map[uint32]DType{
	0: F32, 1: F16, 2: Q4_0, 3: Q4_1, 8: Q8_0, 14: Q6_K, 24: I8, 25: I16, 26: I32, 27: I64, 28: F64, 30: BF16,
}

// ggufOtherTypes are the names of element types that are not read, for messages.
var ggufOtherTypes = map[uint32]string{
	6: "Q5_0", 7: "Q5_1", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 15: "Q8_K",
	16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 29: "IQ1_M",
}

// A ggufEntry is a tensor in the header of a GGUF file.
type ggufEntry struct {
	name   string
	dtype  DType
	shape  []int
	offset uint64 // in the data
	size   int
}

// parseGGUF reads the header of a GGUF file (github.com/ggml-org/ggml, docs/gguf.md):
//
//	"GGUF", version, number of tensors, number of values
//	values: key, type, value
//	tensors: name, number of dimensions, dimensions, type, offset
//	padding, data
//
// The dimensions of a tensor are in the order of ggml, the fastest first; here they are
// turned round.
func parseGGUF(m *mapping, path string) (*File, error) {
	r := &ggufReader{data: m.data, at: len(ggufMagic)}
	fail := func(err error) (*File, error) {
		e, ok := err.(*FormatError)
		if !ok {
			e = &FormatError{Field: "GGUF header", Reason: err.Error()}
		}
		e.File = path
		return nil, e
	}
	values, entries, err := r.header()
	if err != nil {
		return fail(err)
	}
	data, err := r.tail(values)
	if err != nil {
		return fail(err)
	}
	if err := checkGGUFLayout(entries, len(data)); err != nil {
		return fail(err)
	}
	f := &File{table: table{entries: make(map[string]*Entry, len(entries)), title: path}, maps: []*mapping{m}, values: values}
	store := &storage{file: m, size: len(data), raw: func() ([]byte, error) { return data, nil }}
	for _, e := range entries {
		n, _ := elements(e.shape)
		if !f.add(e.name, &Entry{dtype: e.dtype, shape: e.shape, n: n, store: store, offset: int(e.offset)}) {
			return fail(&FormatError{Tensor: e.name, Reason: "is there twice"})
		}
	}
	return f, nil
}

// checkGGUFLayout checks that tensors lie within the data and not over each other.
func checkGGUFLayout(entries []ggufEntry, size int) error {
	sorted := slices.SortedFunc(slices.Values(entries), func(a, b ggufEntry) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.size, b.size))
	})
	end := uint64(0)
	for _, e := range sorted {
		switch {
		case e.offset > uint64(size) || uint64(e.size) > uint64(size)-e.offset:
			return &FormatError{Tensor: e.name, Field: "offset", Reason: fmt.Sprintf("is %d, and the tensor has %d bytes, but there are only %d bytes of data", e.offset, e.size, size)}
		case e.offset < end:
			return &FormatError{Tensor: e.name, Field: "offset", Reason: fmt.Sprintf("is %d, within the tensor before it, which ends at %d", e.offset, end)}
		}
		end = e.offset + uint64(e.size)
	}
	return nil
}

// A ggufReader reads a header from the beginning to the end.
type ggufReader struct {
	data []byte
	at   int
}

// next returns the next n bytes.
func (r *ggufReader) next(n uint64, what string) ([]byte, error) {
	if left := uint64(len(r.data) - r.at); n > left {
		return nil, fmt.Errorf("%s of %d bytes at byte %d, but only %d bytes are left", what, n, r.at, left)
	}
	b := r.data[r.at : r.at+int(n)]
	r.at += int(n)
	return b, nil
}

func (r *ggufReader) uint32(what string) (uint32, error) {
	b, err := r.next(4, what)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (r *ggufReader) uint64(what string) (uint64, error) {
	b, err := r.next(8, what)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

func (r *ggufReader) string(what string) (string, error) {
	n, err := r.uint64("length of " + what)
	if err != nil {
		return "", err
	}
	b, err := r.next(n, what)
	return string(b), err
}

// header reads all before the data.
func (r *ggufReader) header() (map[string]any, []ggufEntry, error) {
	version, err := r.uint32("version")
	if err != nil {
		return nil, nil, err
	}
	if version != 2 && version != 3 {
		return nil, nil, fmt.Errorf("version is %d, want 2 or 3, little-endian", version)
	}
	tensors, err := r.uint64("number of tensors")
	if err != nil {
		return nil, nil, err
	}
	count, err := r.uint64("number of values")
	if err != nil {
		return nil, nil, err
	}
	values := map[string]any{}
	for range count {
		if err := r.pair(values); err != nil {
			return nil, nil, err
		}
	}
	var entries []ggufEntry
	for range tensors {
		e, err := r.entry()
		if err != nil {
			return nil, nil, err
		}
		entries = append(entries, e)
	}
	return values, entries, nil
}

// tail returns the data after the header.
func (r *ggufReader) tail(values map[string]any) ([]byte, error) {
	alignment := int64(ggufAlignment)
	if v, ok := values["general.alignment"]; ok {
		alignment, ok = v.(int64)
		if !ok || alignment < 1 || alignment > maxGGUFAlignment {
			return nil, &FormatError{Field: "general.alignment", Reason: fmt.Sprintf("is %v, want a number from 1 to %d", v, maxGGUFAlignment)}
		}
	}
	begin := (r.at + int(alignment) - 1) / int(alignment) * int(alignment)
	return r.data[min(begin, len(r.data)):], nil
}

// pair reads a key and its value.
func (r *ggufReader) pair(values map[string]any) error {
	key, err := r.string("key")
	if err != nil {
		return err
	}
	kind, err := r.uint32("type")
	if err == nil {
		if _, ok := values[key]; ok {
			err = fmt.Errorf("is there twice")
		} else {
			values[key], err = r.value(kind, 0)
		}
	}
	if err != nil {
		return &FormatError{Field: short(key), Reason: err.Error()}
	}
	return nil
}

// The types of values.
const (
	ggufString = 8
	ggufArray  = 9
)

// ggufSizes are the sizes of the other types.
var ggufSizes = map[uint32]uint64{0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

// value reads a value of the given type.
func (r *ggufReader) value(kind uint32, depth int) (any, error) {
	switch kind {
	case ggufString:
		return r.string("string")
	case ggufArray:
		return r.array(depth + 1)
	}
	size, ok := ggufSizes[kind]
	if !ok {
		return nil, fmt.Errorf("is of type %d, want 0 to 12", kind)
	}
	b, err := r.next(size, "value")
	if err != nil {
		return nil, err
	}
	return ggufScalar(kind, b)
}

// ggufScalar returns a number as an int64 or a float64, or a bool.
func ggufScalar(kind uint32, b []byte) (any, error) {
	le := binary.LittleEndian
	switch kind {
	case 0:
		return int64(b[0]), nil
	case 1:
		return int64(int8(b[0])), nil
	case 2:
		return int64(le.Uint16(b)), nil
	case 3:
		return int64(int16(le.Uint16(b))), nil
	case 4:
		return int64(le.Uint32(b)), nil
	case 5:
		return int64(int32(le.Uint32(b))), nil
	case 6:
		return float64(math.Float32frombits(le.Uint32(b))), nil
	case 7:
		if b[0] > 1 {
			return nil, fmt.Errorf("is %d, want a truth value, 0 or 1", b[0])
		}
		return b[0] == 1, nil
	case 12:
		return math.Float64frombits(le.Uint64(b)), nil
	}
	v := le.Uint64(b)
	if kind == 10 && v > math.MaxInt64 {
		return nil, fmt.Errorf("is %d, want at most %d", v, int64(math.MaxInt64))
	}
	return int64(v), nil
}

// array reads an array: a []string, []int64, []float64, []bool, or, of arrays, an []any.
func (r *ggufReader) array(depth int) (any, error) {
	kind, err := r.uint32("type of elements")
	if err != nil {
		return nil, err
	}
	n, err := r.uint64("number of elements")
	if err != nil {
		return nil, err
	}
	if depth > maxGGUFDepth {
		return nil, fmt.Errorf("arrays nest deeper than %d levels", maxGGUFDepth)
	}
	switch kind {
	case ggufString:
		return ggufList[string](r, kind, n, depth)
	case ggufArray:
		return ggufList[any](r, kind, n, depth)
	case 6, 12:
		return ggufList[float64](r, kind, n, depth)
	case 7:
		return ggufList[bool](r, kind, n, depth)
	}
	return ggufList[int64](r, kind, n, depth)
}

// ggufList reads n elements. It takes memory for those that are there.
func ggufList[T any](r *ggufReader, kind uint32, n uint64, depth int) ([]T, error) {
	list := []T{}
	for i := range n {
		v, err := r.value(kind, depth)
		if err != nil {
			return nil, fmt.Errorf("element %d of %d: %w", i, n, err)
		}
		list = append(list, v.(T))
	}
	return list, nil
}

// entry reads the description of a tensor.
func (r *ggufReader) entry() (ggufEntry, error) {
	name, err := r.string("name of a tensor")
	if err != nil {
		return ggufEntry{}, err
	}
	e := ggufEntry{name: name}
	if err := r.describe(&e); err != nil {
		return ggufEntry{}, &FormatError{Tensor: name, Reason: err.Error()}
	}
	return e, nil
}

func (r *ggufReader) describe(e *ggufEntry) error {
	rank, err := r.uint32("number of dimensions")
	if err != nil {
		return err
	}
	if rank > maxGGUFRank {
		return fmt.Errorf("has %d dimensions, want at most %d", rank, maxGGUFRank)
	}
	for range rank {
		d, err := r.uint64("dimension")
		if err != nil {
			return err
		}
		if d > maxInt {
			return fmt.Errorf("has a dimension of %d, want at most %d", d, maxInt)
		}
		e.shape = append(e.shape, int(d))
	}
	slices.Reverse(e.shape)
	kind, err := r.uint32("type")
	if err != nil {
		return err
	}
	e.dtype = ggufTypes[kind]
	if e.dtype == "" {
		name := ggufOtherTypes[kind]
		if name == "" {
			name = fmt.Sprintf("number %d", kind)
		}
		return fmt.Errorf("has elements of type %s, want F32, F16, BF16, Q8_0, Q6_K, Q4_0 or Q4_1: others are not supported", name)
	}
	if e.offset, err = r.uint64("offset"); err != nil {
		return err
	}
	return e.measure()
}

// measure finds the number of bytes. Blocks do not reach over the end of a row.
func (e *ggufEntry) measure() error {
	n, ok := elements(e.shape)
	if length, _ := e.dtype.block(); ok && length > 0 && len(e.shape) > 0 && e.shape[len(e.shape)-1]%length != 0 {
		return fmt.Errorf("has rows of %d elements of type %s, want a multiple of %d", e.shape[len(e.shape)-1], e.dtype, length)
	}
	if ok {
		e.size, ok = byteSize(e.dtype, n)
	}
	if !ok {
		return fmt.Errorf("has the shape %v of %s, which is too large", e.shape, e.dtype)
	}
	return nil
}
