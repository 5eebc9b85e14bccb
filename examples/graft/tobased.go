package main

import (
	"math"

	"github.com/seqmix/seqmix/based"
)

// toBased takes over values and output. Queries and keys become the leading directions of
// the scores, as many as there are features: the weights are 1+s+s²/2 of scores s that are
// near those of attention, where these depend on contents and not on distances.
func toBased(m *based.LinearAttention, p *profile) error {
	w, c := weightsOf(m), m.Config()
	w.set("proj_v.weight", 0, p.value, 1)
	w.set("out_proj.weight", 0, p.out, 1)
	scale := math.Pow(float64(c.FeatureDim), 0.25) // Taylor divides products by √f
	for h, head := range p.heads {
		a, b, err := factor(head.form, p.moment, c.FeatureDim)
		if err != nil {
			return err
		}
		w.set("proj_q.weight", h*c.FeatureDim, a, scale)
		w.set("proj_k.weight", h*c.FeatureDim, b, scale)
	}
	return nil
}
