package checkpoint

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf8"
)

// Write writes the tensors of src to w as a safetensors file, each in its own type.
// metadata, which may be nil, goes under __metadata__; programs of the Python world
// expect {"format": "pt"} there.
//
// What is written depends on the tensors and the metadata only, and not on the
// order in which src yields them: types with larger elements come first, and names
// are sorted within a type, as the reference implementation does it. Peak memory
// does not grow with the size of the tensors.
func Write(w io.Writer, src Source, metadata map[string]string) error {
	entries, err := layout(src)
	if err != nil {
		return fmt.Errorf("checkpoint: writing %s: %w", describe(src), err)
	}
	header, err := encodeHeader(entries, metadata)
	if err != nil {
		return fmt.Errorf("checkpoint: writing %s: %w", describe(src), err)
	}
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	if _, err := w.Write(append(b, header...)); err != nil {
		return err
	}
	for _, e := range entries {
		if err := e.entry.writeTo(w); err != nil {
			return fmt.Errorf("checkpoint: writing tensor %s: %w", short(e.name), err)
		}
	}
	return nil
}

// WriteFile is [Write] to a file. The file appears under its name when it is
// complete, in place of one that was there before; if writing fails, nothing
// changes.
func WriteFile(path string, src Source, metadata map[string]string) (err error) {
	f, err := createBeside(path)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	b := bufio.NewWriterSize(f, 1<<20)
	if err := Write(b, src, metadata); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Save writes the parameters of m to a safetensors file: [WriteFile] of
// [FromModel]. bfloat16 parameters are written as BF16, all others as F32.
func Save(path string, m Model, rename func(string) string) error {
	src, err := FromModel(m, rename)
	if err != nil {
		return err
	}
	return WriteFile(path, src, map[string]string{"format": "pt"})
}

// createBeside creates a new file in the folder of path, with the permissions that
// a new file at path would have.
func createBeside(path string) (*os.File, error) {
	dir, base := filepath.Split(path)
	for {
		name := filepath.Join(dir, fmt.Sprintf(".%s.%08x", base, rand.Uint32()))
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, os.ErrExist) {
			return f, err
		}
	}
}

// A placed entry is one with its place in the data of the file.
type placed struct {
	headerEntry
	entry *Entry
}

// layout gives every tensor of src its place.
func layout(src Source) ([]placed, error) {
	var entries []placed
	seen := map[string]bool{metadataName: true}
	for name := range src.Names() {
		e, ok := src.Lookup(name)
		switch {
		case !ok:
			return nil, fmt.Errorf("tensor %s is not there", short(name))
		case seen[name]:
			return nil, fmt.Errorf("the name %s is taken", short(name))
		case !utf8.ValidString(name):
			return nil, fmt.Errorf("the name %s is not UTF-8", short(name))
		case !slices.Contains(order, e.dtype):
			return nil, fmt.Errorf("tensor %s: safetensors files have no type %s", short(name), e.dtype)
		}
		seen[name] = true
		entries = append(entries, placed{headerEntry{name: name, dtype: e.dtype, shape: e.shape}, e})
	}
	slices.SortFunc(entries, func(a, b placed) int {
		return cmp.Or(
			cmp.Compare(slices.Index(order, b.dtype), slices.Index(order, a.dtype)),
			cmp.Compare(a.name, b.name))
	})
	end := 0
	for i := range entries {
		e := &entries[i]
		e.begin, e.end = end, end+e.entry.size()
		end = e.end
	}
	return entries, nil
}

// encodeHeader returns the header in the form in which the reference
// implementation writes it, filled up with spaces so that the data is aligned.
func encodeHeader(entries []placed, metadata map[string]string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	put := func(v any) error {
		err := enc.Encode(v)
		b.Truncate(b.Len() - 1) // the line feed that Encode adds
		return err
	}
	b.WriteByte('{')
	if metadata != nil {
		b.WriteString(`"` + metadataName + `":`)
		if err := put(metadata); err != nil {
			return nil, err
		}
	}
	for _, e := range entries {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		if err := put(e.name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		err := put(struct {
			DType   DType  `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}{e.dtype, append([]int{}, e.shape...), [2]int{e.begin, e.end}})
		if err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	if b.Len() > maxHeader {
		return nil, fmt.Errorf("a header of %d bytes is longer than safetensors files may have, %d", b.Len(), maxHeader)
	}
	return b.Bytes(), nil
}
