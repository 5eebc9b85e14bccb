package kernel

import (
	"encoding/binary"
	"math"
)

// spansOf writes two bytes for each unit of numbers, of which upper returns the upper bytes:
// the least without its sign that is not 0, less 1, or 255; and 127 less the largest.
func spansOf[T any](spans []byte, src []T, upper func(T) byte) {
	const elements = CompactK * PanelWidth
	for i := 0; i < len(spans); i += 2 {
		least, most := byte(255), byte(0)
		for _, v := range src[i/2*elements : (i/2+1)*elements] {
			b := upper(v) & 0x7f
			least, most = min(least, b-1), max(most, b)
		}
		spans[i], spans[i+1] = least, 127-most
	}
}

func spansFloat32Generic(spans []byte, src []float32) {
	spansOf(spans, src, func(v float32) byte { return byte(math.Float32bits(v) >> 24) })
}

func spansBF16Generic(spans []byte, src []uint16) {
	spansOf(spans, src, func(v uint16) byte { return byte(v >> 8) })
}

// packCompactFloat32Generic writes units with codes.
func packCompactFloat32Generic(dst []byte, src []float32, base byte) {
	size, _ := unitBytes(true)
	for ; len(src) > 0; src, dst = src[CompactK*PanelWidth:], dst[size:] {
		low := dst[compactCodes+compactRest:]
		codeUnit(dst, base, func(r, column int) uint16 {
			bits := math.Float32bits(src[r*PanelWidth+column])
			binary.LittleEndian.PutUint16(low[pairPlace(r, column):], uint16(bits))
			return uint16(bits >> 16)
		})
	}
}

// packCompactBF16Generic writes units with codes.
func packCompactBF16Generic(dst []byte, src []uint16, base byte) {
	size, _ := unitBytes(false)
	for ; len(src) > 0; src, dst = src[CompactK*PanelWidth:], dst[size:] {
		codeUnit(dst, base, func(r, column int) uint16 { return src[pairPlace(r, column)/2] })
	}
}

// codeUnit writes the upper halves of a unit.
func codeUnit(dst []byte, base byte, upper func(r, column int) uint16) {
	clear(dst[:compactCodes])
	for r := range CompactK {
		for column := range PanelWidth {
			v := upper(r, column)
			code := byte(v>>15) << 3
			if b := byte(v >> 8 & 0x7f); b != 0 {
				code |= b - base
			}
			i := codedPlace(r, column)
			dst[i%compactCodes] |= code << (i / compactCodes * 4)
			dst[compactCodes+i] = byte(v)
		}
	}
}

func gemvCompactGeneric(full bool, out, a []float32, block []byte, add bool) int {
	var s [PanelWidth]float32
	n := eachUnit(full, block, len(a), func(i int, u *compactUnit) {
		for r, x := range a[i*CompactK : (i+1)*CompactK] {
			for j := range s {
				s[j] += x * u.at(r, j)
			}
		}
	})
	storeRow(out, &s, add)
	return n
}

func widenCompactGeneric(full bool, dst []float32, block []byte) int {
	return eachUnit(full, block, len(dst)/PanelWidth, func(i int, u *compactUnit) {
		for r := range CompactK {
			row := dst[(i*CompactK+r)*PanelWidth:]
			for j := range row[:PanelWidth] {
				row[j] = u.at(r, j)
			}
		}
	})
}
