package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/train"
	"github.com/seqmix/seqmix/zoology"
)

// A trainShape is a model to train, with its batches.
type trainShape struct {
	name          string
	layers        string // kinds, as peers/train.py knows them
	heads         int
	batch, length int
	every         int // one of so many positions has a label
	model         func() (*lm.Model, error)
}

// The models are those of zoology's settings a3, with about as many labels, and hybrids of
// 3 million parameters with a label everywhere.
var trainShapes = []trainShape{
	{"recall, attention", "baseconv,norm,attention,norm", 1, 64, 64, 7, recallModel(zoology.Attention())},
	{"recall, Based", "baseconv,norm,based,norm", 1, 64, 64, 7, recallModel(zoology.Based(16))},
	{"recall, Mamba", "mamba,mamba", 1, 64, 64, 7, recallModel(zoology.Mamba(16))},
	newHybrid("hybrid", "gatedconv", "attention", "gatedconv", "based", "attention"),
	newHybrid("hybrid with Mamba", "mamba", "attention", "mamba", "based"),
}

func recallModel(c zoology.Contender) func() (*lm.Model, error) {
	return func() (*lm.Model, error) {
		return zoology.Trial{Setting: zoology.Ordering(), Contender: c, Seed: 1}.NewModel()
	}
}

// The hybrids' width, heads, and hidden elements of the gated network after each mixer.
const (
	hybridDim    = 256
	hybridHeads  = 4
	hybridHidden = 512
)

// newHybrid returns a model of bytes with a gated network after each mixer.
func newHybrid(name string, mixers ...string) trainShape {
	layers := strings.Join(mixers, ",glu,") + ",glu"
	return trainShape{name, layers, hybridHeads, 8, 256, 1, func() (*lm.Model, error) {
		r := rand.New(rand.NewPCG(1, 2))
		e := nn.NewEmbedding(256, hybridDim)
		e.Init(r, 0.02)
		m := &lm.Model{Embedding: e, Head: e.Head(), Norm: nn.NewRMSNorm(hybridDim, 1e-5)}
		for kind := range strings.SplitSeq(layers, ",") {
			mixer, err := hybridMixer(kind)
			if err != nil {
				return nil, err
			}
			mixer.Init(r)
			m.Layers = append(m.Layers, &seqmix.Residual{Norm: nn.NewRMSNorm(hybridDim, 1e-5), Mixer: mixer})
		}
		return m, m.Check()
	}}
}

// initMixer can be started with random weights.
type initMixer interface {
	seqmix.Mixer
	Init(*rand.Rand)
}

func hybridMixer(kind string) (initMixer, error) {
	switch kind {
	case "mamba":
		return ssm.NewMamba(ssm.MambaConfig{DModel: hybridDim})
	case "attention":
		return attention.NewMultiHead(attention.MultiHeadConfig{Dim: hybridDim, Heads: hybridHeads, Layout: attention.Wqkv})
	case "based":
		return based.NewLinearAttention(based.LinearAttentionConfig{DModel: hybridDim, Heads: hybridHeads, Names: based.ZoologyNames})
	case "gatedconv":
		return based.NewGatedConv(based.GatedConvConfig{DModel: hybridDim, Expand: 2})
	case "glu":
		return nn.NewGLU(nn.GLUConfig{Dim: hybridDim, Hidden: hybridHidden})
	}
	return nil, fmt.Errorf("no mixer %q", kind)
}

// tokens returns how many a step reads.
func (s trainShape) tokens() int { return s.batch * s.length }

// products returns the multiply-adds of a step that are products of matrices of weights:
// one on the way forth for each weight, two on the way back. Those of attention between
// positions, and all else, come on top.
func (s trainShape) products(m *lm.Model) float64 {
	weights := 0
	for _, p := range m.Layers.Params() {
		if p.IsWeight() {
			weights += p.Len()
		}
	}
	head := m.Head.Weight.Len()
	return 3 * (float64(weights)*float64(s.tokens()) + float64(head)*float64(s.tokens()/s.every))
}

// batchOf returns the tokens and labels of a step, which are the same for all.
func (s trainShape) batchOf(step, vocabulary int) train.Batch {
	b := train.Batch{Len: s.length}
	draw := func(i, factor int) int { return (i*factor + 12345) % 2147483647 / 64 % vocabulary }
	for k := range s.tokens() {
		i := step*s.tokens() + k
		b.IDs = append(b.IDs, draw(i, 48271))
		label := train.Ignore
		if k%s.every == s.every-1 {
			label = draw(i, 69621)
		}
		b.Labels = append(b.Labels, label)
	}
	return b
}

// trainBatches is the number of different batches, which are made before the first step.
const trainBatches = 8

// A trainee answers the commands about training with seqmix.
type trainee struct {
	run    *train.Run
	steps  int // that are wanted in all
	losses []float64
}

func (t *trainee) do(line string) (reply, error) {
	var n int
	if rest, ok := strings.CutPrefix(line, "open "); ok {
		index, path, _ := strings.Cut(rest, " ")
		i, err := strconv.Atoi(index)
		if err != nil || i < 0 || i >= len(trainShapes) {
			return reply{}, fmt.Errorf("no model %q", index)
		}
		return reply{}, t.open(trainShapes[i], path)
	}
	if k, _ := fmt.Sscanf(line, "steps %d", &n); k != 1 || n < 1 || t.run == nil {
		return reply{}, fmt.Errorf("unknown command %q", line)
	}
	t.steps, t.losses = t.run.Steps()+n, nil
	begin := time.Now()
	err := t.run.Run(context.Background(), t.report)
	if err == errEnough {
		err = nil
	}
	return reply{Seconds: time.Since(begin).Seconds(), Losses: t.losses}, err
}

// errEnough ends the steps of a command.
var errEnough = errors.New("enough steps")

func (t *trainee) report(s train.Step) error {
	t.losses = append(t.losses, s.Score.Mean())
	if s.Step+1 == t.steps {
		return errEnough
	}
	return nil
}

// open makes a model, and writes it to a file for others to begin with the same.
func (t *trainee) open(s trainShape, path string) error {
	m, err := s.model()
	if err != nil {
		return err
	}
	src, err := checkpoint.FromModel(m, nil)
	if err != nil {
		return err
	}
	err = checkpoint.WriteFile(path, src, map[string]string{
		"layers": s.layers, "heads": fmt.Sprint(s.heads), "batch": fmt.Sprint(s.batch), "length": fmt.Sprint(s.length), "every": fmt.Sprint(s.every),
	})
	if err != nil {
		return err
	}
	var batches [trainBatches]train.Batch
	for i := range batches {
		batches[i] = s.batchOf(i, m.Embedding.Vocabulary())
	}
	t.run, err = train.NewRun(m, train.Config{
		Steps: 1 << 30,
		Batch: func(step int) ([]train.Batch, error) { return batches[step%trainBatches : step%trainBatches+1], nil },
		Rate:  func(int) float64 { return 1e-3 },
		AdamW: train.AdamWConfig{WeightDecay: 0.01},
	})
	return err
}
