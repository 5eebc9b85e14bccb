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
	var f fits4
	for b := 0; b < n*blocks; b += fitLanes {
		some := min(fitLanes, n*blocks-b)
		for i := range some {
			row, at := (b+i)/blocks*k, (b+i)%blocks*QuantBlock
			block := f.w[i*QuantBlock:][:QuantBlock]
			clear(block[copy(block, w[row+at:row+min(at+QuantBlock, k)]):])
		}
		fitQ4(&f, some)
		copy(codes[b*q4RowBytes:], f.codes[:some*q4RowBytes])
		copy(scales[b:], f.scales[:some])
	}
}

// fitLanes is the number of blocks that are rounded at a time.
const fitLanes = 16

// fits4 is the rounding of some blocks: their elements, and what they are rounded to.
type fits4 struct {
	w      [fitLanes * QuantBlock]float32
	codes  [fitLanes * q4RowBytes]byte
	scales [fitLanes]uint16
}

// fitQ4Generic rounds blocks lo to hi-1.
func fitQ4Generic(f *fits4, lo, hi int) {
	for i := lo; i < hi; i++ {
		var one fit4
		f.scales[i] = one.block(f.w[i*QuantBlock:][:QuantBlock])
		for j := range q4RowBytes {
			f.codes[i*q4RowBytes+j] = one.codes[2*j] | one.codes[2*j+1]<<4
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
	improved float32 // the scale with the least sum for these codes
}

// block finds the scale and the codes of a block of up to 32 elements.
func (f *fit4) block(w []float32) (scale uint16) {
	for i := range f.codes {
		f.codes[i] = q4Zero
	}
	top := largest4(w)
	if top == 0 {
		return 0
	}
	if top-top != 0 { // NaN or infinite
		clear(f.codes[:]) // not the code of 0, although NaN times it would do as well
		return 0x7fc0
	}
	if f.exact(w, top) {
		return f.scale
	}
	f.err = math.Inf(1)
	bound := q4Bound * max(top, -top)
	f.try(w, top/Q4Codes[0], bound)
	f.try(w, top/Q4Codes[15], bound)
	for range 2 {
		if math.IsInf(f.err, 1) || !f.try(w, f.improved, bound) {
			break
		}
	}
	return f.scale
}

// largest4 returns the first element of the largest magnitude, or a NaN.
func largest4(w []float32) (top float32) {
	var most uint32
	for _, v := range w {
		if bits := math.Float32bits(v) &^ (1 << 31); bits > most {
			most, top = bits, v
		}
	}
	return top
}

// exact looks for a scale of which all elements are multiples.
func (f *fit4) exact(w []float32, top float32) bool {
	for _, c := range Q4Codes {
		if c == 0 {
			continue
		}
		if s := top / c; math.Float32bits(s)&0xffff == 0 && f.multiples(w, s) {
			f.scale = uint16(math.Float32bits(s) >> 16)
			return true
		}
	}
	return false
}

// multiples reports whether all elements of w are codes times s, and finds the codes.
func (f *fit4) multiples(w []float32, s float32) bool {
	if !normalScale(s) {
		return false
	}
	var codes [QuantBlock]byte
	for i, v := range w {
		codes[i] = nearest4(v / s)
		if Q4Codes[codes[i]]*s != v {
			return false
		}
	}
	copy(f.codes[:len(w)], codes[:])
	return true
}

// normalScale reports whether s is neither subnormal nor 0, so that its inverse is
// finite. Blocks of weights that are too small for that become zeros.
func normalScale(s float32) bool { return max(s, -s) >= 0x1p-126 }

// trial4 is a scale that is tried, and what becomes of the elements of a block, in units of
// it: the sum of the squared errors and the largest of them, Σ x·c and Σ c².
type trial4 struct {
	scale               uint16
	s, inverse          float32
	sum, most, num, den float32
}

// newTrial4 rounds s. It reports whether that can be tried.
func newTrial4(s float32) (t trial4, ok bool) {
	scale := roundScale(s)
	s = widenScale(scale)
	if !normalScale(s) {
		return trial4{}, false
	}
	return trial4{scale: scale, s: s, inverse: 1 / s}, true
}

// try rounds w with a scale, and keeps the result if it is accepted.
func (f *fit4) try(w []float32, s float32, bound float32) bool {
	t, ok := newTrial4(s)
	if !ok {
		return false
	}
	var codes [QuantBlock]byte
	for i, v := range w {
		x := v * t.inverse
		code := nearest4(x)
		codes[i] = code
		c := Q4Codes[code]
		// The conversions keep compilers from fusing, for the same bits everywhere.
		d := float32((x - c) * (x - c))
		t.sum += d
		if d > t.most {
			t.most = d
		}
		t.num += float32(x * c)
		t.den += float32(c * c)
	}
	if !f.accept(&t, bound) {
		return false
	}
	copy(f.codes[:len(w)], codes[:])
	return true
}

// accept makes a scale the best if it is better than what there was and no element is off
// by more than bound.
func (f *fit4) accept(t *trial4, bound float32) bool {
	err := float64(t.sum) * float64(t.s) * float64(t.s)
	bound *= t.inverse
	if !(err < f.err) || t.most > bound*bound {
		return false
	}
	f.scale, f.err, f.improved = t.scale, err, t.s*(t.num/t.den)
	return true
}

// roundScale rounds a scale to bfloat16, towards 0 where its products with the codes
// would overflow.
func roundScale(s float32) uint16 {
	b := math.Float32bits(s)
	rounded := uint16((b + 0x7fff + b>>16&1) >> 16)
	if v := widenScale(rounded) * Q4Codes[0]; v-v != 0 {
		return uint16(b >> 16)
	}
	return rounded
}

// nearest4 returns the code nearest to x. All borders between neighbours are halves of
// integers, or integers.
func nearest4(x float32) byte {
	return nearestTable[min(max(int32(2*x+256), 0), 511)]
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
