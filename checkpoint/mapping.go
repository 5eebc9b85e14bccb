package checkpoint

import (
	"fmt"
	"os"
	"unsafe"
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

// foldLen is the largest piece of a file that Linux maps at once, whatever part of it is
// read (a large folio). It is a multiple of the size of a page.
const foldLen = 2 << 20

// release gives back the memory of a part of the file, and of what may have been mapped
// with it. It can be read again, at the cost of mapping it again.
func (m *mapping) release(part []byte) {
	at, ok := offsetWithin(part, m.data)
	if m.unmap == nil || !ok {
		return // memory of our own
	}
	from := at / foldLen * foldLen
	to := (at + len(part) + foldLen - 1) / foldLen * foldLen
	adviseUnused(m.data, from, min(to, len(m.data)))
}

// offsetWithin returns where part begins in whole, if it is a part of it.
func offsetWithin(part, whole []byte) (int, bool) {
	if len(part) == 0 || len(whole) == 0 {
		return 0, false
	}
	at := uintptr(unsafe.Pointer(unsafe.SliceData(part)))
	begin := uintptr(unsafe.Pointer(unsafe.SliceData(whole)))
	if at < begin || at-begin >= uintptr(len(whole)) {
		return 0, false
	}
	return int(at - begin), true
}
