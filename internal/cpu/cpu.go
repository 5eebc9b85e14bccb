// Package cpu decides, once per process, which tier of SIMD kernels runs.
//
// A tier is a set of kernels written for one level of CPU features. The package
// reads the features with klauspost/cpuid (which also asks whether the operating
// system saves the wide registers), picks the highest tier the machine has, and
// lets the environment variable SEQMIX_CPU force a lower one:
//
//	SEQMIX_CPU=avx2 go test ./...
//
// Kernels look only at the booleans AVX512, AVX2 and NEON. Of the three at most
// one is set: they name the tier in use, not the features of the machine.
package cpu

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Env is the environment variable that forces a tier.
const Env = "SEQMIX_CPU"

// A Tier names a set of kernels.
type Tier string

// The tiers, from the most to the least demanding.
const (
	TierAVX512  Tier = "avx512"  // amd64: AVX-512 F, BW, DQ and VL
	TierAVX2    Tier = "avx2"    // amd64: AVX2, FMA3 and F16C
	TierNEON    Tier = "neon"    // arm64: Advanced SIMD
	TierGeneric Tier = "generic" // portable Go
)

// The tier in use, as the kernels ask for it. Only [Use] writes them.
var (
	AVX512 bool
	AVX2   bool
	NEON   bool
)

// VNNI is set if the tier in use is AVX-512 and the machine has its products of bytes
// too, which the first such processors lack. Only [Use] writes it.
var VNNI bool

// available lists the tiers of this machine and build, best first.
var available = append(detect(), TierGeneric)

var active Tier

func init() {
	if err := setup(os.Getenv(Env)); err != nil {
		// The variable is a request from whoever started the process, and
		// running other kernels than the ones asked for would falsify the
		// very measurement or test it is for.
		fmt.Fprintf(os.Stderr, "seqmix: %s: %v\n", Env, err)
		os.Exit(2)
	}
}

// setup activates the tier called name, or the best one if name is empty.
func setup(name string) error {
	if name == "" {
		return Use(available[0])
	}
	return Use(Tier(strings.ToLower(name)))
}

// Active returns the tier in use.
func Active() Tier { return active }

// Available returns the tiers that this machine and build can run, best first.
// The last is always [TierGeneric].
func Available() []Tier { return slices.Clone(available) }

// Use makes t the tier in use. It fails if t is unknown or if this machine or
// build cannot run it; the tier in use is then unchanged. It must not be called
// while kernels run.
func Use(t Tier) error {
	if !slices.Contains(available, t) {
		kind := "unknown tier"
		switch t {
		case TierAVX512, TierAVX2, TierNEON:
			kind = "tier not available here:"
		}
		return fmt.Errorf("%s %q (choose one of %s)", kind, string(t), choices())
	}
	active = t
	AVX512 = t == TierAVX512
	AVX2 = t == TierAVX2
	NEON = t == TierNEON
	VNNI = AVX512 && hasVNNI()
	return nil
}

func choices() string {
	names := make([]string, len(available))
	for i, t := range available {
		names[i] = string(t)
	}
	return strings.Join(names, ", ")
}
