package tensor

import "github.com/seqmix/seqmix/internal/cpu"

// CPU returns the tier of kernels in use: "avx512", "avx2", "neon" or "generic".
// The best one that the machine has is chosen when the program starts; the
// environment variable SEQMIX_CPU forces another, and a program started with one
// that does not exist or does not run here ends with a message that names the
// choices. Programs built with the tag purego have only "generic".
func CPU() string { return string(cpu.Active()) }
