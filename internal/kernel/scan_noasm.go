package kernel

func scanBlocks(p *scanTile) { scanBlocksGeneric(p) }
