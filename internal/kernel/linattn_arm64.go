//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

// linearBlocks returns how many blocks of channels linearParts takes at a time.
func linearBlocks() int { return 1 }

func linearParts(p *linearTile) {
	if cpu.NEON {
		linattnNEON(p.l, p.parts, &p.y[0], &p.v[0], p.ldy, p.ldv, &p.keys[0], p.ldk, &p.state[0], &p.keep[0])
	} else {
		linearGeneric(p)
	}
}
