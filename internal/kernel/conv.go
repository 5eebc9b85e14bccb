package kernel

import "fmt"

//go:generate sh -c "cd _asm && go run ./conv -out ../conv_amd64.s -stubs ../conv_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group conv -out ../conv_arm64.s -stubs ../conv_stub_arm64.go"

// A ConvActivation is what a short convolution applies to its sums.
type ConvActivation uint8

// The activations of [CausalConv1D].
const (
	ConvLinear ConvActivation = iota // none
	ConvSiLU
)

// convPositions is how many positions of all channels are computed at a time. The
// assembly has room for no more.
const convPositions = 32

// PackConvTaps stores the taps of e channels, k for each, in the order that
// [CausalConv1D] reads them: those of one tap together. w has shape (e, k), as a
// Conv1d of PyTorch has with one group for each channel, and dst shape (k, e).
func PackConvTaps(dst, w []float32, e, k int) {
	if len(dst) < e*k || len(w) < e*k {
		panic(fmt.Sprintf("kernel: %d taps of %d channels from %d elements to %d", k, e, len(w), len(dst)))
	}
	for i := range e {
		for j := range k {
			dst[j*e+i] = w[i*k+j]
		}
	}
}

// CausalConv1D convolves l positions of e channels, each with k taps of its own:
//
//	dst[t][c] = act( bias[c] + Σ_{j<k} w[j][c] · src[t-k+1+j][c] )
//
// so that the last tap is that of the position itself. dst and src have a row of e
// elements for each position and distances ldd and lds between rows; dst may be src,
// with the same distance, and else overlaps nothing. w has shape (k, e), see
// [PackConvTaps]. bias may be nil.
//
// state has shape (k-1, e) and holds the inputs before the first position, oldest
// first: zeros at the beginning of a sequence. Afterwards it holds the last k-1
// inputs, some of which are those it held before if l is less than that.
//
// Positions may be divided into any number of calls: the bits of the results are the
// same. It panics if a slice is too short.
func CausalConv1D(dst []float32, ldd int, src []float32, lds int, w, bias, state []float32, l, e, k int, act ConvActivation) {
	if l <= 0 || e <= 0 {
		return
	}
	checkConv(len(dst), ldd, len(src), lds, l, e)
	if k < 1 || len(w) < k*e || len(state) < (k-1)*e || bias != nil && len(bias) < e {
		panic(fmt.Sprintf("kernel: convolution of %d channels: %d elements for %d taps, %d of bias, %d of state", e, len(w), k, len(bias), len(state)))
	}
	for t := 0; t < l; t += convPositions {
		n := min(convPositions, l-t)
		y := dst[t*ldd:]
		convRows(y, ldd, src[t*lds:], lds, w, bias, state, n, e, k)
		if act != ConvSiLU {
			continue
		}
		for i := range n {
			row := y[i*ldd : i*ldd+e]
			SiLU(row, row)
		}
	}
}

func checkConv(lenDst, ldd, lenSrc, lds, l, e int) {
	if ldd < e && l > 1 || lds < 0 || lenDst < (l-1)*ldd+e || lenSrc < (l-1)*lds+e {
		panic(fmt.Sprintf("kernel: convolution of %d positions of %d channels: %d elements with distance %d into %d with distance %d", l, e, lenSrc, lds, lenDst, ldd))
	}
}
