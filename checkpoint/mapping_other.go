//go:build !unix && !windows

package checkpoint

import (
	"io"
	"os"
)

// mapFile reads the file, where files cannot be mapped.
func mapFile(f *os.File, size int) (data []byte, unmap func() error, err error) {
	data = make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, nil, err
	}
	return data, nil, nil
}

// adviseUnused does nothing: the system takes memory back when it needs it.
func adviseUnused([]byte, int, int) {}
