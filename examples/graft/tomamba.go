package main

import (
	"math"

	"github.com/seqmix/seqmix/ssm"
)

// toMamba is toMamba2 with the states of all channels read and written alike: keys and
// queries are those of the mean of all heads. They are made of what goes through the
// channels, so half of the channels, as many as there are values, carry values, and of the
// others some the queries, the keys and the 1.
func toMamba(m *ssm.Mamba, p *profile) error {
	w, c := weightsOf(m), m.Config()
	d, inner := c.DModel, c.DInner
	rank := min(c.DState-1, (inner-d-1)/2)
	read, write, err := factor(p.meanForm(), p.covariance, rank)
	if err != nil {
		return err
	}
	queries, keys, constant := d, d+rank, d+2*rank

	// Channels: in_proj, and the short convolution that hands them on.
	w.set("in_proj.weight", 0, p.value, small)
	w.set("in_proj.weight", queries, read, small)
	w.set("in_proj.weight", keys, write, small)
	w.fill("in_proj.weight", constant, constant+1, 0)
	w.fill("in_proj.bias", 0, constant+1, 0)
	w.set("in_proj.bias", queries, column(p.offset(read)), small)
	w.set("in_proj.bias", keys, column(p.offset(write)), small)
	w.pass("conv1d.weight", 0, constant+1, 2)
	w.fill("conv1d.bias", 0, constant+1, 0)
	w.fill("conv1d.bias", constant, constant+1, inverseSiLU(small))

	// Gates of values are open, and nothing else comes out.
	w.fill("in_proj.weight", inner, inner+d, 0)
	w.fill("in_proj.bias", inner, inner+d, one)
	w.fill("out_proj.weight", 0, d, 0)
	w.set("out_proj.weight", 0, p.out, 1)
	w.fill("out_proj.bias", 0, d, 0)
	w.fill("D", 0, d, 0)

	// What is written and read: the first state is that of the 1.
	rows := int(c.DTRank) + 2*c.DState
	w.fill("x_proj.weight", 0, rows, 0)
	for part, first := range [2]int{keys, queries} {
		row := int(c.DTRank) + part*c.DState
		x := w["x_proj.weight"].Data()
		x[row*inner+constant] = 1
		for r := range rank {
			x[(row+1+r)*inner+first+r] = 1
		}
	}
	width := d / len(p.heads)
	for h, head := range p.heads {
		rho := head.forgetting()
		step := (1 - rho) / (small * small * small)
		w.fill("dt_proj.bias", h*width, (h+1)*width, inverseSoftplus(step))
		w.fill("A_log", h*width, (h+1)*width, math.Log(-math.Log(rho)/step))
	}
	return nil
}
