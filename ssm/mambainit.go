package ssm

import (
	"math"
	"math/rand/v2"

	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// Init draws the parameters as state-spaces/mamba does: projections and convolution
// as PyTorch's layers begin, but for dt_proj, whose bias makes Δ logarithmically
// uniform between DTMin and DTMax; A = -1, -2 … -N for every channel (S4D-Real); D = 1;
// biases of in_proj and out_proj 0. Language models scale out_proj.weight down
// afterwards, by the square root of the number of layers.
func (m *Mamba) Init(r *rand.Rand) {
	m.inProj.Init(r)
	m.conv.Init(r)
	m.xProj.Init(r)
	m.outProj.Init(r)
	for _, l := range []*nn.Linear{m.inProj, m.outProj} {
		if l.Bias != nil {
			nn.Fill(l.Bias, 0)
		}
	}
	m.initSteps(r)
	a := m.aLog.Data()
	for i := range a {
		a[i] = float32(math.Log(float64(i%m.cfg.DState + 1)))
	}
	nn.Fill(m.d, 1)
	for _, n := range []*nn.RMSNorm{m.dtNorm, m.bNorm, m.cNorm} {
		if w := normWeight(n); w != nil {
			nn.Fill(w, 1)
		}
	}
}

// initSteps draws dt_proj.
func (m *Mamba) initSteps(r *rand.Rand) {
	bound := m.cfg.DTScale / math.Sqrt(float64(m.cfg.DTRank))
	if m.cfg.DTInit == "constant" {
		nn.Fill(m.dtProj.Weight, float32(bound))
	} else {
		nn.Uniform(m.dtProj.Weight, r, bound)
	}
	initSteps(m.dtProj.Bias, r, m.cfg.DTMin, m.cfg.DTMax, m.cfg.DTInitFloor)
}

// initSteps draws a bias whose softplus is logarithmically uniform, but not below floor.
func initSteps(bias *tensor.Tensor, r *rand.Rand, least, most, floor float64) {
	v := bias.Data()
	for i := range v {
		step := max(logUniform(r, least, most), floor)
		v[i] = float32(step + math.Log(-math.Expm1(-step))) // the inverse of softplus
	}
}

// logUniform returns a number whose logarithm is drawn evenly.
func logUniform(r *rand.Rand, least, most float64) float64 {
	low, high := math.Log(least), math.Log(most)
	return math.Exp(low + r.Float64()*(high-low))
}
