package seqmix_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/state"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/tensor"
)

// whole is a mixer that does nothing but mix: it hides the other methods of m.
type whole struct{ seqmix.Mixer }

func newRand() *rand.Rand { return rand.New(rand.NewPCG(3, 4)) }

func newLinear(r *rand.Rand, dim int) *nn.Linear {
	l := nn.NewLinear(dim, dim, true)
	l.Init(r)
	return l
}

func TestContract(t *testing.T) {
	r := newRand()
	linear := newLinear(r, 6)
	block := newBlock(r, 6)
	for name, m := range map[string]seqmix.Mixer{
		"empty stack":           seqmix.Stack{},
		"stack of one":          seqmix.Stack{linear},
		"stack":                 seqmix.Stack{newBlock(r, 6), linear, newBlock(r, 6)},
		"stack of stacks":       seqmix.Stack{seqmix.Stack{block, linear}, seqmix.Stack{}, newBlock(r, 6)},
		"a layer used twice":    seqmix.Stack{block, linear, block, linear},
		"residual":              &seqmix.Residual{Mixer: linear},
		"residual with norm":    newBlock(r, 6),
		"residual of residuals": &seqmix.Residual{Norm: nn.NewLayerNorm(6, 1e-5), Mixer: seqmix.Stack{newBlock(r, 6), newBlock(r, 6)}},
		"stack that only mixes": seqmix.Stack{block, whole{linear}},
		"residual that only mixes": &seqmix.Residual{
			Norm: nn.NewLayerNorm(6, 1e-5), Mixer: whole{block},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if m.Dim() == 0 {
				m = seqmix.Stack{linear, m} // an empty stack has no width of its own
			}
			if err := mixtest.Test(m, mixtest.Options{}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEmptyStack(t *testing.T) {
	var s seqmix.Stack
	x := randomSeq(newRand(), 2, 3, 4)
	y, dx := tensor.NewSeq(2, 3, 4), tensor.NewSeq(2, 3, 4)
	s.Mix(y, x)
	if distance(x, y) != 0 {
		t.Error("an empty stack does not copy")
	}
	stream, err := seqmix.NewStream(s, 2)
	if err != nil {
		t.Fatal(err)
	}
	clear(y.Data)
	if stream.Mix(y, x); distance(x, y) != 0 {
		t.Error("the stream of an empty stack does not copy")
	}
	clear(y.Data)
	tape, err := seqmix.Record(s, y, x)
	if err != nil {
		t.Fatal(err)
	}
	if tape.Backward(dx, x, nil); distance(x, y) != 0 || distance(x, dx) != 0 {
		t.Error("the gradient of an empty stack is not that of a copy")
	}
	if s.Dim() != 0 {
		t.Errorf("Dim of an empty stack is %d", s.Dim())
	}
}

func TestStackIsComposition(t *testing.T) {
	r := newRand()
	a, b := newBlock(r, 5), newLinear(r, 5)
	x := randomSeq(r, 2, 7, 5)
	want, got := tensor.NewSeq(2, 7, 5), tensor.NewSeq(2, 7, 5)
	a.Mix(want, x)
	b.Mix(want, want)
	if (seqmix.Stack{a, b}).Mix(got, x); distance(got, want) != 0 {
		t.Error("Stack{a, b} is not b of a")
	}
	a.Norm.Mix(want, x)
	a.Mixer.Mix(want, want)
	tensor.AddSeq(want, want, x)
	if a.Mix(got, x); distance(got, want) != 0 {
		t.Error("Residual is not x + mixer(norm(x))")
	}
}

func TestParamNames(t *testing.T) {
	r := newRand()
	m := seqmix.Stack{seqmix.Stack{newLinear(r, 4)}, newBlock(r, 4), &seqmix.Residual{Mixer: nn.NewLinear(4, 4, false)}}
	var names []string
	for name := range m.Params() {
		names = append(names, name)
	}
	want := []string{"0.0.weight", "0.0.bias", "1.norm.weight", "1.mixer.weight", "1.mixer.bias", "2.mixer.weight"}
	if !slices.Equal(names, want) {
		t.Errorf("parameters %q, want %q", names, want)
	}
}

func TestUnsupported(t *testing.T) {
	r := newRand()
	only := whole{newLinear(r, 4)}
	x := randomSeq(r, 1, 2, 4)
	for _, c := range []struct {
		mixer seqmix.Mixer
		where string
	}{
		{only, "whole"},
		{seqmix.Stack{newBlock(r, 4), only}, "layer 1"},
		{&seqmix.Residual{Mixer: only}, "residual block"},
		{&seqmix.Residual{Norm: only, Mixer: newLinear(r, 4)}, "residual block: layer 0"},
		{seqmix.Stack{newBlock(r, 4), seqmix.Stack{&seqmix.Residual{Mixer: only}}}, "layer 1: layer 0: residual block"},
	} {
		_, err := seqmix.NewStream(c.mixer, 1)
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), c.where) {
			t.Errorf("NewStream: %v, want an ErrUnsupported that names %q", err, c.where)
		}
		_, err = seqmix.Record(c.mixer, tensor.NewSeq(1, 2, 4), x)
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), c.where) {
			t.Errorf("Record: %v, want an ErrUnsupported that names %q", err, c.where)
		}
	}
}

