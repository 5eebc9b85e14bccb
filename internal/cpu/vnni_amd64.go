//go:build !purego

package cpu

import "github.com/klauspost/cpuid/v2"

func hasVNNI() bool { return cpuid.CPU.Supports(cpuid.AVX512VNNI) }
