//go:build !purego

package kernel

import "github.com/seqmix/seqmix/internal/cpu"

func scanBlocks(p *scanTile) {
	if !cpu.NEON {
		scanBlocksGeneric(p)
		return
	}
	scanNEON(p.l, p.n, p.blocks, &p.y[0], &p.u[0], &p.delta[0], p.ldy, p.ldu, p.ldd, &p.a[0], &p.h[0],
		&p.b[0], &p.c[0], &p.d[0], p.ldb, p.ldc, p.bBlock, p.cBlock, p.dStep, p.bChannels, p.cChannels)
}

func scanForth(p *scanGradTile)                   { scanForthGeneric(p) }
func scanBack(p *scanGradTile)                    { scanBackGeneric(p) }
func scanFold(count int, trace, db, dc []float32) { scanFoldGeneric(count, trace, db, dc) }
