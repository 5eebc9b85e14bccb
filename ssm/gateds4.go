package ssm

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/memo"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/internal/paramlist"
	"github.com/seqmix/seqmix/internal/rowmat"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// A GatedS4Config describes a [GatedS4]. Only DModel has to be given; the zero value of
// every other field stands for what comes after it.
type GatedS4Config struct {
	DModel     int  `json:"d_model"`           // width d of the vectors
	DInner     int  `json:"d_inner,omitempty"` // channels E of the convolution and the gate; 2·DModel
	DConv      int  `json:"d_conv,omitempty"`  // taps of the convolution; 4
	Bias       bool `json:"bias,omitempty"`    // biases of in_proj and out_proj
	NoConvBias bool `json:"no_conv_bias,omitempty"`

	// SSM is the block in the place of the selective scan. Its width is DInner.
	SSM S4BlockConfig `json:"ssm"`
}

// A GatedS4 is the mixer of Mamba with an [S4Block] in the place of the selective scan,
// as CleanUMamba has it (arXiv:2410.11062): with src of width d,
//
//	x, z = split(W_in · src)                 E, E
//	x    = SiLU(conv1d(x))                   K taps for each channel
//	dst  = W_out · (ssm(x) · SiLU(z))
//
// at every position.
//
// Its parameters are in_proj.weight (2E, d), conv1d.weight (E, 1, K), conv1d.bias (E),
// those of the block with ssm. before their names, and out_proj.weight (d, E); with
// Bias, in_proj.bias (2E) and out_proj.bias (d) too.
type GatedS4 struct {
	cfg             GatedS4Config
	inProj, outProj *nn.Linear
	conv            *nn.CausalConv1D
	block           *S4Block
	taps            memo.Memo[[]float32]
}

// NewGatedS4 returns a mixer whose parameters are ready to be loaded; see
// [GatedS4.Init].
func NewGatedS4(cfg GatedS4Config) (*GatedS4, error) {
	setDefault(&cfg.DInner, 2*cfg.DModel)
	setDefault(&cfg.DConv, 4)
	setDefault(&cfg.SSM.DModel, cfg.DInner)
	d, e := cfg.DModel, cfg.DInner
	switch {
	case d < 1 || e < 1 || cfg.DConv < 1 || cfg.SSM.DModel != e:
		return nil, fmt.Errorf("ssm: GatedS4 with d_model %d, d_inner %d, d_conv %d and a block of width %d, want at least 1, and d_inner for the block", d, e, cfg.DConv, cfg.SSM.DModel)
	case 2*float64(e)*float64(max(d, cfg.DConv)) > maxElements:
		return nil, fmt.Errorf("ssm: GatedS4 with d_model %d, d_inner %d and d_conv %d has more than %d elements in a parameter", d, e, cfg.DConv, maxElements)
	}
	block, err := NewS4Block(cfg.SSM)
	if err != nil {
		return nil, err
	}
	cfg.SSM = block.Config()
	if block.system.bidirectional {
		return nil, fmt.Errorf("ssm: GatedS4 with a bidirectional system, but its convolution is causal")
	}
	return &GatedS4{
		cfg: cfg, block: block,
		inProj: nn.NewLinear(d, 2*e, cfg.Bias), outProj: nn.NewLinear(e, d, cfg.Bias),
		conv: nn.NewCausalConv1D(e, cfg.DConv, !cfg.NoConvBias, nn.SiLU),
	}, nil
}

// GatedS4ConfigOf returns the configuration of a mixer with an [S4] whose parameters are
// known: shape returns the shape of the tensor of the given name (see
// [GatedS4.Params]), or nil if there is none. See [MambaConfigOf].
func GatedS4ConfigOf(shape func(name string) []int) (GatedS4Config, error) {
	in, conv := shape("in_proj.weight"), shape("conv1d.weight")
	c, a, p := shape("ssm.layer.kernel.C"), shape("ssm.layer.kernel.A_real"), shape("ssm.layer.kernel.P")
	if len(in) != 2 || len(conv) != 3 || len(c) != 4 || len(a) != 2 || len(p) != 4 {
		return GatedS4Config{}, errors.New("ssm: not the parameters of a GatedS4: want in_proj.weight with two dimensions, conv1d.weight with three, and ssm.layer.kernel.C, A_real and P with four, two and four")
	}
	if min(in[1], conv[0], conv[2], c[1], c[2], a[0], p[0]) < 1 {
		return GatedS4Config{}, fmt.Errorf("ssm: parameters of a GatedS4 without elements: in_proj.weight %v, conv1d.weight %v, kernel.C %v, kernel.A_real %v, kernel.P %v", in, conv, c, a, p)
	}
	return GatedS4Config{
		DModel: in[1], DInner: conv[0], DConv: conv[2],
		Bias: shape("in_proj.bias") != nil, NoConvBias: shape("conv1d.bias") == nil,
		SSM: S4BlockConfig{
			DModel: conv[0], InputLinear: shape("ssm.input_linear.weight") != nil,
			S4: S4Config{DModel: c[1], DState: 2 * c[2], NSSM: a[0], Rank: p[0], Bidirectional: c[0] == 2},
		},
	}, nil
}

