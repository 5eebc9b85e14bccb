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

func scanForth(p *scanGradTile) {
	if cpu.NEON {
		scanForthNEON(p.l, p.n, &p.u[0], &p.delta[0], p.ldu, p.ldd, &p.a[0], &p.b[0], p.ldb, &p.trace[0])
	} else {
		scanForthGeneric(p)
	}
}

func scanBack(p *scanGradTile) {
	if !cpu.NEON {
		scanBackGeneric(p)
		return
	}
	t := p.l - 1
	// The last row of the trace, from its own beginning.
	last := &p.trace[p.l*p.n*scanTrace]
	scanBackNEON(p.l, p.n, &p.u[t*p.ldu], &p.delta[t*p.ldd], &p.dy[t*p.lddy], &p.du[t*p.lddu], &p.ddelta[t*p.ldddelta],
		p.ldu, p.ldd, p.lddy, p.lddu, p.ldddelta,
		&p.a[0], &p.b[t*p.ldb], &p.c[t*p.ldc], p.ldb, p.ldc, &p.d[0], &p.dd[0], last, &p.grad[0], &p.da[0])
}

func scanFold(count int, trace, db, dc []float32) {
	if cpu.NEON {
		scanFoldNEON(count, &trace[0], &db[0], &dc[0])
	} else {
		scanFoldGeneric(count, trace, db, dc)
	}
}
