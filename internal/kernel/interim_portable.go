package kernel

// Interim: portable stand-ins so that the packages above compile. The owner of a
// group deletes its functions here when the group lands.

import "math"

func BF16PanelLen(n, k int) int { return (n + 31) / 32 * 32 * ((k + 1) / 2 * 2) }

func bf16At(row, p, k int) int {
	k2 := (k + 1) / 2
	return ((row/32*k2+p/2)*32+row%32)*2 + p%2
}

func PackBF16Panels(dst, src []uint16, n, k int) {
	clear(dst)
	for j := range n {
		for p := range k {
			dst[bf16At(j, p, k)] = src[j*k+p]
		}
	}
}

func UnpackBF16Panels(dst, src []uint16, n, k int) {
	for j := range n {
		for p := range k {
			dst[j*k+p] = src[bf16At(j, p, k)]
		}
	}
}

func BF16PanelRow(dst []float32, panels []uint16, row, k int) {
	for p := range k {
		dst[p] = math.Float32frombits(uint32(panels[bf16At(row, p, k)]) << 16)
	}
}

func GemmScratchLen(k int) int { return 4 * 32 * k }

func GemmBF16(c []float32, ldc int, a []float32, lda int, panels []uint16, m, n, k int, scratch []float32, add bool) {
	row := make([]float32, k)
	for j := range n {
		BF16PanelRow(row, panels, j, k)
		gemmColumn(c, ldc, a, lda, row, m, j, k, add)
	}
}

func gemmColumn(c []float32, ldc int, a []float32, lda int, row []float32, m, j, k int, add bool) {
	for i := range m {
		var s float32
		for p := range k {
			s += a[i*lda+p] * row[p]
		}
		if add {
			s += c[i*ldc+j]
		}
		c[i*ldc+j] = s
	}
}

const q8Block = 32*32 + 32*4

func Q8PanelLen(n, k int) int { return (n + 31) / 32 * ((k + 31) / 32) * q8Block }

func q8At(row, p, k int) (q, scale int) {
	b := (row/32*((k+31)/32) + p/32) * q8Block
	return b + p%32*32 + row%32, b + 1024 + row%32*4
}

func PackQ8Panels(dst []byte, q []int8, scales []float32, n, k int) {
	clear(dst)
	blocks := (k + 31) / 32
	for j := range n {
		for p := range k {
			qi, si := q8At(j, p, k)
			dst[qi] = byte(q[j*k+p])
			s := math.Float32bits(scales[j*blocks+p/32])
			dst[si], dst[si+1], dst[si+2], dst[si+3] = byte(s), byte(s>>8), byte(s>>16), byte(s>>24)
		}
	}
}

func UnpackQ8Panels(q []int8, scales []float32, src []byte, n, k int) {
	blocks := (k + 31) / 32
	for j := range n {
		for p := range k {
			qi, si := q8At(j, p, k)
			q[j*k+p] = int8(src[qi])
			scales[j*blocks+p/32] = math.Float32frombits(uint32(src[si]) | uint32(src[si+1])<<8 | uint32(src[si+2])<<16 | uint32(src[si+3])<<24)
		}
	}
}

func Q8PanelRow(dst []float32, panels []byte, row, k int) {
	for p := range k {
		qi, si := q8At(row, p, k)
		s := math.Float32frombits(uint32(panels[si]) | uint32(panels[si+1])<<8 | uint32(panels[si+2])<<16 | uint32(panels[si+3])<<24)
		dst[p] = float32(int8(panels[qi])) * s
	}
}

func GemmQ8(c []float32, ldc int, a []float32, lda int, panels []byte, m, n, k int, scratch []float32, add bool) {
	row := make([]float32, k)
	for j := range n {
		Q8PanelRow(row, panels, j, k)
		gemmColumn(c, ldc, a, lda, row, m, j, k, add)
	}
}

func QuantizeQ8(q []int8, scales []float32, w []float32, n, k int) {
	blocks := (k + 31) / 32
	for j := range n {
		for b := range blocks {
			row := w[j*k+b*32 : j*k+min(b*32+32, k)]
			var m float32
			for _, v := range row {
				m = max(m, float32(math.Abs(float64(v))))
			}
			s := m / 127
			scales[j*blocks+b] = s
			for i, v := range row {
				if s != 0 {
					q[j*k+b*32+i] = int8(math.RoundToEven(float64(v / s)))
				}
			}
		}
	}
}

func BF16ToFloat32(dst []float32, src []uint16) {
	for i, v := range src {
		dst[i] = math.Float32frombits(uint32(v) << 16)
	}
}

func Float32ToBF16(dst []uint16, src []float32) {
	for i, v := range src {
		b := math.Float32bits(v)
		if v != v {
			dst[i] = uint16(b>>16) | 0x40
			continue
		}
		dst[i] = uint16((b + 0x7fff + b>>16&1) >> 16)
	}
}

func F16ToFloat32(dst []float32, src []uint16) {
	for i, h := range src {
		sign, exp, man := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&1023)
		switch {
		case exp == 31:
			dst[i] = math.Float32frombits(sign | 255<<23 | man<<13)
		case exp != 0:
			dst[i] = math.Float32frombits(sign | (exp+112)<<23 | man<<13)
		default:
			v := float32(man) / (1 << 24)
			if sign != 0 {
				v = -v
			}
			dst[i] = v
		}
	}
}

func Add(dst, a, b []float32) {
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}