// Config returns the configuration with all fields filled in.
func (m *GatedS4) Config() GatedS4Config { return m.cfg }

// Dim returns the width of the vectors.
func (m *GatedS4) Dim() int { return m.cfg.DModel }

// Block returns the block in the middle.
func (m *GatedS4) Block() *S4Block { return m.block }

// Params yields the parameters in the order of checkpoints.
func (m *GatedS4) Params() iter.Seq2[string, *tensor.Tensor] {
	list := []paramlist.Named{
		paramlist.Of("in_proj.weight", m.inProj.Weight), paramlist.Of("in_proj.bias", m.inProj.Bias),
		paramlist.Of("conv1d.weight", m.conv.Weight), paramlist.Of("conv1d.bias", m.conv.Bias),
	}
	for name, p := range m.block.Params() {
		list = append(list, paramlist.Of("ssm."+name, p))
	}
	return paramlist.Yield(append(list, paramlist.Of("out_proj.weight", m.outProj.Weight), paramlist.Of("out_proj.bias", m.outProj.Bias))...)
}

// Init draws the parameters: the layers around the system as PyTorch's begin, and see
// [S4Block.Init].
func (m *GatedS4) Init(r *rand.Rand) {
	m.inProj.Init(r)
	m.conv.Init(r)
	m.block.Init(r)
	m.outProj.Init(r)
}

// Mix computes whole sequences.
func (m *GatedS4) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("ssm.GatedS4.Mix", dst, src, m.Dim())
	if src.Len == 0 || src.Batch == 0 {
		return
	}
	s := gatedS4Streams.Get().(*GatedS4Stream)
	s.begin(m, m.block.system.tables().forward, src.Batch)
	mixBlocks(s, dst, src, 0, nil)
	s.release()
}

// gatedS4Streams holds the streams that whole sequences are computed with.
var gatedS4Streams = sync.Pool{New: func() any { return new(GatedS4Stream) }}

// NewStream returns a *[GatedS4Stream] at the beginning of batch sequences.
func (m *GatedS4) NewStream(batch int) (seqmix.Stream, error) {
	rec, err := m.block.system.streaming(batch)
	if err != nil {
		return nil, err
	}
	s := new(GatedS4Stream)
	s.begin(m, rec, batch)
	return s, nil
}

// A GatedS4Stream is a [GatedS4] in the middle of a batch of sequences. It sees the
// parameters as they are when it is made or reset.
type GatedS4Stream struct {
	mixer   *GatedS4
	conv    shortConv
	block   S4BlockStream
	scratch tensor.Scratch
	gate    siluGate
}

// begin makes s a stream at the beginning of its sequences, using its memory again.
func (s *GatedS4Stream) begin(m *GatedS4, rec recurrence, batch int) {
	s.mixer = m
	s.block.begin(m.block, rec, batch)
	s.conv.begin(batch, m.cfg.DInner, m.cfg.DConv)
	clear(s.conv.inputs)
	s.conv.w, s.conv.bias = m.taps.Get(func() []float32 { return packConvTaps(m.conv) }, m.conv.Weight), paramlist.Data(m.conv.Bias)
}

func (s *GatedS4Stream) release() {
	s.mixer, s.block.block, s.block.layer.system, s.block.layer.rec = nil, nil, nil, nil
	s.conv.w, s.conv.bias = nil, nil
	gatedS4Streams.Put(s)
}

// Reset returns to the beginning of the sequences.
func (s *GatedS4Stream) Reset() {
	s.begin(s.mixer, s.mixer.block.system.tables().forward, s.block.layer.batch)
}

// Clone returns an independent stream in the same state.
func (s *GatedS4Stream) Clone() seqmix.Stream {
	c := new(GatedS4Stream)
	c.begin(s.mixer, s.block.layer.rec, s.block.layer.batch)
	c.conv.w, c.conv.bias = s.conv.w, s.conv.bias
	copy(c.conv.inputs, s.conv.inputs)
	copy(c.block.layer.state, s.block.layer.state)
	return c
}

