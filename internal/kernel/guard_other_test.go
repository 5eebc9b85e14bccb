//go:build !linux

package kernel

import "testing"

// guardedFloats returns n float32s; only on Linux does a guard page follow them.
func guardedFloats(_ testing.TB, n int) []float32 { return make([]float32, n) }

func (w narrow) moveTo([]float32) narrow { return w }
