package golden

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/monarch"
	"github.com/seqmix/seqmix/tensor"
)

var _ = register(map[string]computation{
	"m2bert": m2BERT,
})

// m2BERT runs a whole encoder or, if the case has no checkpoint, one layer.
func m2BERT(c *goldentest.Case) (results, error) {
	var cfg struct {
		Directories []string `json:"directory"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	if len(cfg.Directories) == 0 {
		return m2OneLayer(c)
	}
	var files []string
	for _, d := range cfg.Directories {
		for _, pattern := range []string{"*.safetensors", "*.bin", "*.pt"} {
			found, err := filepath.Glob(filepath.Join(c.Dir(), d, pattern))
			if err != nil {
				return nil, err
			}
			files = append(files, found...)
		}
	}
	// The configuration is in the first directory only, and a file may have no pooler.
	o := exactly
	o.Config = filepath.Join(c.Dir(), cfg.Directories[0], "config.json")
	all := results{}
	_, err := eachStored(files, func(path string) (results, error) {
		e, err := checkpoint.LoadEncoder(path, o)
		if err != nil {
			return nil, err
		}
		pooled := results{}
		r, err := m2Results(c, e, pooled)
		maps.Copy(all, r)
		maps.Copy(all, pooled)
		return r, err
	})
	return all, err
}

func m2OneLayer(c *goldentest.Case) (results, error) {
	var cfg struct {
		Dim    int `json:"d"`
		Hidden int `json:"intermediate_size"`
		Blocks int `json:"nblocks"`
		LMax   int `json:"l_max"`
		Width  int `json:"filter_order"`
	}
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	mixer, err := monarch.NewMixer(monarch.MixerConfig{Dim: cfg.Dim, LMax: cfg.LMax, Width: cfg.Width})
	if err != nil {
		return nil, err
	}
	mlp, err := monarch.NewMLP(monarch.MLPConfig{Dim: cfg.Dim, Hidden: cfg.Hidden, Blocks: cfg.Blocks})
	if err != nil {
		return nil, err
	}
	if err := setParams(c, mixer, "attention."); err != nil {
		return nil, err
	}
	if err := setParams(c, mlp, "mlp."); err != nil {
		return nil, err
	}
	src := seqOf(c, "in.x")
	dst := like(src)
	mixer.Mix(dst, src)
	mlp.Mix(dst, dst)
	layer := seqmix.Stack{mixer, mlp}
	recorded, dx, grads := like(src), like(src), allGrads(layer)
	tape, err := layer.Record(recorded, src)
	if err != nil {
		return nil, err
	}
	if err := c.Compare("out.y", recorded.Data); err != nil {
		return nil, fmt.Errorf("recorded: %w", err)
	}
	tape.Backward(dx, seqOf(c, "in.dy"), grads)
	r := results{"out.y": dst.Data, "grad.x": dx.Data}
	for prefix, m := range map[string]seqmix.Mixer{"attention.": mixer, "mlp.": mlp} {
		for name, p := range m.Params() {
			r["grad."+prefix+name] = grads.Of(p)
		}
	}
	return r, nil
}

// m2Results runs an encoder. What its pooler makes, if it has one, goes to pooled.
func m2Results(c *goldentest.Case, e *lm.Encoder, pooled results) (results, error) {
	shape, mask := c.Shape("in.ids"), c.Tensor("in.mask")
	var texts [][]int
	for i, row := range idRows(c) {
		texts = append(texts, row[:int(tensor.Sum(mask[i*shape[1]:(i+1)*shape[1]]))])
	}
	x, err := e.Encode(texts, nil)
	if err != nil {
		return nil, err
	}
	logits, err := e.Logits(x.Hidden)
	if err != nil {
		return nil, err
	}
	r := results{"out.last_hidden_state": x.Hidden.Data, "out.mlm_logits": logits.Data}
	if e.Pooler != nil {
		pooled["out.pooler_output"], pooled["out.pooler_output_pool_all"] = e.Pool(x.First()).Data, e.Pool(x.Mean()).Data
	}
	if err := m2Layers(e, texts, r); err != nil {
		return nil, err
	}
	e.PadTo = 0 // the first sequence without its padding
	short, err := e.Encode(texts[:1], nil)
	if err != nil {
		return nil, err
	}
	r["out.unpadded_last_hidden_state"] = short.Hidden.Data
	return r, nil
}

// m2Layers adds what enters each of the layers: what the encoder makes with fewer of them.
func m2Layers(e *lm.Encoder, texts [][]int, r results) error {
	for n := range e.Layers {
		part := *e
		part.Layers = e.Layers[:n]
		x, err := part.Encode(texts, nil)
		if err != nil {
			return err
		}
		name := "out.embeddings"
		if n > 0 {
			name = fmt.Sprint("out.layer_", n-1)
		}
		r[name] = slices.Clone(x.Hidden.Data)
	}
	return nil
}
