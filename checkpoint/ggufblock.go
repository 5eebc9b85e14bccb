package checkpoint

import (
	"encoding/binary"

	"github.com/seqmix/seqmix/internal/kernel"
)

// quantBlock is the number of neighbouring elements of a row that share a scale in the
// quantised types of GGUF files.
const quantBlock = 32

// blocks reports whether elements are stored in blocks with a scale.
func (d DType) blocks() bool { return d == Q8_0 || d == Q4_0 }

// blockBytes returns the number of bytes of a block: a float16 scale and the numbers.
func (d DType) blockBytes() int {
	if d == Q8_0 {
		return 2 + quantBlock
	}
	return 2 + quantBlock/2
}

// readBlocks fills dst with the elements from the given one on of blocks in raw.
func readBlocks(dst []float32, raw []byte, d DType, from int) {
	var block [quantBlock]float32
	size := d.blockBytes()
	raw, skip := raw[from/quantBlock*size:], from%quantBlock
	for len(dst) > 0 {
		decodeBlock(&block, raw[:size], d)
		n := copy(dst, block[skip:])
		dst, raw, skip = dst[n:], raw[size:], 0
	}
}

// decodeBlock returns the numbers of a block: in Q8_0, int8s, and in Q4_0, four bits less
// 8, of which the first half of the block is in the lower halves of the bytes.
func decodeBlock(dst *[quantBlock]float32, raw []byte, d DType) {
	var scale [1]float32
	kernel.F16ToFloat32(scale[:], []uint16{binary.LittleEndian.Uint16(raw)})
	numbers := raw[2:]
	if d == Q8_0 {
		for i, q := range numbers {
			dst[i] = float32(int8(q)) * scale[0]
		}
		return
	}
	for i, q := range numbers {
		dst[i] = float32(int(q&15)-8) * scale[0]
		dst[i+quantBlock/2] = float32(int(q>>4)-8) * scale[0]
	}
}
