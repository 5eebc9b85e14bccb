package kernel

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unguarded leaves the page accessible. It is for emulators: some read what a masked load
// leaves out, and the processor does not.
var unguarded = os.Getenv("SEQMIX_TEST_UNGUARDED") != ""

// guardedFloats returns n float32s that end right before a page which must not be
// touched: reading or writing past them ends the test program.
func guardedFloats(t testing.TB, n int) []float32 {
	t.Helper()
	page := unix.Getpagesize()
	size := (4*n + page - 1) / page * page
	mem, err := unix.Mmap(-1, 0, size+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	if !unguarded {
		if err := unix.Mprotect(mem[size:], unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&mem[size-4*n])), n)
}

// moveTo copies the panels to the end of mem.
func (w narrow) moveTo(mem []float32) narrow {
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&mem[0])), 4*len(mem))
	if w.u16 != nil {
		all := unsafe.Slice((*uint16)(unsafe.Pointer(&mem[0])), 2*len(mem))
		dst := all[len(all)-len(w.u16):]
		copy(dst, w.u16)
		return narrow{u16: dst}
	}
	if w.u8 != nil {
		dst := bytes[len(bytes)-len(w.u8):]
		copy(dst, w.u8)
		return narrow{u8: dst}
	}
	dst := bytes[len(bytes)-len(w.u4):]
	copy(dst, w.u4)
	return narrow{u4: dst}
}
