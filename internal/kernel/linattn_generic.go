package kernel

// linearGeneric takes one block of channels after the other through the positions of
// p, a part of the key at a time: it adds to y what that part contributes.
func linearGeneric(p *linearTile) {
	for b := range p.blocks {
		keep := (*[ScanBlock]float32)(p.keep[b*ScanBlock:])
		for part := range p.parts {
			state := (*[KeyBlock * ScanBlock]float32)(p.state[b*p.next+part*KeyBlock*ScanBlock:])
			for i := range state {
				state[i] *= keep[i%ScanBlock]
			}
			for t := range p.l {
				keys := (*[2 * KeyBlock]float32)(p.keys[part*p.ldk+t*2*KeyBlock:])
				v := (*[ScanBlock]float32)(p.v[t*p.ldv+b*ScanBlock:])
				y := (*[ScanBlock]float32)(p.y[t*p.ldy+b*ScanBlock:])
				for n := range KeyBlock {
					k, q := keys[n], keys[KeyBlock+n]
					s := (*[ScanBlock]float32)(state[n*ScanBlock:])
					for c := range s {
						s[c] += k * v[c]
						y[c] += q * s[c]
					}
				}
			}
		}
	}
}
