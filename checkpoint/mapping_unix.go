//go:build unix

package checkpoint

import (
	"os"

	"golang.org/x/sys/unix"
)

func mapFile(f *os.File, size int) (data []byte, unmap func() error, err error) {
	data, err = unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, os.NewSyscallError("mmap", err)
	}
	return data, func() error { return unix.Munmap(data) }, nil
}

// adviseUnused tells the system that a part of a mapped file, from one byte to another,
// is not needed in memory now. What is read again is taken from the file again.
func adviseUnused(data []byte, from, to int) {
	_ = unix.Madvise(data[from:to], unix.MADV_DONTNEED) // a hint
}
