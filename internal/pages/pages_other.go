//go:build !linux

package pages

// askForLarge does nothing: there is no such hint, or it is not needed.
func askForLarge(begin, end uintptr) {}
