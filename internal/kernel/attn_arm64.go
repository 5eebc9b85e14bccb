//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// softmaxWork bounds the scores and columns of one call into assembly.
const softmaxWork = 1 << 15

func onlineSoftmax(s []float32, lds int, o []float32, ldo int, max, sum []float32, rows, n, cols int) {
	if !cpu.NEON {
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
		onlineSoftmaxNEON(&s[r*lds], lds, out, ldo, &max[r], &sum[r*SoftmaxLanes], count, n, cols)
		r += count
	}
}

func packKeys(panel, src []float32, lds, first, rows, k int) {
	whole := k &^ 3
	for i := 0; i < rows; i += 4 {
		n, done := min(4, rows-i), 0
		if cpu.NEON && n == 4 && whole > 0 {
			packKeysNEON(&panel[first+i], &src[i*lds], lds, whole/4)
			done = whole
		}
		if done < k {
			packKeysGeneric(panel[done*PanelWidth:], src[i*lds+done:], lds, first+i, n, k-done)
		}
	}
}

func rotateHalves(x []float32, dim int, cos, sin []float32) {
	if cpu.NEON {
		rotateHalvesNEON(&x[0], dim, len(x)/dim, &cos[0], &sin[0], len(cos))
	} else {
		rotateHalvesGeneric(x, dim, cos, sin)
	}
}

func rotatePairs(x []float32, dim int, cos, sin []float32) {
	if cpu.NEON {
		rotatePairsNEON(&x[0], dim, len(x)/dim, &cos[0], &sin[0], len(cos))
	} else {
		rotatePairsGeneric(x, dim, cos, sin)
	}
}
