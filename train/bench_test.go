package train_test

import (
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/train"
)

// bytesModel returns a model of bytes, 256 wide, with a gated network after each mixer of a
// pattern: with four mixers about 3 million parameters.
func bytesModel(b *testing.B, pattern string) *lm.Model {
	b.Helper()
	const dim, heads = 256, 4
	r := rand.New(rand.NewPCG(1, 2))
	e := nn.NewEmbedding(256, dim)
	e.Init(r, 0.02)
	m := &lm.Model{Embedding: e, Head: e.Head(), Norm: nn.NewRMSNorm(dim, 1e-5)}
	add := func(mixer seqmix.Mixer, err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
		mixer.(interface{ Init(*rand.Rand) }).Init(r)
		m.Layers = append(m.Layers, &seqmix.Residual{Norm: nn.NewRMSNorm(dim, 1e-5), Mixer: mixer})
	}
	window := 128
	for name := range strings.SplitSeq(pattern, ",") {
		switch name {
		case "mamba":
			add(wrap(ssm.NewMamba(ssm.MambaConfig{DModel: dim})))
		case "mamba2":
			add(wrap(ssm.NewMamba2(ssm.Mamba2Config{DModel: dim, HeadDim: 64, DState: 64})))
		case "attention":
			add(wrap(attention.NewMultiHead(attention.MultiHeadConfig{Dim: dim, Heads: heads, Left: &window, RoPE: new(attention.RoPEConfig)})))
		case "based":
			add(wrap(based.NewLinearAttention(based.LinearAttentionConfig{DModel: dim, Heads: heads})))
		case "conv":
			add(wrap(based.NewGatedConv(based.GatedConvConfig{DModel: dim, Expand: 2})))
		default:
			b.Fatalf("no mixer %q", name)
		}
		add(wrap(nn.NewGLU(nn.GLUConfig{Dim: dim, Hidden: 512})))
	}
	return m
}

// BenchmarkStep measures a step of training, AdamW and all, of 8 sequences of 512 bytes. It
// reports the share of the peak that the multiply-adds of the weights are, in the fastest
// step: one on the way forth for each weight, two on the way back.
func BenchmarkStep(b *testing.B) {
	const size, length = 8, 512
	for _, pattern := range []string{"mamba,attention,mamba,based", "conv,attention,conv,based", "mamba", "mamba2", "attention", "based", "conv"} {
		b.Run(pattern, func(b *testing.B) {
			m := bytesModel(b, pattern)
			r := rand.New(rand.NewPCG(3, 4))
			ids := make([]int, size*length+1)
			for i := range ids {
				ids[i] = r.IntN(256)
			}
			batch := train.Batch{IDs: ids[:size*length], Labels: ids[1:], Len: length}
			var best time.Duration
			var peak float64
			begin := time.Now()
			run, err := train.NewRun(m, train.Config{
				Steps: b.N,
				Batch: func(int) ([]train.Batch, error) {
					peak = max(peak, kernel.PeakFMA())
					begin = time.Now()
					return []train.Batch{batch}, nil
				},
				Rate: func(int) float64 { return 1e-3 },
				Clip: 1,
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			err = run.Run(b.Context(), func(train.Step) error {
				if t := time.Since(begin); best == 0 || t < best {
					best = t
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
			weights := m.Head.Weight.Len()
			for _, p := range m.Layers.Params() {
				if p.IsWeight() {
					weights += p.Len()
				}
			}
			b.ReportMetric(size*length/best.Seconds(), "tokens/s")
			if peak > 0 {
				b.ReportMetric(100*6*float64(weights)*size*length/best.Seconds()/(1e9*peak*float64(runtime.GOMAXPROCS(0))), "%peak")
			}
		})
	}
}
