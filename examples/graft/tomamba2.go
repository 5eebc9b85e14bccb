package main

import (
	"math"

	"github.com/seqmix/seqmix/ssm"
	"gonum.org/v1/gonum/mat"
)

// small is how large signals are made before a SiLU, compared with what they are in
// attention, so that it is nearly linear: SiLU(2x) = x + x·tanh(x).
const small = 0.25

// one is what SiLU makes 1.
var one = inverseSiLU(1)

// toMamba2 makes values the inputs of states, keys what is added for them, queries what is
// read, and takes over the output. Each head becomes
//
//	y_i = Σ_j (1-ρ)·ρ^(i-j) · (1 + s_ij)·v_j
//
// which is its softmax to first order in the scores s, around weights that decay with the
// distance and reach as far as its own do in the mean. The 1 takes one state of each head;
// scores have the others. Gates are open and the short convolution hands on its input.
func toMamba2(m *ssm.Mamba2, p *profile) error {
	w, c := weightsOf(m), m.Config()
	heads := len(p.heads)
	x := c.DInner // the first row of each part of in_proj; gates come first
	b := x + c.DInner
	q := b + c.NGroups*c.DState
	dt := q + c.NGroups*c.DState
	w.fill("in_proj.weight", 0, dt+heads, 0)
	w.fill("in_proj.bias", 0, dt+heads, 0)
	w.fill("in_proj.bias", 0, x, one)
	w.pass("conv1d.weight", 0, dt-x, 2)
	w.fill("conv1d.bias", 0, dt-x, 0)
	w.set("in_proj.weight", x, p.value, small)
	w.set("out_proj.weight", 0, p.out, 1)
	w.fill("out_proj.bias", 0, c.DModel, 0)
	w.fill("D", 0, w["D"].Dim(0), 0)
	for h, head := range p.heads {
		read, write, err := factor(head.form, p.covariance, c.DState-1)
		if err != nil {
			return err
		}
		for row, a := range map[int]*mat.Dense{b + h*c.DState: write, q + h*c.DState: read} {
			w.fill("conv1d.bias", row-x, row-x+1, inverseSiLU(small))
			w.set("in_proj.weight", row+1, a, small)
			w.set("in_proj.bias", row+1, column(p.offset(a)), small)
		}
		// The sum of (1-ρ)·ρ^d is 1. Values, keys and queries are small, which Δ makes up for.
		rho := head.forgetting()
		step := (1 - rho) / (small * small * small)
		w.fill("dt_bias", h, h+1, inverseSoftplus(step))
		w.fill("A_log", h, h+1, math.Log(-math.Log(rho)/step))
	}
	return nil
}
