package lm_test

import (
	"math/rand/v2"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
)

const (
	vocabulary = 29
	padded     = 32
	dim        = 16
)

// newModel returns a small model with random weights: two blocks of Mamba and one of a
// short convolution, a padded vocabulary and a tied head.
func newModel(t testing.TB) *lm.Model {
	t.Helper()
	r := rand.New(rand.NewPCG(7, 8))
	e := nn.NewEmbedding(padded, dim)
	e.Init(r, 1)
	m := &lm.Model{Embedding: e, Head: e.Head(), Norm: nn.NewRMSNorm(dim, 1e-5), Vocabulary: vocabulary}
	block := func(mixer seqmix.Mixer) {
		m.Layers = append(m.Layers, &seqmix.Residual{Norm: nn.NewRMSNorm(dim, 1e-5), Mixer: mixer})
	}
	for range 2 {
		mamba, err := ssm.NewMamba(ssm.MambaConfig{DModel: dim})
		if err != nil {
			t.Fatal(err)
		}
		mamba.Init(r)
		block(mamba)
	}
	conv := nn.NewCausalConv1D(dim, 4, true, nn.SiLU)
	conv.Init(r)
	block(conv)
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	return m
}

func newSession(t testing.TB, m *lm.Model, ids ...int) *lm.Session {
	t.Helper()
	s, err := m.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	feed(t, s, ids...)
	return s
}

func feed(t testing.TB, s *lm.Session, ids ...int) {
	t.Helper()
	if err := s.Feed(ids...); err != nil {
		t.Fatal(err)
	}
}

// randomIDs returns n tokens.
func randomIDs(n int) []int {
	r := rand.New(rand.NewPCG(uint64(n), 3))
	ids := make([]int, n)
	for i := range ids {
		ids[i] = r.IntN(vocabulary)
	}
	return ids
}
