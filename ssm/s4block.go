package ssm

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// An S4BlockConfig describes an [S4Block]. Only DModel has to be given.
type S4BlockConfig struct {
	DModel int `json:"d_model"`

	// The system in the middle: an S4 or, if S4D is not nil, an S4D. It has DModel
	// channels unless its own DModel says otherwise.
	S4  S4Config   `json:"s4"`
	S4D *S4DConfig `json:"s4d,omitempty"`

	// InputLinear puts a projection in front of the system. There is one in any case
	// if the system is not DModel wide: "bottleneck" in state-spaces/s4.
	InputLinear bool `json:"input_linear,omitempty"`
}

// An S4Block is a layer of the S4 networks: a linear time-invariant system, an
// activation, and a gated projection that mixes the channels. With d for its width and
// H for the channels of the system,
//
//	v    = input_linear(src), or src         H
//	w    = GELU(system(v))                   H, the exact GELU
//	a, b = split(output_linear.0(w))         d, d
//	dst  = a · σ(b)
//
// at every position. It is S4Block of models/s4/s4.py in state-spaces/s4 or, with an
// S4D of the layout StandaloneS4D, the class S4D of models/s4/s4d.py there.
//
// The parameters are input_linear.weight (H, d) and input_linear.bias (H) if there is
// such a projection, those of the system with layer. before their names (nothing, of
// StandaloneS4D), output_linear.0.weight (2d, H) and output_linear.0.bias (2d).
// Checkpoints in which the weight belongs to a convolution with one tap have a third
// dimension of one.
type S4Block struct {
	cfg           S4BlockConfig
	layer         seqmix.Streamer
	system        *lti
	prefix        string
	input, output *nn.Linear // input may be nil
}

// NewS4Block returns a mixer whose parameters are ready to be loaded; see
// [S4Block.Init].
func NewS4Block(cfg S4BlockConfig) (*S4Block, error) {
	if cfg.DModel < 1 || float64(cfg.DModel) > maxElements {
		return nil, fmt.Errorf("ssm: S4Block with d_model %d, want at least 1", cfg.DModel)
	}
	m := &S4Block{prefix: "layer."}
	if cfg.S4D != nil {
		inner := *cfg.S4D
		setDefault(&inner.DModel, cfg.DModel)
		layer, err := NewS4D(inner)
		if err != nil {
			return nil, err
		}
		inner = layer.Config()
		cfg.S4D, m.layer, m.system = &inner, layer, &layer.lti
		if inner.Layout == StandaloneS4D {
			m.prefix = ""
		}
	} else {
		setDefault(&cfg.S4.DModel, cfg.DModel)
		layer, err := NewS4(cfg.S4)
		if err != nil {
			return nil, err
		}
		cfg.S4, m.layer, m.system = layer.Config(), layer, &layer.lti
	}
	h := m.layer.Dim()
	if 2*float64(cfg.DModel)*float64(h) > maxElements {
		return nil, fmt.Errorf("ssm: S4Block with d_model %d and %d channels has more than %d elements in a parameter", cfg.DModel, h, maxElements)
	}
	cfg.InputLinear = cfg.InputLinear || h != cfg.DModel
	if cfg.InputLinear {
		m.input = nn.NewLinear(cfg.DModel, h, true)
	}
	m.cfg, m.output = cfg, nn.NewLinear(h, 2*cfg.DModel, true)
	return m, nil
}

// Config returns the configuration with all fields filled in.
func (m *S4Block) Config() S4BlockConfig { return m.cfg }

// Dim returns the width of the vectors.
func (m *S4Block) Dim() int { return m.cfg.DModel }

// Layer returns the system in the middle, an *[S4] or an *[S4D].
func (m *S4Block) Layer() seqmix.Streamer { return m.layer }

// Params yields the parameters in the order of checkpoints.
func (m *S4Block) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		if m.input != nil && (!yield("input_linear.weight", m.input.Weight) || !yield("input_linear.bias", m.input.Bias)) {
			return
		}
		for name, p := range m.layer.Params() {
			if !yield(m.prefix+name, p) {
				return
			}
		}
		if yield("output_linear.0.weight", m.output.Weight) {
			yield("output_linear.0.bias", m.output.Bias)
		}
	}
}

// Init draws the parameters: the projections as PyTorch's layers begin, and see
// [S4.Init] and [S4D.Init].
func (m *S4Block) Init(r *rand.Rand) {
	if m.input != nil {
		m.input.Init(r)
	}
	m.layer.(interface{ Init(*rand.Rand) }).Init(r)
	m.output.Init(r)
}

// Mix computes whole sequences.
func (m *S4Block) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("ssm.S4Block.Mix", dst, src, m.Dim())
	if src.Len == 0 || src.Batch == 0 {
		return
	}
	s := s4BlockStreams.Get().(*S4BlockStream)
	t := m.system.tables()
	if t.backward != nil || convolutionPays(t.cost(), m.system.dim, src.Len) {
		s.block = m
		s.scratch.Reset()
		v := s.inputOf(dst, src)
		m.layer.Mix(v.dst, v.src)
		s.outputOf(dst, v.dst)
	} else {
		s.begin(m, t.forward, src.Batch)
		mixBlocks(s, dst, src, 0, nil)
	}
	s.release()
}

// s4BlockStreams holds the streams that whole sequences are computed with.
var s4BlockStreams = sync.Pool{New: func() any { return new(S4BlockStream) }}

// NewStream returns an *[S4BlockStream] at the beginning of batch sequences. The error
// wraps errors.ErrUnsupported if the system is bidirectional.
func (m *S4Block) NewStream(batch int) (seqmix.Stream, error) {
	rec, err := m.system.streaming(batch)
	if err != nil {
		return nil, err
	}
	s := new(S4BlockStream)
	s.begin(m, rec, batch)
	return s, nil
}
