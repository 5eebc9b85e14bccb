package monarch

import (
	"github.com/seqmix/seqmix/tensor"
)

// A stage is a block-diagonal matrix between two permutations. Everything in this
// package is a chain of stages: what is called a permutation elsewhere is here only
// the places that a block reads and writes.
type stage struct {
	blocks, out, in int
	weights         *tensor.Tensor // (blocks, out, in)
	source          *tensor.Tensor // the complex factor that weights were made of, or nil
	from            []int          // input i of block b is element from[b*in+i] of a vector
	to              []int          // output o of block b is element to[b*out+o]
}

// newStage returns a stage whose block b reads the elements from(b, i) and writes the
// elements to(b, o).
func newStage(w *tensor.Tensor, blocks, out, in int, from, to func(b, i int) int) stage {
	s := stage{blocks: blocks, out: out, in: in, weights: w, from: make([]int, blocks*in), to: make([]int, blocks*out)}
	for b := range blocks {
		for i := range in {
			s.from[b*in+i] = from(b, i)
		}
		for o := range out {
			s.to[b*out+o] = to(b, o)
		}
	}
	return s
}

// contiguous and strided are the two ways in which blocks divide a vector: block b of
// n has the elements b·n+i, or, if there are n blocks, i·n+b.
func contiguous(n int) func(b, i int) int { return func(b, i int) int { return b*n + i } }
func strided(n int) func(b, i int) int    { return func(b, i int) int { return i*n + b } }

// A pass is a stage, planned. Vectors are multiplied in strips of 32 that lie side by
// side in the lanes: a strip of vectors of n elements is n rows, which is the form in
// which kernel.Gemm takes a packed weight matrix. So the vectors stand in the place of
// the weights and the weights in that of the activations.
//
// Between two passes the rows are ordered such that the inputs of each block of the
// second are next to each other. The first pass puts them there by the distance
// between the rows that it writes, and nothing is shuffled.
type pass struct {
	stage
	gather []run // inputs of block b: gather[gathers[b]:gathers[b+1]]; first pass only
	runs   []run // outputs of block b: runs[firsts[b]:firsts[b+1]]
	gathers,
	firsts []int
}

// A run is a part of the rows of a block: those from row on, step apart, n of them. The
// places where they come from or go to begin with at and are ld apart.
type run struct{ row, step, n, at, ld int }

// newPass plans a stage whose outputs go to the places at[element].
func newPass(s stage, at []int, first bool) pass {
	p := pass{stage: s}
	places := make([]int, s.out)
	step := 0
	for b := range s.blocks {
		for o := range places {
			places[o] = at[s.to[b*s.out+o]]
		}
		if b == 0 {
			step = bestStep(places)
		}
		p.firsts = append(p.firsts, len(p.runs))
		p.runs = appendRuns(p.runs, places, step)
		if first {
			p.gathers = append(p.gathers, len(p.gather))
			p.gather = appendRuns(p.gather, s.from[b*s.in:(b+1)*s.in], 1)
		}
	}
	p.firsts = append(p.firsts, len(p.runs))
	p.gathers = append(p.gathers, len(p.gather))
	return p
}

// outputs returns the runs of the outputs of block b, inputs those of the inputs.
func (p *pass) outputs(b int) []run { return p.runs[p.firsts[b]:p.firsts[b+1]] }
func (p *pass) inputs(b int) []run  { return p.gather[p.gathers[b]:p.gathers[b+1]] }

// bestStep returns the step with which the places make the fewest runs.
func bestStep(places []int) int {
	best, fewest := 1, len(appendRuns(nil, places, 1))
	for step := 2; step < fewest; step++ {
		if n := len(appendRuns(nil, places, step)); n < fewest {
			best, fewest = step, n
		}
	}
	return best
}

// appendRuns divides the rows of a block into runs of rows step apart whose places are
// equally far from each other, in ascending order.
func appendRuns(runs []run, places []int, step int) []run {
	for first := range min(step, len(places)) {
		for row := first; row < len(places); {
			r := run{row: row, step: step, n: 1, at: places[row], ld: 1}
			if next := row + step; next < len(places) && places[next] > places[row] {
				r.ld = places[next] - places[row]
				for next < len(places) && places[next]-places[next-step] == r.ld {
					r.n++
					next += step
				}
			}
			runs = append(runs, r)
			row += r.n * step
		}
	}
	return runs
}
