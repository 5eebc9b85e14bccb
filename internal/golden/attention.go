package golden

import (
	"fmt"

	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/tensor"
)

var _ = register(map[string]computation{
	"attention":       dotProduct,
	"rope":            rope,
	"attention_block": attentionBlock,
})

// dotProduct runs attention without projections, and its gradient.
func dotProduct(c *goldentest.Case) (results, error) {
	var cfg struct {
		Heads   int       `json:"H"`
		KVHeads int       `json:"Hkv"`
		Left    int       `json:"left"`
		Softcap float32   `json:"softcap"`
		Slopes  []float32 `json:"alibi_slopes"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	d := attention.DotProduct{Heads: cfg.Heads, KVHeads: cfg.KVHeads, Left: &cfg.Left, Softcap: cfg.Softcap, Slopes: cfg.Slopes}
	q, k, v, dy := headRows(c, "in.q"), headRows(c, "in.k"), headRows(c, "in.v"), headRows(c, "in.dy")
	y, recorded, dk, dv := like(q), like(q), like(k), like(v)
	d.Apply(y, q, k, v)
	tape := d.Record(recorded, q, k, v)
	if err := c.Compare("out.y", recorded.Data); err != nil {
		return nil, fmt.Errorf("recorded: %w", err)
	}
	tape.Backward(dy, dk, dv, dy)
	return results{"out.y": y.Data, "grad.q": dy.Data, "grad.k": dk.Data, "grad.v": dv.Data}, nil
}

// rope runs a rotary embedding and its gradient.
func rope(c *goldentest.Case) (results, error) {
	var cfg struct {
		HeadDim     int     `json:"D"`
		Dim         int     `json:"rotary_dim"`
		Base        float64 `json:"base"`
		Offset      int     `json:"offset"`
		Interleaved bool    `json:"interleaved"`
		Factor      float64 `json:"scaling_factor"` // of StripedHyena, which divides positions
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	config := attention.RoPEConfig{Base: cfg.Base, Dim: cfg.Dim, Interleaved: cfg.Interleaved}
	if cfg.Factor != 0 {
		config.Scaling = &attention.Scaling{Type: attention.LinearScaling, Factor: cfg.Factor}
	}
	r, err := attention.NewRoPE(config, cfg.HeadDim)
	if err != nil {
		return nil, err
	}
	x, dy := headRows(c, "in.x"), headRows(c, "in.dy")
	n := r.Pairs()
	cos, sin := make([]float32, x.Len*n), make([]float32, x.Len*n)
	for i := range x.Len {
		r.Table(cos[i*n:(i+1)*n], sin[i*n:(i+1)*n], cfg.Offset+i)
	}
	r.Rotate(x, x, cfg.Offset)
	r.Backward(dy, dy, cfg.Offset)
	return results{"out.y": x.Data, "out.cos": cos, "out.sin": sin, "grad.x": dy.Data}, nil
}

// attentionBlock runs a mixer as a whole, in pieces, and position by position. The
// caches of a case hold all keys, also those that have fallen out of a window.
func attentionBlock(c *goldentest.Case) (results, error) {
	m, prefix, err := multiHeadOf(c)
	if err != nil {
		return nil, err
	}
	src := seqOf(c, "in.u")
	y := like(src)
	m.Mix(y, src)
	keys, values, err := caches(m, src)
	if err != nil {
		return nil, err
	}
	if err := cutBlock(c, m, src, prefix); err != nil {
		return nil, err
	}
	r, err := withGradients(c, m, results{"out.y": y.Data, "state.k_final": keys.Data, "state.v_final": values.Data})
	if err != nil {
		return nil, err
	}
	for name, s := range map[string]tensor.Seq{"state.k_after_prefix": keys, "state.v_after_prefix": values} {
		part := tensor.NewSeq(s.Batch, prefix, s.Dim)
		tensor.Copy(part, s.Slice(0, prefix))
		r[name] = part.Data
	}
	return r, nil
}

func multiHeadOf(c *goldentest.Case) (m *attention.MultiHead, prefix int, err error) {
	var cfg struct {
		Dim         int     `json:"d_model"`
		Prefix      int     `json:"prefix"`
		Heads       int     `json:"H"`
		KVHeads     int     `json:"Hkv"`
		HeadDim     int     `json:"hd"`
		Left        int     `json:"left"`
		Base        float64 `json:"base"`
		Interleaved bool    `json:"interleaved"`
		Bias        bool    `json:"qkv_bias"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, 0, err
	}
	m, err = attention.NewMultiHead(attention.MultiHeadConfig{
		Dim: cfg.Dim, Heads: cfg.Heads, KVHeads: cfg.KVHeads, HeadDim: cfg.HeadDim, QKVBias: cfg.Bias, Left: &cfg.Left,
		RoPE: &attention.RoPEConfig{Base: cfg.Base, Interleaved: cfg.Interleaved},
	})
	if err == nil {
		err = setParams(c, m, "")
	}
	return m, cfg.Prefix, err
}

// caches returns the keys and values of all positions, each as the last one of the
// state after it.
func caches(m *attention.MultiHead, src tensor.Seq) (keys, values tensor.Seq, err error) {
	s, err := m.NewStream(src.Batch)
	if err != nil {
		return keys, values, err
	}
	width := m.Config().KVHeads * m.Config().HeadDim
	keys, values = tensor.NewSeq(src.Batch, src.Len, width), tensor.NewSeq(src.Batch, src.Len, width)
	y := tensor.NewSeq(src.Batch, 1, src.Dim)
	for i := range src.Len {
		s.Mix(y, src.Slice(i, i+1))
		k, v := s.(*attention.MultiHeadStream).State()
		n := k.Dim(1)
		tensor.Copy(keys.Slice(i, i+1), tensor.SeqOf(k.Data(), src.Batch, n, width).Slice(n-1, n))
		tensor.Copy(values.Slice(i, i+1), tensor.SeqOf(v.Data(), src.Batch, n, width).Slice(n-1, n))
	}
	return keys, values, nil
}

// cutBlock compares what a stream makes of a prefix, of two positions and of single
// ones.
func cutBlock(c *goldentest.Case, m *attention.MultiHead, src tensor.Seq, prefix int) error {
	s, err := m.NewStream(src.Batch)
	if err != nil {
		return err
	}
	y := like(src)
	at := 0
	mix := func(n int) {
		n = min(n, src.Len-at)
		s.Mix(y.Slice(at, at+n), src.Slice(at, at+n))
		at += n
	}
	mix(prefix)
	mix(2)
	for at < src.Len {
		mix(1)
	}
	if err := c.Compare("out.y", y.Data); err != nil {
		return fmt.Errorf("a prefix of %d and smaller pieces: %w", prefix, err)
	}
	return nil
}
