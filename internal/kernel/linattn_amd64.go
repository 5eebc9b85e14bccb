//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// linearBlocks returns how many blocks of channels linearParts takes at a time.
func linearBlocks() int {
	if cpu.AVX512 {
		return 2
	}
	return 1
}

func linearParts(p *linearTile) {
	switch {
	case cpu.AVX512 && p.blocks == 2:
		linattn2AVX512(p.l, p.parts, &p.y[0], &p.v[0], p.ldy, p.ldv, &p.keys[0], p.ldk, &p.state[0], p.next, &p.keep[0])
	case cpu.AVX512:
		linattn1AVX512(p.l, p.parts, &p.y[0], &p.v[0], p.ldy, p.ldv, &p.keys[0], p.ldk, &p.state[0], p.next, &p.keep[0])
	case cpu.AVX2:
		linattn1AVX2(p.l, p.parts, &p.y[0], &p.v[0], p.ldy, p.ldv, &p.keys[0], p.ldk, &p.state[0], p.next, &p.keep[0])
	default:
		linearGeneric(p)
	}
}