// Mix computes the next positions.
func (s *GatedS4Stream) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("ssm.GatedS4Stream.Mix", dst, src, s.mixer.Dim())
	tensor.CheckSeq("ssm.GatedS4Stream.Mix", src, s.block.layer.batch, -1, -1)
	mixBlocks(s, dst, src, 0, nil)
}

// mixBlock computes one block.
func (s *GatedS4Stream) mixBlock(dst, src tensor.Seq, first, _ int, _ []int) {
	m := s.mixer
	e, rows := m.cfg.DInner, src.Batch*src.Len
	s.scratch.Reset()
	s.block.scratch.Reset()
	xz, y := tensor.MatOf(s.scratch.Take(rows*2*e), rows, 2*e), s.scratch.TakeSeq(src.Batch, src.Len, e)
	m.inProj.ApplyMat(xz, rowmat.Gather(src, &s.scratch))
	x, z := xz.Slice(0, e), xz.Slice(e, 2*e)
	s.conv.run(convBlock{first: first, sequences: src.Batch, length: src.Len, x: x})
	for i := range rows {
		copy(y.Mat().Row(i), x.Row(i))
	}
	s.block.mix(y, y, first)
	s.gate.run(y.Mat(), z)
	out := rowmat.Of(dst)
	if out.Data == nil {
		out = tensor.MatOf(s.scratch.Take(rows*dst.Dim), rows, dst.Dim)
	}
	m.outProj.ApplyMat(out, y.Mat())
	rowmat.Scatter(dst, out)
	s.block.scratch.Release()
	s.scratch.Release()
}

// A siluGate multiplies the rows of a matrix by the SiLU of those of another.
type siluGate struct{ y, z tensor.Mat }

func (g *siluGate) run(y, z tensor.Mat) {
	g.y, g.z = y, z
	par.Do(y.Rows, stageGrain/max(y.Cols, 1)+1, g)
	*g = siluGate{}
}

// Run computes rows lo to hi-1.
func (g *siluGate) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		kernel.SiLUMul(g.y.Row(i), g.z.Row(i), g.y.Row(i))
	}
}

// State returns a copy of the state: conv, of shape (batch, K-1, E), holds the last
// inputs of the convolution, oldest first, and ssm is that of [LTIStream.State].
func (s *GatedS4Stream) State() (conv, ssm *tensor.Tensor) {
	conv = tensor.New(s.block.layer.batch, s.mixer.cfg.DConv-1, s.mixer.cfg.DInner)
	s.conv.copyInputs(conv.Data(), false)
	return conv, s.block.layer.State()
}

// SetState replaces the state by one of the form that State returns. A part that is
// nil stays as it is. It panics with a *tensor.ShapeError if a shape does not fit.
func (s *GatedS4Stream) SetState(conv, ssm *tensor.Tensor) {
	checkShape("ssm.GatedS4Stream.SetState", conv, s.block.layer.batch, s.mixer.cfg.DConv-1, s.mixer.cfg.DInner)
	if ssm != nil {
		s.block.layer.SetState(ssm)
	}
	if conv != nil {
		s.conv.copyInputs(conv.Float32s(), true)
	}
}

func (s *GatedS4Stream) record() state.Record {
	return state.Record{
		Kind: "ssm.GatedS4", Version: 1,
		Ints: []int{s.block.layer.batch, s.mixer.cfg.DInner, s.mixer.cfg.DConv},
	}
}

// AppendBinary appends the state.
func (s *GatedS4Stream) AppendBinary(b []byte) ([]byte, error) {
	inner, err := s.block.AppendBinary(nil)
	r := s.record()
	r.Floats, r.Nested = state.FloatsOf(s.conv.saved()), [][]byte{inner}
	return r.Append(b), err
}

// UnmarshalBinary replaces the state by a saved one, of a stream with as many sequences
// of a mixer with the same sizes.
func (s *GatedS4Stream) UnmarshalBinary(saved []byte) error {
	want := s.record()
	r, err := state.Decode(saved, want.Kind, want.Version, want.Ints...)
	if err == nil {
		err = r.WantFloats(len(s.conv.inputs))
	}
	if err == nil && len(r.Nested) != 1 {
		err = fmt.Errorf("saved state of a %s with %d records inside, want 1", want.Kind, len(r.Nested))
	}
	if err != nil {
		return fmt.Errorf("ssm: %w", err)
	}
	if err := s.block.UnmarshalBinary(r.Nested[0]); err != nil {
		return err
	}
	s.conv.restore(r.Floats[0])
	return nil
}
