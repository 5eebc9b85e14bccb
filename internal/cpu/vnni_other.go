//go:build purego || !amd64

package cpu

func hasVNNI() bool { return false }
