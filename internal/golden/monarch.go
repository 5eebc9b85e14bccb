package golden

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

var _ = register(map[string]computation{
	"mul":         monarchMultiply,
	"inverse":     monarchInverse,
	"proj":        monarchProject,
	"paper":       monarchPaper,
	"bfly":        monarchButterfly,
	"dft":         monarchDFT,
	"order2":      monarchOrder,
	"order3":      monarchOrder,
	"order4":      monarchOrder,
	"order5":      monarchOrder,
	"monarch":     monarchLinear,
	"blockdiag":   monarchBlockDiag,
	"monarch/glu": monarchMLP,
	"monarch/mlp": monarchMLP,
	"mixer":       monarchMixer,
	"short":       monarchShortConv,
	"bidir":       monarchTwoSided,
	"causal":      monarchCausal,
	"flashfft":    monarchFlashFFT,
})

// vectors describes a tensor of a case as a matrix whose rows are vectors of n numbers.
func vectors(c *goldentest.Case, name string, n int) tensor.Mat {
	v := c.Tensor(name)
	return tensor.MatOf(v, len(v)/n, n)
}

// times multiplies the vectors in a tensor of a case by m.
func times(m *monarch.Matrix, c *goldentest.Case, name string) []float32 {
	w := 1
	if m.Complex() {
		w = 2
	}
	src := vectors(c, name, m.In()*w)
	dst := make([]float32, src.Rows*m.Out()*w)
	m.Apply(tensor.MatOf(dst, src.Rows, m.Out()*w), src)
	return dst
}

// timesGrad adds the gradients of times(m, c, "in.x") to r, with those of the factors under
// their names.
func timesGrad(r results, m *monarch.Matrix, c *goldentest.Case, factors map[string]*tensor.Tensor) {
	if !c.Has("grad.x") {
		return
	}
	w := 1
	if m.Complex() {
		w = 2
	}
	grads := seqmix.Grads{}
	for name, p := range factors {
		grads[p] = tensor.New(p.Shape()...)
		r["grad."+name] = grads.Of(p)
	}
	src := vectors(c, "in.x", m.In()*w)
	dx := zeros(src.Rows, src.Cols)
	m.Backward(dx, vectors(c, "in.dy", m.Out()*w), src, grads)
	r["grad.x"] = dx.Data
}

