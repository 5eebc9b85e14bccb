//go:build race

package lm_test

// raceEnabled is whether the race detector is on. It makes sync.Pool forget things at
// random, so that allocations cannot be counted.
const raceEnabled = true
