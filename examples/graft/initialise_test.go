package main

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/attention"
	"github.com/seqmix/seqmix/based"
	"github.com/seqmix/seqmix/hyena"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
	"gonum.org/v1/gonum/mat"
)

func testRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

const (
	testDim   = 32
	testHeads = 2
	testWidth = testDim / testHeads
	testLen   = 48
)

// testInputs returns sequences that vary more in some directions than in others, around a
// mean that is not 0.
func testInputs(r *rand.Rand, size float64) tensor.Seq {
	x := tensor.NewSeq(4, testLen, testDim)
	for i := range x.Data {
		c := i % testDim
		x.Data[i] = float32(size * (math.Sin(float64(c))/2 + r.NormFloat64()*(1.5-float64(c)/testDim)))
	}
	return x
}

// testAttention returns attention whose scores are multiplied by size.
func testAttention(t *testing.T, r *rand.Rand, size float64, rope *attention.RoPEConfig) *attention.MultiHead {
	t.Helper()
	m, err := attention.NewMultiHead(attention.MultiHeadConfig{Dim: testDim, Heads: testHeads, RoPE: rope})
	if err != nil {
		t.Fatal(err)
	}
	m.Init(r)
	for _, name := range []string{"q_proj.weight", "k_proj.weight"} {
		x := weightsOf(m)[name].Data()
		tensor.Scale(x, float32(math.Sqrt(size)), x)
	}
	return m
}

// newMixer starts a mixer at random.
func newMixer[M interface {
	seqmix.Mixer
	Init(*rand.Rand)
}](t *testing.T, r *rand.Rand, m M, err error) M {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	m.Init(r)
	return m
}

// distance returns the mean square of the difference between what two mixers make, over that
// of what the second makes.
func distance(m, of seqmix.Mixer, in tensor.Seq) float64 {
	y, want := tensor.NewSeq(in.Batch, in.Len, in.Dim), tensor.NewSeq(in.Batch, in.Len, in.Dim)
	m.Mix(y, in)
	of.Mix(want, in)
	sum, size := 0.0, 0.0
	for i, v := range want.Data {
		d := float64(y.Data[i] - v)
		sum += d * d
		size += float64(v) * float64(v)
	}
	return sum / size
}

type graft struct {
	name string
	seqmix.Mixer
}

// grafts returns mixers that can be initialised from the attention of tests.
func grafts(t *testing.T, r *rand.Rand) []graft {
	t.Helper()
	hy, errHyena := hyena.New(hyena.Config{DModel: testDim, LMax: 2 * testLen, EmbDim: 33, W: 4})
	ba, errBased := based.NewLinearAttention(based.LinearAttentionConfig{DModel: testDim, Heads: testHeads, FeatureDim: testWidth / 2})
	ma, errMamba := ssm.NewMamba(ssm.MambaConfig{DModel: testDim, Bias: true})
	m2, errMamba2 := ssm.NewMamba2(ssm.Mamba2Config{DModel: testDim, Expand: 1, HeadDim: testWidth, DState: testWidth, NGroups: testHeads, Bias: true, RMSNorm: new(false)})
	return []graft{
		{"hyena", newMixer(t, r, hy, errHyena)}, {"based", newMixer(t, r, ba, errBased)},
		{"mamba", newMixer(t, r, ma, errMamba)}, {"mamba2", newMixer(t, r, m2, errMamba2)},
	}
}

