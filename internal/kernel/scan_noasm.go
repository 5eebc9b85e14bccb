//go:build purego || !(amd64 || arm64)

package kernel

func scanBlocks(p *scanTile) { scanBlocksGeneric(p) }

func scanForth(p *scanGradTile)                   { scanForthGeneric(p) }
func scanBack(p *scanGradTile)                    { scanBackGeneric(p) }
func scanFold(count int, trace, db, dc []float32) { scanFoldGeneric(count, trace, db, dc) }
