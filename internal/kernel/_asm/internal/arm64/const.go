package arm64

import (
	"encoding/binary"
	"math"
	"slices"
)

// Preload makes constants ready for use in what follows: as operands that stay in
// registers. It must come before other uses of constants, even if it loads none.
func (f *Func) Preload(values ...float32) {
	f.constBase = f.R()
	f.emit("MOVD $consts<>(SB), R%d", def(f.constBase))
	f.consts = map[uint32]V{}
	for _, x := range values {
		bits := math.Float32bits(x)
		if _, twice := f.consts[bits]; !twice {
			f.consts[bits] = f.FreshBits(bits)
		}
	}
}

// Const returns a register that holds x in all lanes and must not be overwritten.
func (f *Func) Const(x float32) V { return f.Bits(math.Float32bits(x)) }

// Bits is Const for a bit pattern.
func (f *Func) Bits(bits uint32) V {
	if r, ok := f.consts[bits]; ok {
		return r
	}
	return f.FreshBits(bits)
}

// Fresh returns x in a register that may be overwritten, such as one to add a product
// to. To load it costs less than to copy a register, since the units that load have
// little else to do.
func (f *Func) Fresh(x float32) V { return f.FreshBits(math.Float32bits(x)) }

// FreshBits is Fresh for a bit pattern.
func (f *Func) FreshBits(bits uint32) V { return f.constant([Lanes]uint32{bits, bits, bits, bits}) }

// FreshLanes returns a vector of four numbers.
func (f *Func) FreshLanes(lanes [Lanes]float32) V {
	var c [Lanes]uint32
	for i, x := range lanes {
		c[i] = math.Float32bits(x)
	}
	return f.constant(c)
}

// FreshBytes returns a vector of 16 bytes.
func (f *Func) FreshBytes(bytes [vectorBytes]byte) V {
	var c [Lanes]uint32
	for i := range c {
		c[i] = binary.LittleEndian.Uint32(bytes[4*i:])
	}
	return f.constant(c)
}

func (f *Func) constant(c [Lanes]uint32) V {
	i := slices.Index(f.file.constants, c)
	if i < 0 {
		i = len(f.file.constants)
		f.file.constants = append(f.file.constants, c)
	}
	return f.Read(Mem{f.constBase, vectorBytes * i})
}
