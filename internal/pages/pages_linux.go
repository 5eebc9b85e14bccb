package pages

import "golang.org/x/sys/unix"

// askForLarge asks for large pages from begin to end. It is a hint, and concerns the memory
// that shares a page of 4 kB with the first and the last byte as well, so that neighbours
// leave no gap.
func askForLarge(begin, end uintptr) {
	mask := uintptr(unix.Getpagesize() - 1)
	begin, end = begin&^mask, (end+mask)&^mask
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, begin, end-begin, unix.MADV_HUGEPAGE)
}
