package checkpoint

import (
	"errors"
	"maps"
)

// A File is an open checkpoint: one file, or several that an index ties together.
// It is a [Source]. Reading from it is safe for many goroutines; closing it while
// others read is not.
type File struct {
	table
	maps     []*mapping
	metadata map[string]string
	root     any
	values   map[string]any // of a GGUF file
	llama2c  *config        // of a file of llama2.c
}

// Metadata returns the strings that a safetensors file carries under
// __metadata__, or nil if there are none. The caller may change the map.
func (f *File) Metadata() map[string]string { return maps.Clone(f.metadata) }

// Root returns the object that a PyTorch file holds, with all that is not a
// tensor: see [OpenTorch]. It is nil for other files.
func (f *File) Root() any { return f.root }

// Values returns the values that a GGUF file holds under keys such as
// "general.architecture": an int64, a float64, a bool, a string, a slice of these, or, of
// arrays of arrays, a []any. It is nil for other files. The caller must not change it.
func (f *File) Values() map[string]any { return f.values }

// Close gives the memory of the file back. Entries then return errors, and slices
// that share memory with the file must not be used any more. Models loaded by
// [Load] do not share any.
func (f *File) Close() error {
	var err error
	for _, m := range f.maps {
		err = errors.Join(err, m.close())
	}
	return err
}
