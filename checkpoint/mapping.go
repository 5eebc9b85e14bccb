package checkpoint

import (
	"fmt"
	"os"
)

// A mapping is the content of a file, in memory or mapped into it.
type mapping struct {
	data   []byte
	unmap  func() error
	closed bool
}

// openMapping maps a file. The file may be removed or replaced by another of the
// same name afterwards, but not be written to.
func openMapping(path string) (*mapping, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	size := info.Size()
	if int64(int(size)) != size {
		return nil, fmt.Errorf("%s: %d bytes do not fit the address space", path, size)
	}
	if size == 0 {
		return &mapping{}, nil
	}
	data, unmap, err := mapFile(f, int(size))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &mapping{data: data, unmap: unmap}, nil
}

func (m *mapping) close() error {
	if m.closed {
		return nil
	}
	m.closed = true
	m.data = nil
	if m.unmap == nil {
		return nil
	}
	return m.unmap()
}
