package zoology

import (
	"errors"
	"fmt"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
)

// StateBytes returns the size of the state of a model after n positions, as Zoology and
// Based count it: 4 bytes for each of
//
//	MultiHead         2·G·D·n, or 2·G·D·Left with a window
//	LinearAttention   H·F·(hd+1), F being the number of features, 1+f+f(f+1)/2 for Taylor
//	BaseConv          d·K, or d·n with a long filter
//	Mamba, Mamba2     E·N
//	Hyena             d·n
//	H3                d·N
//
// Short convolutions within mixers are not counted, and windows without the position
// itself, so that the figures can be compared with those published. The states of streams
// of this library may be larger: linear attention keeps up to 63 keys, for instance. The
// error wraps [errors.ErrUnsupported] if there is a mixer of another kind.
func StateBytes(m *lm.Model, n int) (int, error) {
	elements, err := stateElements(m.Layers, n)
	return 4 * elements, err
}

func stateElements(m seqmix.Mixer, n int) (int, error) {
	switch m := m.(type) {
	case seqmix.Stack:
		sum := 0
		for _, part := range m {
			e, err := stateElements(part, n)
			if err != nil {
				return 0, err
			}
			sum += e
		}
		return sum, nil
	case *seqmix.Residual:
		return stateElements(m.Mixer, n)
	case *nn.LayerNorm, *nn.RMSNorm, *nn.MLP, *nn.GLU, *nn.Linear:
		return 0, nil
	case *attention.MultiHead:
		c := m.Config()
		keys := n
		if c.Left != nil && *c.Left >= 0 {
			keys = *c.Left
		}
		return 2 * c.KVHeads * c.HeadDim * keys, nil
	case *based.LinearAttention:
		c := m.Config()
		return c.Heads * c.Map.Features(c.FeatureDim) * (c.HeadDim + 1), nil
	case *based.BaseConv:
		if c := m.Config(); c.KernelSize > 0 {
			return c.DModel * c.KernelSize, nil
		}
		return m.Dim() * n, nil
	case *ssm.Mamba:
		return m.Config().DInner * m.Config().DState, nil
	case *ssm.Mamba2:
		return m.Config().DInner * m.Config().DState, nil
	case *ssm.H3:
		return m.Dim() * m.Config().DState, nil
	case *hyena.Hyena:
		return m.Dim() * n, nil
	}
	return 0, fmt.Errorf("zoology: the size of the state of a %T: %w", m, errors.ErrUnsupported)
}