// TestNearer checks that every mixer is nearer to the attention from which it is initialised
// than at random, and than saying nothing, which is at the distance 1.
func TestNearer(t *testing.T) {
	r := testRand()
	for _, rope := range []*attention.RoPEConfig{nil, new(attention.RoPEConfig)} {
		a, in := testAttention(t, r, 4, rope), testInputs(r, 1)
		p, err := newProfile(a, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range grafts(t, r) {
			before := distance(m, a, in)
			if err := initialise(m.Mixer, p); err != nil {
				t.Fatalf("%s: %v", m.name, err)
			}
			after := distance(m, a, testInputs(r, 1)) // others than the profile was made of
			t.Logf("%s, rotated %v: distance %.3f at random, %.3f initialised", m.name, rope != nil, before, after)
			if after > 0.75*before || after > 0.75 {
				t.Errorf("%s, rotated %v: distance %v at random, %v initialised", m.name, rope != nil, before, after)
			}
		}
	}
}

// TestBasedIsSoftmax has as many features as the heads have elements, no rotations and small
// scores: then the Taylor polynomial is the exponential.
func TestBasedIsSoftmax(t *testing.T) {
	r := testRand()
	a, in := testAttention(t, r, 0.25, nil), testInputs(r, 1)
	p, err := newProfile(a, in)
	if err != nil {
		t.Fatal(err)
	}
	m, err := based.NewLinearAttention(based.LinearAttentionConfig{DModel: testDim, Heads: testHeads, FeatureDim: testWidth})
	m = newMixer(t, r, m, err)
	if err := initialise(m, p); err != nil {
		t.Fatal(err)
	}
	if d := distance(m, a, in); d > 1e-5 {
		t.Errorf("distance %v", d)
	}
}

// firstOrder computes what toMamba2 and, with the same form for all heads, toMamba are to
// make.
func firstOrder(p *profile, forms []*mat.Dense, in tensor.Seq) *mat.Dense {
	y := mat.NewDense(in.Len, in.Dim, nil)
	u := make([]*mat.VecDense, in.Len)
	centred := make([]*mat.VecDense, in.Len)
	for i := range u {
		u[i], centred[i] = mat.NewVecDense(in.Dim, nil), mat.NewVecDense(in.Dim, nil)
		for c, v := range in.At(0, i) {
			u[i].SetVec(c, float64(v))
			centred[i].SetVec(c, float64(v)-p.mean[c])
		}
	}
	for i := range in.Len {
		o := mat.NewVecDense(in.Dim, nil)
		for h, head := range p.heads {
			rho := head.forgetting()
			for j := range i + 1 {
				w := (1 - rho) * math.Pow(rho, float64(i-j)) * (1 + mat.Inner(centred[i], forms[h], centred[j]))
				var v mat.VecDense
				v.MulVec(p.value, u[j])
				for c := h * testWidth; c < (h+1)*testWidth; c++ {
					o.SetVec(c, o.AtVec(c)+w*v.AtVec(c))
				}
			}
		}
		var out mat.VecDense
		out.MulVec(p.out, o)
		y.SetRow(i, out.RawVector().Data)
	}
	return y
}

// TestFirstOrder compares the Mambas with the formula, on inputs and scores so small that SiLU
// is linear. What scores make is small then too, and the difference is to be smaller.
func TestFirstOrder(t *testing.T) {
	r := testRand()
	a, in := testAttention(t, r, 2e6, new(attention.RoPEConfig)), testInputs(r, 1e-4)
	p, err := newProfile(a, in)
	if err != nil {
		t.Fatal(err)
	}
	full, err := ssm.NewMamba2(ssm.Mamba2Config{DModel: testDim, Expand: 1, HeadDim: testWidth, DState: testWidth + 1, NGroups: testHeads, Bias: true, RMSNorm: new(false)})
	heads := newMixer(t, r, full, err)
	// The mean of two forms has twice the rank of one.
	wide, err := ssm.NewMamba(ssm.MambaConfig{DModel: testDim, DInner: 4 * testDim, DState: 2*testWidth + 1, Bias: true})
	all := newMixer(t, r, wide, err)
	for _, c := range []struct {
		name  string
		m     seqmix.Mixer
		forms []*mat.Dense
	}{
		{"mamba2", heads, []*mat.Dense{p.heads[0].form, p.heads[1].form}},
		{"mamba", all, []*mat.Dense{p.meanForm(), p.meanForm()}},
	} {
		if err := initialise(c.m, p); err != nil {
			t.Fatal(err)
		}
		y := tensor.NewSeq(in.Batch, in.Len, in.Dim)
		c.m.Mix(y, in)
		want := firstOrder(p, c.forms, in)
		none := mat.NewDense(testDim, testDim, nil)
		without := firstOrder(p, []*mat.Dense{none, none}, in)
		sum, size, scores := 0.0, 0.0, 0.0
		for i := range in.Len {
			for k, v := range y.At(0, i) {
				w := want.At(i, k)
				sum += (float64(v) - w) * (float64(v) - w)
				size += w * w
				scores += (w - without.At(i, k)) * (w - without.At(i, k))
			}
		}
		t.Logf("%s: distance %.2e; scores make %.2e", c.name, sum/size, scores/size)
		if sum > 0.01*scores || scores < 1e-6*size {
			t.Errorf("%s: distance %v from the formula, in which scores make a difference of %v", c.name, sum/size, scores/size)
		}
	}
}

// TestFilters checks that filters of Hyena become what they are fitted to.
func TestFilters(t *testing.T) {
	r := testRand()
	m, err := hyena.New(hyena.Config{DModel: testDim, LMax: 2048, EmbDim: 33, W: 4})
	m = newMixer(t, r, m, err)
	heads := make([]headProfile, testHeads)
	for h := range heads {
		heads[h].weights = make([]float64, testLen)
		for d := range testLen {
			heads[h].weights[d] = 0.2 * math.Pow(0.8, float64(d)/float64(h+1)) / float64(h+1)
		}
	}
	if err := fitFilter(m.Filter(), heads); err != nil {
		t.Fatal(err)
	}
	taps := tensor.MatOf(make([]float32, testLen*testDim), testLen, testDim)
	m.Filter().Taps(taps)
	for c := range testDim {
		sum, size := 0.0, 0.0
		for d := range testLen {
			want := heads[c/testWidth].weights[d]
			diff := float64(taps.Row(d)[c]) - want
			sum += diff * diff
			size += want * want
		}
		if sum > 0.05*size {
			t.Errorf("channel %d: the filter is at a distance of %v", c, sum/size)
		}
	}
}

func TestInverses(t *testing.T) {
	for _, y := range []float64{1e-3, 0.25, 1, 30} {
		if x := inverseSiLU(y); math.Abs(x/(1+math.Exp(-x))-y) > 1e-12 {
			t.Errorf("SiLU(%v) is not %v", x, y)
		}
		if x := inverseSoftplus(y); math.Abs(math.Log1p(math.Exp(x))-y) > 1e-12 {
			t.Errorf("softplus(%v) is not %v", x, y)
		}
	}
}
