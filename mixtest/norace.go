//go:build !race

package mixtest

const raceEnabled = false
