//go:build unix

package checkpoint

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

func mapFile(f *os.File, size int) (data []byte, unmap func() error, err error) {
	data, err = unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, os.NewSyscallError("mmap", err)
	}
	return data, func() error { return unix.Munmap(data) }, nil
}

// releasePages gives back the memory of a part of a mapped file; what is read again is
// taken from the file again.
func releasePages(b []byte) {
	page := os.Getpagesize()
	address := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	// The mapping begins with a page. A page that is only partly of b may be dropped too.
	before := int(address % uintptr(page))
	all := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), -before)), before+len(b))
	_ = unix.Madvise(all, unix.MADV_DONTNEED) // a hint
}
