// Package short makes tests brief where the flag -short asks for it: on machines that are
// emulated, and under the race detector.
package short

import "testing"

// First returns list, or only its first element with -short.
func First[T any](list []T) []T {
	if testing.Short() {
		return list[:1]
	}
	return list
}
