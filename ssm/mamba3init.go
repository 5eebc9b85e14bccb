package ssm

import (
	"math/rand/v2"

	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// Init draws the parameters as state-spaces/mamba does: projections as PyTorch's
// layers begin; dt_bias so that Δ is logarithmically uniform between DTMin and DTMax;
// mimo_x and mimo_o one over the rank; all else 1. Language models scale
// out_proj.weight down afterwards, by the square root of the number of layers.
func (m *Mamba3) Init(r *rand.Rand) {
	m.inProj.Init(r)
	m.outProj.Init(r)
	initSteps(m.dtBias, r, m.cfg.DTMin, m.cfg.DTMax, m.cfg.DTInitFloor)
	for _, p := range []*tensor.Tensor{m.bBias, m.cBias, m.d, m.bNorm.Weight, m.cNorm.Weight, m.mimoZ} {
		if p != nil {
			nn.Fill(p, 1)
		}
	}
	if m.cfg.MIMO {
		nn.Fill(m.mimoX, 1/float32(m.cfg.MIMORank))
		nn.Fill(m.mimoO, 1/float32(m.cfg.MIMORank))
	}
	if m.norm != nil {
		nn.Fill(m.norm.Weight, 1)
	}
}
