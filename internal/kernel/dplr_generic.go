package kernel

// dplrStepsGeneric takes the states h of a block through n positions, adding to y what
// they make of u. sigma has a row for each rank.
func dplrStepsGeneric(n, states, rank int, y, u, rows, h, sigma []float32) {
	type row = [ModalBlock]float32
	at := func(v []float32, i int) *row { return (*row)(v[i*ModalBlock:]) }
	for t := range n {
		in, out := at(u, t), at(y, t)
		next := 0
		for j := range rank {
			sum := at(sigma, j)
			clear(sum[:])
			for k := range 2 * states {
				w, s := at(rows, next), at(h, k)
				next++
				for i := range sum {
					sum[i] += w[i] * s[i]
				}
			}
		}
		for k := range states {
			gr, gi, br, bi, cr, ci := at(rows, next), at(rows, next+1), at(rows, next+2), at(rows, next+3), at(rows, next+4), at(rows, next+5)
			next += 6
			re, im := at(h, 2*k), at(h, 2*k+1)
			var r, m row
			for i := range r {
				r[i] = br[i]*in[i] + gr[i]*re[i] - gi[i]*im[i]
				m[i] = bi[i]*in[i] + gr[i]*im[i] + gi[i]*re[i]
			}
			for j := range rank {
				pr, pi, s := at(rows, next), at(rows, next+1), at(sigma, j)
				next += 2
				for i := range r {
					r[i] -= pr[i] * s[i]
					m[i] -= pi[i] * s[i]
				}
			}
			for i := range r {
				re[i] += r[i]
				im[i] += m[i]
				out[i] += cr[i]*re[i] + ci[i]*im[i]
			}
		}
	}
	flushDenormals(h)
}
