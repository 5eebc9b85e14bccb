package ssm

import (
	"math"
	"math/rand/v2"

	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// Init draws the parameters as state-spaces/mamba does: projections and convolution
// as PyTorch's layers begin; dt_bias so that Δ is logarithmically uniform between DTMin
// and DTMax; -A uniform within AInit; D and the weight of the norm 1; init_states and
// the biases of in_proj and out_proj 0. Language models scale out_proj.weight down
// afterwards, by the square root of the number of layers.
func (m *Mamba2) Init(r *rand.Rand) {
	m.inProj.Init(r)
	m.conv.Init(r)
	nn.Uniform(m.conv.Weight, r, m.cfg.ConvInit)
	m.outProj.Init(r)
	for _, p := range []*tensor.Tensor{m.inProj.Bias, m.outProj.Bias, m.initStates} {
		if p != nil {
			nn.Fill(p, 0)
		}
	}
	initSteps(m.dtBias, r, m.cfg.DTMin, m.cfg.DTMax, m.cfg.DTInitFloor)
	a := m.aLog.Data()
	for i := range a {
		a[i] = float32(math.Log(m.cfg.AInit[0] + r.Float64()*(m.cfg.AInit[1]-m.cfg.AInit[0])))
	}
	nn.Fill(m.d, 1)
	if m.norm != nil {
		nn.Fill(m.norm.Weight, 1)
	}
}
