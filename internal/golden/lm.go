package golden

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/train"
)

var _ = register(map[string]computation{
	"ssm/lm": languageModel, "mamba3/lm": languageModel, "attention/lm": languageModel, "based/lm": languageModel,
})

// languageModel runs a language model as it is stored in each of the directories.
func languageModel(c *goldentest.Case) (results, error) {
	var cfg struct{ Dirs []string }
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	return eachStored(cfg.Dirs, func(dir string) (results, error) { return storedModel(c, filepath.Join(c.Dir(), dir)) })
}

// eachStored runs a model as it is stored in several files or directories. All must give
// the same.
func eachStored(paths []string, run func(path string) (results, error)) (results, error) {
	var first results
	for _, path := range paths {
		r, err := run(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if first == nil {
			first = r
		}
		for what, want := range first {
			// Gradients have the names of the files, which may differ.
			if got, ok := r[what]; !slices.Equal(got, want) && (ok || !strings.HasPrefix(what, "grad.")) {
				return nil, fmt.Errorf("%s: %s is another than with the files before", path, what)
			}
		}
	}
	return first, nil
}

// exactly says that weights are loaded without rounding, in row-major order.
var exactly = checkpoint.ModelOptions{Weights: new(tensor.Float32), Unpacked: true}

// storedModel runs one of them.
func storedModel(c *goldentest.Case, dir string) (results, error) {
	f, err := checkpoint.OpenModel(dir, exactly)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := f.Load()
	if err != nil {
		return nil, err
	}
	if c.Family == "based" {
		untie(m)
	}
	vocabulary := m.Vocabulary
	m.Vocabulary = 0 // the cases have the rows that pad it too
	r := results{}
	if err := modelLoss(c, m, f.Rename, r); err != nil {
		return nil, err
	}
	if err := modelStates(c, m, r); err != nil {
		return nil, err
	}
	m.Vocabulary = vocabulary
	return r, modelGreedy(c, m, r)
}

// untie gives a model a head of its own. The gradient that the cases of Based have of the
// embedding is that of its use for the tokens: it is zero where a token does not occur.
func untie(m *lm.Model) {
	if m.Head.Weight == m.Embedding.Weight {
		m.Head = nn.NewLinear(m.Dim(), m.Head.Out(), false)
		m.Head.Weight.SetFloat32s(m.Embedding.Weight.Float32s())
	}
}

// modelLoss adds the logits, the loss and, if the model can be trained, the gradients.
func modelLoss(c *goldentest.Case, m *lm.Model, rename func(string) string, r results) error {
	b := train.Batch{}
	for _, ids := range idRows(c) {
		logits, err := m.Logits(ids)
		if err != nil {
			return err
		}
		r["out.logits"] = append(r["out.logits"], logits.Data...)
		b.IDs, b.Len = append(b.IDs, ids...), len(ids)
		b.Labels = append(append(b.Labels, ids[1:]...), train.Ignore)
	}
	rows := len(r["out.logits"]) / len(b.IDs)
	score := train.CrossEntropy(tensor.MatOf(slices.Clone(r["out.logits"]), len(b.IDs), rows), b.Labels, 0)
	r["out.loss"] = []float32{float32(score.Mean())}
	if len(c.Names("grad.")) == 0 {
		return nil
	}
	if lookupOnly(c, b.IDs) {
		m = untied(m)
	}
	g, err := train.NewGradient(m, 1)
	if err != nil {
		return err
	}
	grads := seqmix.Grads{}
	for _, p := range m.Params() {
		grads[p] = tensor.New(p.Shape()...)
	}
	if _, err := g.Add(grads, b, 1); err != nil {
		if errors.Is(err, errors.ErrUnsupported) {
			return nil
		}
		return err
	}
	for name, p := range m.Params() {
		if name = "grad." + rename(name); r[name] == nil {
			r[name] = grads.Of(p)
		}
	}
	return nil
}

// lookupOnly reports whether the gradient of an embedding in a case is that of the table
// of the input alone: rows of tokens that do not occur are 0 then. So it is in the cases of
// Mamba, whose heads are tied, although their descriptions say that both uses are added up,
// as they are in those of Mistral.
func lookupOnly(c *goldentest.Case, ids []int) bool {
	for _, name := range c.Names("grad.") {
		if !strings.Contains(name, "embed") {
			continue
		}
		for i, v := range c.Tensor(name) {
			if v != 0 && !slices.Contains(ids, i/c.Shape(name)[1]) {
				return false
			}
		}
	}
	return true
}

// untied returns m with a head that is a copy of the embedding.
func untied(m *lm.Model) *lm.Model {
	head := tensor.FromFloat32s(slices.Clone(m.Head.Weight.Float32s()), m.Head.Weight.Shape()...)
	c := *m
	c.Head = &nn.Linear{Weight: head, Bias: m.Head.Bias}
	return &c
}

// modelGreedy adds the tokens that a session goes on with, and the logits that they were
// chosen by, which it takes from whole texts.
func modelGreedy(c *goldentest.Case, m *lm.Model, r results) error {
	var prompt []int
	for _, v := range c.Tensor("in.prompt") {
		prompt = append(prompt, int(v))
	}
	tokens, err := greedy(m, prompt, len(c.Tensor("out.greedy")))
	if err != nil {
		return err
	}
	r["out.greedy"] = tokens
	for _, id := range tokens {
		prompt = append(prompt, int(id))
	}
	vocabulary := m.Vocabulary
	m.Vocabulary = 0
	logits, err := m.Logits(prompt[:len(prompt)-1])
	m.Vocabulary = vocabulary
	if err == nil {
		r["out.greedy_logits"] = logits.Slice(logits.Len-len(tokens), logits.Len).Data
	}
	return err
}

// modelStates adds the states of all mixers after the tokens of the case.
func modelStates(c *goldentest.Case, m *lm.Model, r results) error {
	if len(c.Names("state.")) == 0 {
		return nil
	}
	ids := idRows(c)
	x := tensor.NewSeq(len(ids), len(ids[0]), m.Dim())
	if err := m.Embedding.Lookup(x, slices.Concat(ids...)); err != nil {
		return err
	}
	for i, layer := range m.Layers {
		rest := seqmix.Stack{}
		if stack, ok := layer.(seqmix.Stack); ok {
			layer, rest = stack[0], stack[1:]
		}
		if err := mixerState(c, layer.(*seqmix.Residual), x, fmt.Sprintf("state.layer%d", i), r); err != nil {
			return err
		}
		layer.Mix(x, x)
		rest.Mix(x, x)
	}
	return nil
}

// mixerState adds the state that the mixer of a block has after src.
func mixerState(c *goldentest.Case, block *seqmix.Residual, src tensor.Seq, prefix string, r results) error {
	y := like(src)
	block.Norm.Mix(y, src)
	s, err := seqmix.NewStream(block.Mixer, src.Batch)
	if err != nil {
		return err
	}
	inputs := tensor.Seq{}
	switch m := block.Mixer.(type) {
	case *ssm.Mamba:
		inputs = convInputs(m, y)
	case *ssm.Mamba2:
		inputs = mamba2Inputs(m, y)
	}
	s.Mix(y, y)
	switch s := s.(type) {
	case interface {
		State() (conv, ssm *tensor.Tensor)
	}:
		conv, h := s.State()
		r[prefix+"_conv"] = convColumns(conv, inputs, src.Len, c.Shape(prefix + "_conv")[2])
		r[prefix+"_ssm"] = h.Data()
	case *ssm.Mamba3Stream:
		state := s.State()
		alike(state.Angle.Data(), c.Tensor(prefix+"_angle"))
		r[prefix+"_angle"], r[prefix+"_ssm"] = state.Angle.Data(), state.SSM.Data()
		r[prefix+"_k"], r[prefix+"_v"] = state.K.Data(), state.V.Data()
	}
	return nil
}
