//go:build !race

package monarch_test

const raceEnabled = false
