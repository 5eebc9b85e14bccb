package kernel

import "math"

// QuantizeQ4 rounds the n×k matrix w to blocks of four bits: to the nearest of
// [Q4Codes] times the scale of the block. Of the scales that map the largest magnitude
// to one end or the other of the codes it takes the better one, and improves it by
// least squares as long as no element is off by more than 0.15 of the largest
// magnitude of the block. What is in the format already stays as it is. Blocks of
// zeros have scale 0. An infinity or NaN makes its block NaN.
func QuantizeQ4(codes []byte, scales []uint16, w []float32, n, k int) {
	blocks := Q4RowBlocks(k)
	checkPacked("int4", len(codes), n*Q4RowLen(k), len(w), n*k)
	for j := range n {
		for b := range blocks {
			var f fit4
			out := codes[(j*blocks+b)*q4RowBytes:][:q4RowBytes]
			scales[j*blocks+b] = f.block(w[j*k+b*QuantBlock : j*k+min((b+1)*QuantBlock, k)])
			for i := range out {
				out[i] = f.codes[2*i] | f.codes[2*i+1]<<4
			}
		}
	}
}

// q4Bound is the largest error of an element over the largest magnitude of its block.
// Scales that are not refined stay below: the widest gap, or the distance from the one
// end to minus the other, is 24/127, of which half, or 18/127, can be missed.
const q4Bound = 0.15

// fit4 is the search for the scale of a block.
type fit4 struct {
	codes    [QuantBlock]byte // of the best scale so far
	scale    uint16
	err      float64 // the sum of its squared errors
	num, den float64 // the scale with the least sum for these codes is num/den
}

// block finds the scale and the codes of a block of up to 32 elements.
func (f *fit4) block(w []float32) (scale uint16) {
	for i := range f.codes {
		f.codes[i] = q4Zero
	}
	var largest float32
	for _, v := range w {
		largest = max(largest, v, -v)
	}
	if largest == 0 {
		return 0
	}
	if !(largest <= math.MaxFloat32) { // NaN or infinite
		clear(f.codes[:]) // not the code of 0, although NaN times it would do as well
		return 0x7fc0
	}
	f.err = math.Inf(1)
	if f.exact(w, largest) {
		return f.scale
	}
	f.try(w, largest/Q4Codes[0], math.MaxFloat32)
	f.try(w, -largest/Q4Codes[0], math.MaxFloat32)
	f.try(w, largest/Q4Codes[15], math.MaxFloat32)
	f.try(w, -largest/Q4Codes[15], math.MaxFloat32)
	for range 2 {
		if f.den == 0 || !f.try(w, float32(f.num/f.den), q4Bound*largest) {
			break
		}
	}
	return f.scale
}

// exact looks for a scale of which all elements are multiples.
func (f *fit4) exact(w []float32, largest float32) bool {
	for _, c := range Q4Codes {
		if c == 0 {
			continue
		}
		for _, s := range [2]float32{largest / c, -largest / c} {
			if math.Float32bits(s)&0xffff == 0 && s != 0 && f.try(w, s, math.MaxFloat32) && f.err == 0 {
				return true
			}
		}
	}
	f.err = math.Inf(1)
	return false
}

// try rounds w with a scale, and keeps the result if it is better than what there was
// and no element is off by more than bound.
func (f *fit4) try(w []float32, s float32, bound float32) bool {
	scale := roundScale(s)
	s = widenScale(scale)
	if s == 0 || s-s != 0 {
		return false
	}
	inverse := 1 / float64(s) // of a subnormal s it is no float32
	var codes [QuantBlock]byte
	var sum, num, den float64
	for i, v := range w {
		code := nearest4(float64(v) * inverse)
		c := Q4Codes[code]
		diff := v - c*s
		if diff > bound || -diff > bound {
			return false
		}
		codes[i] = code
		sum += float64(diff) * float64(diff)
		num += float64(v) * float64(c)
		den += float64(c) * float64(c)
	}
	if !(sum < f.err) {
		return false
	}
	copy(f.codes[:len(w)], codes[:])
	f.scale, f.err, f.num, f.den = scale, sum, num, den
	return true
}

// roundScale rounds a scale to bfloat16, towards 0 where its products with the codes
// would overflow.
func roundScale(s float32) uint16 {
	var b [1]uint16
	Float32ToBF16(b[:], []float32{s})
	if v := widenScale(b[0]) * Q4Codes[0]; v-v != 0 {
		return uint16(math.Float32bits(s) >> 16)
	}
	return b[0]
}

// nearest4 returns the code nearest to x. All borders between neighbours are halves of
// integers, or integers.
func nearest4(x float64) byte {
	return nearestTable[int32(min(max(x, -127), 127)*2+256)]
}

// nearestTable has the codes of the intervals from i/2-128 to (i+1)/2-128.
var nearestTable = func() (t [512]byte) {
	for i := range t {
		x := float64(i)/2 - 128 + 0.25
		for j, c := range Q4Codes {
			if math.Abs(float64(c)-x) < math.Abs(float64(Q4Codes[t[i]])-x) {
				t[i] = byte(j)
			}
		}
	}
	return t
}()
