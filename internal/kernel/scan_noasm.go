//go:build purego || !(amd64 || arm64)

package kernel

func scanBlocks(p *scanTile) { scanBlocksGeneric(p) }
