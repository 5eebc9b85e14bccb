//go:build !purego

package cpu

import "github.com/klauspost/cpuid/v2"

func detect() []Tier {
	var tiers []Tier
	if cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3, cpuid.F16C) {
		if cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512DQ, cpuid.AVX512VL) {
			tiers = append(tiers, TierAVX512)
		}
		tiers = append(tiers, TierAVX2)
	}
	return tiers
}
