package ssm_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// A denoiser is a trained network of CleanUMamba with what was computed by it.
type denoiser struct {
	weights, golden *checkpoint.File
}

func openDenoiser(t *testing.T, name string) denoiser {
	t.Helper()
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA is not set")
	}
	open := func(path ...string) *checkpoint.File {
		f, err := checkpoint.Open(filepath.Join(append([]string{root, "weights", "cleanumamba"}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	return denoiser{open(name + ".safetensors"), open("golden", name+".safetensors")}
}

// mixer returns the parameters of the mixer of a block.
func (d denoiser) mixer(block int) checkpoint.Source {
	return checkpoint.Sub(d.weights, fmt.Sprintf("tsfm_Mamba_layers.%d.mixer.", block))
}

func shapesOf(src checkpoint.Source) func(string) []int {
	return func(name string) []int {
		if e, ok := src.Lookup(name); ok {
			return e.Shape()
		}
		return nil
	}
}

// values returns a tensor that was computed.
func (d denoiser) values(t *testing.T, name string) []float32 {
	t.Helper()
	e, ok := d.golden.Lookup(name)
	if !ok {
		t.Fatalf("%v has no %s", d.golden, name)
	}
	v, err := e.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return append([]float32(nil), v...)
}

// frames returns a tensor that was computed as a sequence.
func (d denoiser) frames(t *testing.T, name string) tensor.Seq {
	t.Helper()
	e, ok := d.golden.Lookup(name)
	if !ok {
		t.Fatalf("%v has no %s", d.golden, name)
	}
	return tensor.SeqOf(d.values(t, name), 1, e.Shape()[0], e.Shape()[1])
}

// stateful is the stream of a mixer with a short convolution and a state space.
type stateful interface {
	seqmix.Stream
	State() (conv, ssm *tensor.Tensor)
}

// check compares a mixer with what was computed, as a whole and in pieces.
func (d denoiser) check(t *testing.T, block int, m seqmix.Streamer) {
	t.Helper()
	seqmix.Pack(m)
	src, want := d.frames(t, fmt.Sprintf("block.%d.norm", block)), d.values(t, fmt.Sprintf("block.%d.mixer", block))
	wantClose(t, "Mix", mix(m, src).Data, want, 1e-5)
	s := newStream[stateful](t, m, 1)
	dst := like(src)
	for at, n := 0, 1; at < src.Len; at, n = at+n, n+2 {
		end := min(at+n, src.Len)
		s.Mix(dst.Slice(at, end), src.Slice(at, end))
	}
	wantClose(t, "stream", dst.Data, want, 1e-5)
	conv, h := s.State()
	wantClose(t, "inputs of the convolution", conv.Data(), d.values(t, fmt.Sprintf("state.%d.conv", block)), 1e-5)
	wantClose(t, "states", h.Data(), d.values(t, fmt.Sprintf("state.%d.ssm", block)), 1e-5)
}

// Trained mixers of three widths, pruned ones with odd sizes among them.
func TestMambaCheckpoints(t *testing.T) {
	for _, name := range []string{"mamba", "pruned-e8-200k", "pruned-e6-1m"} {
		t.Run(name, func(t *testing.T) {
			d := openDenoiser(t, name)
			for block := range 3 {
				cfg, err := ssm.MambaConfigOf(shapesOf(d.mixer(block)))
				if err != nil {
					t.Fatal(err)
				}
				m, err := ssm.NewMamba(cfg)
				if err != nil {
					t.Fatal(err)
				}
				if err := checkpoint.Load(m, d.mixer(block), nil); err != nil {
					t.Fatal(err)
				}
				d.check(t, block, m)
			}
		})
	}
}

func TestGatedS4Checkpoint(t *testing.T) {
	d := openDenoiser(t, "s4")
	for block := range 3 {
		cfg, err := ssm.GatedS4ConfigOf(shapesOf(d.mixer(block)))
		if err != nil {
			t.Fatal(err)
		}
		m, err := ssm.NewGatedS4(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkpoint.Load(m, d.mixer(block), nil); err != nil {
			t.Fatal(err)
		}
		d.check(t, block, m)
		layer := m.Block().Layer().(*ssm.S4)
		if !ssm.Diagonal(layer) {
			t.Errorf("block %d: not computed by its modes", block)
		}
		wantClose(t, "kernel", layer.Kernel(128).Data(), d.values(t, fmt.Sprintf("block.%d.kernel", block)), 1e-6)
		in := d.frames(t, fmt.Sprintf("block.%d.mixer.ssm_in", block))
		for _, face := range []string{"recurrence", "convolution"} {
			out := like(in)
			ssm.MixBy(face, layer, out, in)
			wantClose(t, face, out.Data, d.values(t, fmt.Sprintf("block.%d.mixer.ssm_out", block)), 2e-6)
		}
	}
}

// What shapes say of a mixer is what it has.
func TestGatedS4ConfigOf(t *testing.T) {
	for name, cfg := range gatedS4s {
		m := newGatedS4(t, cfg, 1)
		want := m.Config()
		got, err := ssm.GatedS4ConfigOf(func(name string) []int {
			for n, p := range m.Params() {
				if n == name {
					return p.Shape()
				}
			}
			return nil
		})
		if cfg.SSM.S4D != nil {
			if err == nil {
				t.Errorf("%s: the shapes of another mixer: no error", name)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		again := newGatedS4(t, got, 1).Config()
		again.SSM.S4.Init = want.SSM.S4.Init
		if fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", want) {
			t.Errorf("%s: configuration %+v, want %+v", name, again, want)
		}
	}
	if _, err := ssm.GatedS4ConfigOf(func(string) []int { return []int{0, 0, 0, 0} }); err == nil {
		t.Error("shapes of nothing: no error")
	}
}