func TestNewStreamBatch(t *testing.T) {
	for _, batch := range []int{0, -1} {
		_, err := seqmix.NewStream(newLinear(newRand(), 2), batch)
		if err == nil || errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("a stream of %d sequences: error %v", batch, err)
		}
	}
}

// shapePanic returns the *tensor.ShapeError that f panics with, or nil.
func shapePanic(f func()) (err *tensor.ShapeError) {
	defer func() { err, _ = recover().(*tensor.ShapeError) }()
	f()
	return nil
}

func TestWidths(t *testing.T) {
	r := newRand()
	x := randomSeq(r, 1, 3, 4)
	wrong := seqmix.Stack{newLinear(r, 4), newLinear(r, 5)}
	if err := shapePanic(func() { wrong.Mix(x, x) }); err == nil || err.Op != "nn.Linear.Mix" {
		t.Errorf("a stack of different widths: %v", err)
	}
	if err := shapePanic(func() { newBlock(r, 5).Mix(x, x) }); err == nil || err.Op != "seqmix.Residual.Mix" {
		t.Errorf("a block of another width: %v", err)
	}
}

// TestSavedStates tests that states of other shapes are told apart, and that reading
// one changes all layers or none.
func TestSavedStates(t *testing.T) {
	r := newRand()
	model := seqmix.Stack{newBlock(r, 4), newBlock(r, 4)}
	open := func(m seqmix.Mixer, batch int) seqmix.Stream {
		s, err := seqmix.NewStream(m, batch)
		if err != nil {
			t.Fatal(err)
		}
		x := randomSeq(r, batch, 5, m.Dim())
		s.Mix(x, x)
		return s
	}
	save := func(s seqmix.Stream) []byte {
		b, err := s.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	stream := open(model, 1)
	before := save(stream)

	first, err := state.DecodeAny(save(open(model, 1)), "seqmix.Stack", 1)
	if err != nil {
		t.Fatal(err)
	}
	first.Nested[1] = save(open(newBlock(r, 5), 1))
	for name, bad := range map[string][]byte{
		"one layer fits, one does not": first.Append(nil),
		"fewer layers":                 save(open(model[:1], 1)),
		"more layers":                  save(open(slices.Concat(model, model), 1)),
		"another batch":                save(open(model, 2)),
		"another width":                save(open(seqmix.Stack{newBlock(r, 5), newBlock(r, 5)}, 1)),
		"a block":                      save(open(newBlock(r, 4), 1)),
		"other layers":                 save(open(seqmix.Stack{newLinear(r, 4), newLinear(r, 4)}, 1)),
	} {
		if err := stream.UnmarshalBinary(bad); err == nil {
			t.Errorf("%s: no error", name)
		} else if !strings.HasPrefix(err.Error(), "seqmix: ") {
			t.Errorf("%s: error %q does not say where it is from", name, err)
		}
		if !bytes.Equal(save(stream), before) {
			t.Errorf("%s: the stream has changed", name)
		}
	}
}

// FuzzUnmarshalBinary reads what is not a saved state, and what is one of other sizes.
func FuzzUnmarshalBinary(f *testing.F) {
	model := seqmix.Stack{newBlock(newRand(), 3)}
	stream, err := seqmix.NewStream(model, 1)
	if err != nil {
		f.Fatal(err)
	}
	save := func(s seqmix.Stream) []byte {
		b, err := s.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	f.Add(save(stream), 3, 4, 1, 9)
	f.Add([]byte{}, 1<<40, 1<<20, 1, 0)
	f.Add([]byte("SQMX"), -1, 0, 2, 9)
	seal := func(kind string, nested ...[]byte) []byte {
		r := state.Record{Kind: kind, Version: 1, Nested: nested}
		return r.Append(nil)
	}
	norm := state.Record{Kind: "nn.RMSNorm", Version: 1, Ints: []int{3, 1}}
	f.Fuzz(func(t *testing.T, data []byte, channels, taps, batch, n int) {
		conv := state.Record{
			Kind: "nn.CausalConv1D", Version: 1,
			Ints: []int{channels, taps, batch}, Floats: state.FloatsOf(make([]float32, uint(n)%1000)),
		}
		parts := seal("seqmix.Stack", norm.Append(nil), conv.Append(nil))
		for _, saved := range [][]byte{
			data,
			seal("seqmix.Stack", data),
			seal("seqmix.Stack", seal("seqmix.Residual", data)),
			seal("seqmix.Stack", seal("seqmix.Residual", parts)),
		} {
			s := stream.Clone()
			before := save(s)
			if err := s.UnmarshalBinary(saved); err != nil {
				saved = before
			}
			if !bytes.Equal(save(s), saved) {
				t.Fatalf("after UnmarshalBinary with error %v, the state is % x, want % x", err, save(s), saved)
			}
		}
	})
}

func TestGrads(t *testing.T) {
	r := newRand()
	shared := newLinear(r, 3)
	other := newLinear(r, 3)
	other.Weight = shared.Weight
	m := seqmix.Stack{shared, other}
	grads := seqmix.NewGrads(m)
	if len(grads) != 3 {
		t.Errorf("%d gradients of one weight and two biases", len(grads))
	}
	delete(grads, shared.Bias)
	if grads.Of(shared.Bias) != nil || grads.Of(other.Bias) == nil {
		t.Error("Of does not tell frozen parameters")
	}
	if seqmix.Grads(nil).Of(shared.Bias) != nil {
		t.Error("Of a nil map is not nil")
	}
	if err := mixtest.TestTrainer(m, mixtest.Options{}); err != nil {
		t.Error("tied weights: ", err)
	}
}

// TestPack tests that Pack packs what is marked as a weight, and leaves the rest.
func TestPack(t *testing.T) {
	r := newRand()
	m := seqmix.Stack{newBlock(r, 8), newLinear(r, 8)}
	x := randomSeq(r, 1, 4, 8)
	want, got := tensor.NewSeq(1, 4, 8), tensor.NewSeq(1, 4, 8)
	m.Mix(want, x)
	seqmix.Pack(m)
	m.Mix(got, x)
	if distance(got, want) != 0 {
		t.Error("packing changes the result")
	}
	packed := map[string]bool{}
	for name, p := range m.Params() {
		packed[name] = p.Packed()
	}
	want2 := map[string]bool{"0.norm.weight": false, "0.mixer.weight": false, "0.mixer.bias": false, "1.weight": true, "1.bias": false}
	if !maps.Equal(packed, want2) {
		t.Errorf("packed: %v, want %v", packed, want2)
	}
	seqmix.Compact(m)
	m.Mix(got, x)
	if distance(got, want) != 0 {
		t.Error("compact weights change the result")
	}
	for name, p := range m.Params() {
		if p.Packed() != want2[name] || p.Compacted() && !want2[name] {
			t.Errorf("%s is %v", name, p)
		}
	}
}

func BenchmarkStackStep(b *testing.B) {
	r := newRand()
	for _, dim := range []int{64, 768} {
		b.Run(fmt.Sprint("dim=", dim), func(b *testing.B) {
			m := seqmix.Stack{newBlock(r, dim), newBlock(r, dim)}
			s, err := seqmix.NewStream(m, 1)
			if err != nil {
				b.Fatal(err)
			}
			x := randomSeq(r, 1, 1, dim)
			y := tensor.NewSeq(1, 1, dim)
			b.ReportAllocs()
			for b.Loop() {
				s.Mix(y, x)
			}
		})
	}
}
