//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// softmaxWork bounds the scores and columns of one call into assembly.
const softmaxWork = 1 << 16

func onlineSoftmax(s []float32, lds int, o []float32, ldo int, max, sum []float32, rows, n, cols int) {
	if !cpu.AVX512 && !cpu.AVX2 {
		onlineSoftmaxGeneric(s, lds, o, ldo, max, sum, rows, n, cols)
		return
	}
	var none float32
	for r := 0; r < rows; {
		count := min(rows-r, softmaxWork/(n+cols)+1)
		out := &none
		if cols > 0 {
			out = &o[r*ldo]
		}
		if cpu.AVX512 {
			onlineSoftmaxAVX512(&s[r*lds], lds, out, ldo, &max[r], &sum[r*SoftmaxLanes], count, n, cols)
		} else {
			onlineSoftmaxAVX2(&s[r*lds], lds, out, ldo, &max[r], &sum[r*SoftmaxLanes], count, n, cols)
		}
		r += count
	}
}

func packKeys(panel, src []float32, lds, first, rows, k int) {
	if !cpu.AVX512 && !cpu.AVX2 {
		packKeysGeneric(panel, src, lds, first, rows, k)
		return
	}
	whole := k &^ 7
	for i := 0; i < rows; i += 8 {
		n, done := min(8, rows-i), 0
		if n == 8 && whole > 0 {
			packKeysAVX2(&panel[first+i], &src[i*lds], lds, whole/8)
			done = whole
		}
		if done < k {
			packKeysGeneric(panel[done*PanelWidth:], src[i*lds+done:], lds, first+i, n, k-done)
		}
	}
}

func rotateHalves(x []float32, dim int, cos, sin []float32) {
	switch {
	case cpu.AVX512:
		rotateHalvesAVX512(&x[0], dim, len(x)/dim, &cos[0], &sin[0], len(cos))
	case cpu.AVX2:
		rotateHalvesAVX2(&x[0], dim, len(x)/dim, &cos[0], &sin[0], len(cos))
	default:
		rotateHalvesGeneric(x, dim, cos, sin)
	}
}

func rotatePairs(x []float32, dim int, cos, sin []float32) {
	switch {
	case cpu.AVX512:
		rotatePairsAVX512(&x[0], dim, len(x)/dim, &cos[0], &sin[0], len(cos))
	case cpu.AVX2:
		rotatePairsAVX2(&x[0], dim, len(x)/dim, &cos[0], &sin[0], len(cos))
	default:
		rotatePairsGeneric(x, dim, cos, sin)
	}
}