func monarchMultiply(c *goldentest.Case) (results, error) {
	var cfg struct {
		Complex bool `json:"complex"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	factors := monarch.New
	if cfg.Complex {
		factors = monarch.NewComplex
	}
	w1, w2 := tensorOf(c, "param.w1"), tensorOf(c, "param.w2")
	m, err := factors(w1, w2)
	if err != nil {
		return nil, err
	}
	r := results{
		"out.y":     times(m, c, "in.x"),
		"out.dense": m.Dense().Data(),
		"out.yt":    times(m.Transpose(), c, "in.dy"),
	}
	timesGrad(r, m, c, map[string]*tensor.Tensor{"w1": w1, "w2": w2})
	return r, nil
}

func monarchInverse(c *goldentest.Case) (results, error) {
	m, err := monarch.New(tensorOf(c, "param.w1"), tensorOf(c, "param.w2"))
	if err != nil {
		return nil, err
	}
	inverse, err := m.Inverse()
	if err != nil {
		return nil, err
	}
	return results{
		"out.x_inv":   times(inverse, c, "in.y"),
		"out.yt":      times(m.Transpose(), c, "in.y"),
		"out.inverse": inverse.Dense().Data(),
	}, nil
}

func monarchProject(c *goldentest.Case) (results, error) {
	var cfg struct {
		W1    [3]int  `json:"w1"`
		W2    [3]int  `json:"w2"`
		Error float64 `json:"error_fro"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	shape := monarch.Shape{K: cfg.W1[0], Q: cfg.W1[1], P: cfg.W1[2], L: cfg.W2[0], S: cfg.W2[1], R: cfg.W2[2]}
	w1, w2, distance, err := monarch.Project(tensorOf(c, "in.dense"), shape)
	if err != nil {
		return nil, err
	}
	if d := distance - cfg.Error; math.Abs(d) > 1e-6*max(cfg.Error, 1) {
		return nil, fmt.Errorf("the distance is %g, want %g", distance, cfg.Error)
	}
	m, err := monarch.New(w1, w2)
	if err != nil {
		return nil, err
	}
	return results{"out.approx": m.Dense().Data()}, nil
}

// monarchPaper runs the matrix of the Monarch Mixer paper: a digit swap, then a Monarch
// matrix.
func monarchPaper(c *goldentest.Case) (results, error) {
	m, err := monarch.NewSwapped(tensorOf(c, "param.L"), tensorOf(c, "param.R"))
	if err != nil {
		return nil, err
	}
	return results{"out.y": times(m, c, "in.x")}, nil
}

// monarchButterfly runs a layer of BlockdiagButterflyLinear, whose first factor has its
// rows in another order.
func monarchButterfly(c *goldentest.Case) (results, error) {
	var cfg struct {
		N2 int `json:"n2"`
		B1 int `json:"b1"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	w1, err := monarch.FromButterfly(tensorOf(c, "param.w1_bfly"), cfg.N2)
	if err != nil {
		return nil, err
	}
	w2 := tensorOf(c, "param.w2_bfly")
	m, err := monarch.New(w1, w2)
	if err != nil {
		return nil, err
	}
	y, bias := times(m, c, "in.x"), c.Tensor("param.bias")
	for i := range y {
		y[i] += bias[i%len(bias)]
	}
	r := results{"out.y": y, "grad.bias": make([]float32, len(bias))}
	for i, v := range c.Tensor("in.dy") {
		r["grad.bias"][i%len(bias)] += v
	}
	timesGrad(r, m, c, map[string]*tensor.Tensor{"w1_bfly": w1, "w2_bfly": w2})
	r["grad.w1_bfly"] = butterflyRows(r["grad.w1_bfly"], w1.Shape(), cfg.N2)
	return r, nil
}

// butterflyRows is the inverse of monarch.FromButterfly for values of the shape (K, Q, P).
func butterflyRows(v []float32, shape []int, blocks int) []float32 {
	q, p := shape[1], shape[2]
	rank := q / blocks
	w := make([]float32, len(v))
	for i := range shape[0] * q {
		block, row := i/q, i%q
		copy(w[i*p:(i+1)*p], v[(block*q+row%rank*blocks+row/rank)*p:])
	}
	return w
}

func monarchDFT(c *goldentest.Case) (results, error) {
	var cfg struct {
		I    int   `json:"I"`
		J    int   `json:"J"`
		Perm []int `json:"perm"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	forward, err := monarch.DFT(cfg.I, cfg.J)
	if err != nil {
		return nil, err
	}
	inverse, err := monarch.InverseDFT(cfg.I, cfg.J)
	if err != nil {
		return nil, err
	}
	// The factors make the transform of a permuted vector.
	w1, w2 := monarch.DFTFactors(cfg.I, cfg.J)
	factors, err := monarch.NewComplex(w1, w2)
	if err != nil {
		return nil, err
	}
	x := vectors(c, "in.x", 2*forward.In())
	permuted := tensor.MatOf(make([]float32, len(x.Data)), x.Rows, x.Cols)
	for i := range x.Rows {
		for to, from := range cfg.Perm {
			copy(permuted.Row(i)[2*to:2*to+2], x.Row(i)[2*from:])
		}
	}
	factors.Apply(permuted, permuted)
	if err := c.Compare("out.y", permuted.Data); err != nil {
		return nil, err
	}
	return results{
		"out.y": times(forward, c, "in.x"), "out.yi": times(inverse, c, "in.x"),
		"out.w1": w1.Data(), "out.w2": w2.Data(),
	}, nil
}

func monarchOrder(c *goldentest.Case) (results, error) {
	var factors []*tensor.Tensor
	for i := 0; c.Has(fmt.Sprint("param.b", i)); i++ {
		factors = append(factors, tensorOf(c, fmt.Sprint("param.b", i)))
	}
	if c.Has("param.w1") {
		factors = []*tensor.Tensor{tensorOf(c, "param.w2"), tensorOf(c, "param.w1")}
	}
	m, err := monarch.NewOrder(factors...)
	if err != nil {
		return nil, err
	}
	r := results{"out.y": times(m, c, "in.x")}
	named := map[string]*tensor.Tensor{}
	for i, w := range factors {
		named[fmt.Sprint("b", i)] = w
	}
	timesGrad(r, m, c, named)
	if len(factors) == 2 {
		plain, err := monarch.New(factors[1], factors[0])
		if err != nil {
			return nil, err
		}
		if !slices.Equal(r["out.y"], times(plain, c, "in.x")) {
			return nil, fmt.Errorf("a matrix of order two is not the same as one of any order with two factors")
		}
	}
	return r, nil
}

func monarchLinear(c *goldentest.Case) (results, error) {
	var cfg monarch.LinearConfig
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	l, err := monarch.NewLinear(cfg)
	if err != nil {
		return nil, err
	}
	return linearCase(c, l)
}

func monarchBlockDiag(c *goldentest.Case) (results, error) {
	var cfg monarch.LinearConfig
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	l, err := monarch.NewBlockDiag(cfg)
	if err != nil {
		return nil, err
	}
	return linearCase(c, l)
}

// linearCase runs a linear layer, and compares its matrix.
func linearCase(c *goldentest.Case, l interface {
	seqmix.Mixer
	Out() int
	Apply(dst, src tensor.Seq)
	Backward(dsrc, ddst, src tensor.Seq, grads seqmix.Grads)
	Matrix() *monarch.Matrix
}) (results, error) {
	if err := setParams(c, l, ""); err != nil {
		return nil, err
	}
	src := seqOf(c, "in.x")
	dst := tensor.NewSeq(src.Batch, src.Len, l.Out())
	l.Apply(dst, src)
	dx, grads := like(src), allGrads(l)
	l.Backward(dx, seqOf(c, "in.dy"), src, grads)
	r := results{"out.y": dst.Data, "out.dense": l.Matrix().Dense().Data(), "grad.x": dx.Data}
	for name, p := range l.Params() {
		r["grad."+name] = grads.Of(p)
	}
	return r, nil
}

func monarchMLP(c *goldentest.Case) (results, error) {
	var cfg struct {
		monarch.MLPConfig
		Blocks int `json:"nblocks"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	mlp := cfg.MLPConfig
	mlp.Blocks = cfg.Blocks
	mlp.Monarch = new(cfg.Blocks != 0)
	// The first projection has twice as many rows as the second has columns, if there is
	// a gate: the blocks of a shape that is not divisible are rounded up.
	in, out := c.Shape("param.gated_layers.weight"), c.Shape("param.wo.weight")
	mlp.GLU = new(in[len(in)-2] > out[len(out)-1])
	m, err := monarch.NewMLP(mlp)
	if err != nil {
		return nil, err
	}
	if err := setParams(c, m, ""); err != nil {
		return nil, err
	}
	return layer(c, m)
}

func monarchMixer(c *goldentest.Case) (results, error) {
	m, err := mixerOf(c)
	if err != nil {
		return nil, err
	}
	if err := setParams(c, m, ""); err != nil {
		return nil, err
	}
	r := results{}
	for in, out := range map[string]string{"in.u": "out.y", "in.u_alt": "out.y_alt"} {
		src := seqOf(c, in)
		dst := like(src)
		m.Mix(dst, src)
		r[out] = dst.Data
		if err := monarchPieces(c, m, src, out); err != nil {
			return nil, err
		}
	}
	return withGradients(c, m, r)
}

func mixerOf(c *goldentest.Case) (*monarch.Mixer, error) {
	var cfg struct {
		Dim           int     `json:"d"`
		LMax          int     `json:"l_max"`
		Bidirectional bool    `json:"bidirectional"`
		Residual      bool    `json:"residual_long_conv"`
		Norm          bool    `json:"hyena_training_additions"`
		EmbDim        int     `json:"emb_dim"`
		Width         int     `json:"filter_order"`
		WMod          float64 `json:"w_mod"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	return monarch.NewMixer(monarch.MixerConfig{
		Dim: cfg.Dim, LMax: cfg.LMax, Bidirectional: &cfg.Bidirectional, Residual: &cfg.Residual, Norm: cfg.Norm,
		EmbDim: cfg.EmbDim, Width: cfg.Width, WMod: cfg.WMod,
	})
}

// monarchPieces compares a stream, cut at every position, with the case, unless the mixer
// does not stream.
func monarchPieces(c *goldentest.Case, m seqmix.Streamer, src tensor.Seq, out string) error {
	for at := 1; at < src.Len; at++ {
		s, err := m.NewStream(src.Batch)
		if errors.Is(err, errors.ErrUnsupported) {
			return nil
		}
		if err != nil {
			return err
		}
		dst := like(src)
		s.Mix(dst.Slice(0, at), src.Slice(0, at))
		for t := at; t < src.Len; t++ {
			s.Mix(dst.Slice(t, t+1), src.Slice(t, t+1))
		}
		if err := c.Compare(out, dst.Data); err != nil {
			return fmt.Errorf("cut at %d: %w", at, err)
		}
	}
	return nil
}

func monarchShortConv(c *goldentest.Case) (results, error) {
	conv := &nn.CausalConv1D{Weight: tensorOf(c, "param.weight"), Bias: tensorOf(c, "param.bias"), Activation: nn.Identity}
	src := channelsLast(c, "in.u")
	dst, du, grads := like(src), like(src), allGrads(conv)
	conv.Mix(dst, src)
	conv.Backward(du, channelsLast(c, "in.dy"), src, grads)
	return results{
		"out.y": channelsFirst(dst), "grad.u": channelsFirst(du),
		"grad.weight": grads.Of(conv.Weight), "grad.bias": grads.Of(conv.Bias),
	}, nil
}

// monarchTwoSided runs a bidirectional convolution as monarch.Mixer does: with D in the tap
// of lag 0, and without the last tap of the other side.
func monarchTwoSided(c *goldentest.Case) (results, error) {
	src := channelsLast(c, "in.v")
	taps := func(name string) tensor.Mat {
		shape := c.Shape(name)
		return transposed(c.Tensor(name), 1, shape[0], shape[1]).Mat()
	}
	h, rev := taps("param.k_fwd"), taps("param.k_rev")
	for i, d := range c.Tensor("param.D") {
		h.Row(0)[i] += d
	}
	g := tensor.MatOf(make([]float32, len(rev.Data)), rev.Rows, rev.Cols)
	copy(g.Data[g.Cols:], rev.Data)
	conv := nn.NewTwoSidedConv(h, g)
	dst, dv, dh, dg := like(src), like(src), zeros(h.Rows, h.Cols), zeros(g.Rows, g.Cols)
	conv.Mix(dst, src)
	conv.Backward(dv, channelsLast(c, "in.dy"), src, dh, dg)
	drev := zeros(g.Rows, g.Cols) // the last tap has no gradient
	copy(drev.Data, dg.Data[g.Cols:])
	return results{
		"out.y": channelsFirst(dst), "grad.v": channelsFirst(dv),
		"grad.k_fwd": columnsOf(dh), "grad.k_rev": columnsOf(drev), "grad.D": dh.Row(0),
	}, nil
}

// monarchCausal runs one of the causal constructions.
func monarchCausal(c *goldentest.Case) (results, error) {
	if c.Has("param.A") {
		return monarchTriangle(c)
	}
	n := len(c.Tensor("in.u"))
	var conv *monarch.Convolution
	var bases [3]monarch.Basis
	var err error
	r := results{}
	switch {
	case c.Has("param.lambda_0"):
		for i := range bases {
			bases[i] = monarch.Basis{Lambda: tensorOf(c, fmt.Sprint("param.lambda_", i)), Rho: tensorOf(c, fmt.Sprint("param.rho_", i))}
			w1, w2, err := bases[i].Factors()
			if err != nil {
				return nil, err
			}
			r[fmt.Sprint("out.w1_", i)], r[fmt.Sprint("out.w2_", i)] = w1.Data(), w2.Data()
		}
		conv, err = monarch.NewPolynomialConvolution(bases[0], bases[1], bases[2])
	case strings.HasPrefix(c.Name, "causal_c3"):
		conv, err = monarch.NewChebyshevConvolution(n)
	default:
		conv, err = monarch.NewFourierConvolution(n)
	}
	if err != nil {
		return nil, err
	}
	column := func(name string) tensor.Mat { return tensor.MatOf(c.Tensor(name), n, 1) }
	k := "param.k"
	if !c.Has(k) {
		k = "in.k"
	}
	y := tensor.MatOf(make([]float32, n), n, 1)
	conv.Apply(y, column("in.u"), column(k))
	r["out.y"], r["out.dense"] = y.Data, conv.Dense(c.Tensor(k)).Data()
	if !c.Has("in.dy") {
		return r, nil
	}
	grads := seqmix.Grads{}
	for i, b := range bases {
		for name, p := range map[string]*tensor.Tensor{"grad.lambda_": b.Lambda, "grad.rho_": b.Rho} {
			if p != nil {
				grads[p] = tensor.New(p.Shape()...)
				r[name+fmt.Sprint(i)] = grads.Of(p)
			}
		}
	}
	du, dk := zeros(n, 1), zeros(n, 1)
	conv.Backward(du, dk, column("in.dy"), column("in.u"), column(k), grads)
	r["grad.u"], r["grad.k"] = du.Data, dk.Data
	return r, nil
}

// monarchTriangle runs a lower triangular Monarch matrix, whole and cut at every position.
func monarchTriangle(c *goldentest.Case) (results, error) {
	shape := c.Shape("param.A")
	m, err := monarch.NewCausalMixer(monarch.CausalConfig{Dim: 1, LMax: shape[0] * shape[1], Block: shape[1]})
	if err != nil {
		return nil, err
	}
	if err := setParams(c, m, ""); err != nil {
		return nil, err
	}
	x := c.Shape("in.x")
	src := tensor.SeqOf(c.Tensor("in.x"), x[0], x[1], 1)
	dst := like(src)
	m.Mix(dst, src)
	if err := monarchPieces(c, m, src, "out.y"); err != nil {
		return nil, err
	}
	dx, grads := like(src), allGrads(m)
	m.Backward(dx, tensor.SeqOf(c.Tensor("in.dy"), x[0], x[1], 1), src, grads)
	r := results{"out.y": dst.Data, "out.dense": m.Dense().Data(), "grad.x": dx.Data}
	for name, p := range m.Params() {
		r["grad."+name] = grads.Of(p)
	}
	return r, nil
}

// monarchFlashFFT convolves as FlashFFTConv does, with transforms of order two whose result
// is left in another order: that of the transposed frequencies.
func monarchFlashFFT(c *goldentest.Case) (results, error) {
	var cfg struct {
		N  int `json:"N"`
		N1 int `json:"N1"`
		N2 int `json:"N2"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	forward, err := monarch.DFT(cfg.N1, cfg.N2)
	if err != nil {
		return nil, err
	}
	inverse, err := monarch.InverseDFT(cfg.N1, cfg.N2)
	if err != nil {
		return nil, err
	}
	u, k := paddedSpectrum(c, "in.u", forward), paddedSpectrum(c, "in.k", forward)
	r := results{"out.spectrum": flashOrder(u, cfg.N1, cfg.N2), "out.kf_permuted": flashOrder(k, cfg.N1, cfg.N2)}
	// u has a batch of the channels that k has.
	for i := range u.Rows {
		x, h := u.Row(i), k.Row(i%k.Rows)
		for f := 0; f < len(x); f += 2 {
			x[f], x[f+1] = x[f]*h[f]-x[f+1]*h[f+1], x[f]*h[f+1]+x[f+1]*h[f]
		}
	}
	inverse.Apply(u, u)
	shape := c.Shape("in.u")
	length := shape[len(shape)-1]
	for i := range u.Rows {
		for t := range cfg.N {
			v := u.Row(i)[2*t]
			if t < length {
				r["out.y"] = append(r["out.y"], v)
			}
			r["out.y_full"] = append(r["out.y_full"], v)
		}
	}
	return r, nil
}

// paddedSpectrum returns the transforms of the rows of a real tensor of a case.
func paddedSpectrum(c *goldentest.Case, name string, dft *monarch.Matrix) tensor.Mat {
	shape := c.Shape(name)
	src := vectors(c, name, shape[len(shape)-1])
	z := tensor.MatOf(make([]float32, src.Rows*2*dft.In()), src.Rows, 2*dft.In())
	for i := range src.Rows {
		for t, v := range src.Row(i) {
			z.Row(i)[2*t] = v
		}
	}
	dft.Apply(z, z)
	return z
}

// flashOrder returns spectra with frequency k1 + n1·k2 in place (k1, k2).
func flashOrder(z tensor.Mat, n1, n2 int) []float32 {
	var v []float32
	for i := range z.Rows {
		for k1 := range n1 {
			for k2 := range n2 {
				f := k1 + n1*k2
				v = append(v, z.Row(i)[2*f], z.Row(i)[2*f+1])
			}
		}
	}
	return v
}
