//go:build !purego

package cpu

// detect does not ask: Advanced SIMD is part of the arm64 base that Go needs.
func detect() []Tier { return []Tier{TierNEON} }
