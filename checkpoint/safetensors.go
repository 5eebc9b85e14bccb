package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// maxHeader is the largest header of a safetensors file, the bound of the
// reference implementation.
const maxHeader = 100_000_000

// maxRank is the largest number of dimensions of a tensor, the bound of PyTorch.
const maxRank = 64

// metadataName is the name in the header that is not a tensor.
const metadataName = "__metadata__"

// isSafetensors reports whether data begins like a safetensors file.
func isSafetensors(data []byte) bool { return len(data) > 8 && data[8] == '{' }

// A headerEntry is a tensor in the header of a safetensors file.
type headerEntry struct {
	name       string
	dtype      DType
	shape      []int
	begin, end int
}

// parseSafetensors reads the header of a safetensors file:
//
//	length of the header, 8 bytes, little-endian
//	header, a JSON object: {name: {"dtype": …, "shape": […], "data_offsets": [begin, end]}, …}
//	data
//
// Offsets count from the beginning of the data. The tensors must fill it without
// holes and overlaps, in any order. They need not be aligned: the format does not
// ask for it.
func parseSafetensors(m *mapping, path string) (*File, error) {
	fail := func(field, format string, args ...any) (*File, error) {
		return nil, &FormatError{File: path, Field: field, Reason: fmt.Sprintf(format, args...)}
	}
	if len(m.data) < 8 {
		return fail("", "%d bytes are too short for a safetensors file, want at least 8", len(m.data))
	}
	length := binary.LittleEndian.Uint64(m.data)
	switch {
	case length > maxHeader:
		return fail("header length", "is %d, want at most %d", length, maxHeader)
	case length > uint64(len(m.data)-8):
		return fail("header length", "is %d, but only %d bytes follow", length, len(m.data)-8)
	}
	header, data := m.data[8:8+length], m.data[8+length:]
	if !bytes.HasPrefix(header, []byte("{")) {
		return fail("header", "does not begin with an object, want {")
	}
	entries, metadata, err := parseHeader(header)
	if err != nil {
		if f, ok := errors.AsType[*FormatError](err); ok {
			f.File = path
			return nil, f
		}
		return fail("header", "%v", err)
	}
	f := &File{table: table{entries: make(map[string]*Entry, len(entries)), title: path}, maps: []*mapping{m}, metadata: metadata}
	if err := checkLayout(entries, len(data)); err != nil {
		err.File = path
		return nil, err
	}
	store := &storage{file: m, size: len(data), raw: func() ([]byte, error) { return data, nil }}
	for _, h := range entries {
		n, _ := elements(h.shape)
		f.add(h.name, &Entry{dtype: h.dtype, shape: h.shape, n: n, store: store, offset: h.begin})
	}
	return f, nil
}

// parseHeader reads the entries and the metadata of a header.
func parseHeader(header []byte) (entries []headerEntry, metadata map[string]string, err error) {
	r, err := newJSONReader(header)
	if err != nil {
		return nil, nil, err
	}
	err = r.object(func(name string) error {
		if name == metadataName {
			metadata = map[string]string{}
			err := r.object(func(key string) error {
				var err error
				metadata[key], err = r.string()
				return err
			})
			if err != nil {
				return &FormatError{Field: metadataName, Reason: err.Error()}
			}
			return nil
		}
		h, err := parseEntry(r, name)
		entries = append(entries, h)
		return err
	})
	if err == nil {
		err = r.end()
	}
	return entries, metadata, err
}

// parseEntry reads the description of a tensor and checks it on its own.
func parseEntry(r *jsonReader, name string) (headerEntry, error) {
	h := headerEntry{name: name}
	var offsets []int
	found := 0
	field := ""
	err := r.object(func(key string) error {
		field = key
		found++
		var err error
		switch key {
		case "dtype":
			var s string
			s, err = r.string()
			h.dtype = DType(s)
			if err == nil && !slices.Contains(order, h.dtype) {
				err = fmt.Errorf("is %s, want one of %v", short(s), order)
			}
		case "shape":
			h.shape, err = counts(r, maxRank)
		case "data_offsets":
			offsets, err = counts(r, 2)
			if err == nil && (len(offsets) != 2 || offsets[0] > offsets[1]) {
				err = fmt.Errorf("are %v, want [begin, end] with begin <= end", offsets)
			}
		default:
			field = short(key)
			err = errors.New("is not a field of the format; want dtype, shape and data_offsets")
		}
		return err
	})
	if err != nil {
		return h, &FormatError{Tensor: name, Field: field, Reason: err.Error()}
	}
	if found != 3 {
		return h, &FormatError{Tensor: name, Reason: "does not have all of the fields dtype, shape and data_offsets"}
	}
	h.begin, h.end = offsets[0], offsets[1]
	n, ok := elements(h.shape)
	if !ok {
		return h, &FormatError{Tensor: name, Field: "shape", Reason: fmt.Sprintf("%v has more elements than there are numbers", h.shape)}
	}
	size, ok := byteSize(h.dtype, n)
	if !ok {
		return h, &FormatError{Tensor: name, Field: "shape", Reason: fmt.Sprintf("%v of %s is not a whole number of bytes that fits an int", h.shape, h.dtype)}
	}
	if size != h.end-h.begin {
		return h, &FormatError{Tensor: name, Field: "data_offsets", Reason: fmt.Sprintf("%v are %d bytes, want %d for %s%v", offsets, h.end-h.begin, size, h.dtype, h.shape)}
	}
	return h, nil
}

// counts reads an array of at most so many whole numbers.
func counts(r *jsonReader, most int) ([]int, error) {
	v := []int{}
	err := r.array(func() error {
		n, err := r.count()
		if err == nil && len(v) == most {
			err = fmt.Errorf("has more than %d numbers", most)
		}
		v = append(v, n)
		return err
	})
	return v, err
}

// checkLayout sorts the entries by their place in the data and checks that they
// fill all of its size bytes, once.
func checkLayout(entries []headerEntry, size int) *FormatError {
	slices.SortStableFunc(entries, func(a, b headerEntry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	end, before := 0, "the beginning of the data"
	for _, h := range entries {
		if h.end > size {
			return &FormatError{Tensor: h.name, Field: "data_offsets", Reason: fmt.Sprintf("[%d %d] reach beyond the %d bytes of data", h.begin, h.end, size)}
		}
		if h.begin != end {
			kind := "overlap"
			if h.begin > end {
				kind = "hole"
			}
			return &FormatError{Tensor: h.name, Field: "data_offsets", Reason: fmt.Sprintf("begin at %d, want %d, %s: there is a %s", h.begin, end, before, kind)}
		}
		end, before = h.end, "the end of tensor "+short(h.name)
	}
	if end != size {
		return &FormatError{Field: "data", Reason: fmt.Sprintf("has %d bytes, want %d, %s", size, end, before)}
	}
	return nil
}
