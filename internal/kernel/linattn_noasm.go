//go:build purego || !(amd64 || arm64)

package kernel

func linearBlocks() int { return 1 }

func linearParts(p *linearTile) { linearGeneric(p) }
