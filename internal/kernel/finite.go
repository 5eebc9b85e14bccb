package kernel

import "math"

// AllFinite reports whether no element is NaN or infinite.
func AllFinite(x []float32) bool { return allFinite(x) }

// allFinite multiplies by zero, which leaves zero of finite numbers and NaN of all others.
func allFinite(x []float32) bool {
	for len(x) > len(noughts) {
		if Dot(noughts[:], x[:len(noughts)]) != 0 {
			return false
		}
		x = x[len(noughts):]
	}
	return Dot(noughts[:len(x)], x) == 0
}

var noughts [512]float32

func isFinite(x float32) bool { return math.Float32bits(x)&0x7f800000 != 0x7f800000 }
