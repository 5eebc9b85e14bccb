package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

// networks are the published ones that this program runs.
var networks = []string{"mamba", "mamba2", "s4", "mha", "pruned-e8-200k", "pruned-e6-1m"}

// testData returns a folder of the test data, which is not part of the repository.
func testData(t testing.TB, elem ...string) string {
	t.Helper()
	root := os.Getenv("SEQMIX_TESTDATA")
	if root == "" {
		t.Skip("SEQMIX_TESTDATA is not set")
	}
	path := filepath.Join(append([]string{root}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skip(err)
	}
	return path
}

// eachNetwork runs a test for all of them.
func eachNetwork(t *testing.T, test func(t *testing.T, name string, n *network)) {
	for _, name := range networks {
		t.Run(name, func(t *testing.T) { test(t, name, loadPublished(t, name)) })
	}
}

func loadPublished(t testing.TB, name string) *network {
	t.Helper()
	n, err := loadNetwork(filepath.Join(testData(t, "weights", "cleanumamba"), name+".safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// golden holds what the reference code computes, in float64.
type golden struct {
	t    *testing.T
	net  string
	file *checkpoint.File
}

func openGolden(t *testing.T, net string) golden {
	t.Helper()
	f, err := checkpoint.Open(filepath.Join(testData(t, "weights", "cleanumamba", "golden"), net+".safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return golden{t, net, f}
}

func (g golden) get(name string) []float32 {
	g.t.Helper()
	e, ok := g.file.Lookup(name)
	if !ok {
		g.t.Fatalf("%s: no golden tensor %s", g.net, name)
	}
	v, err := e.Float32s()
	if err != nil {
		g.t.Fatal(err)
	}
	return v
}

// check compares the first rows of got with a golden tensor, which has fewer.
func (g golden) check(name string, got []float32) {
	g.t.Helper()
	want := g.get(name)
	if len(got) < len(want) {
		g.t.Errorf("%s: %s has %d elements, want %d or more", g.net, name, len(got), len(want))
		return
	}
	wide := make([]float64, len(want))
	for i, v := range want {
		wide[i] = float64(v)
	}
	if err := distance(got[:len(want)], wide); !(err <= 1e-5) {
		g.t.Errorf("%s: %s is off by %.2g", g.net, name, err)
	}
}

// TestPublishedSizes compares with the known numbers of parameters.
func TestPublishedSizes(t *testing.T) {
	want := map[string]int{"mamba": 441601, "mamba2": 427945, "s4": 450961, "mha": 442945, "pruned-e8-200k": 200513, "pruned-e6-1m": 997302}
	eachNetwork(t, func(t *testing.T, name string, n *network) {
		if n.parameters != want[name] {
			t.Errorf("%d parameters, want %d", n.parameters, want[name])
		}
	})
}

// TestGoldenClips compares the clean clips.
func TestGoldenClips(t *testing.T) {
	input := openGolden(t, "input")
	eachNetwork(t, func(t *testing.T, name string, n *network) {
		g := openGolden(t, name)
		for _, clip := range []string{"clip0", "clip1"} {
			x := input.get(clip)
			level := measureLevel(x)
			g.check(clip+".std", []float32{level})
			g.check(clip+".output", inPieces(t, n, x, level, n.hop))
		}
	})
}

// TestGoldenActivations compares what is between the parts of the network.
func TestGoldenActivations(t *testing.T) {
	clip := openGolden(t, "input").get("clip0")
	eachNetwork(t, func(t *testing.T, name string, n *network) {
		g := openGolden(t, name)
		x := tensor.MatOf(make([]float32, n.padded(len(clip))), n.padded(len(clip)), 1)
		tensor.Scale(x.Data[:len(clip)], 1/measureLevel(clip), clip)

		s := new(tensor.Scratch)
		var skips []tensor.Mat
		for i := range n.encoder {
			x = n.encoder[i].run(s, x)
			g.check(fmt.Sprintf("encoder.%d", i), x.Data)
			skips = append(skips, x)
		}
		h := takeMat(s, x.Rows, n.into.Out())
		n.into.ApplyMat(h, x)
		g.checkBottleneck(n.bottleneck.(seqmix.Stack), tensor.SeqOf(h.Data, 1, h.Rows, h.Cols))
		x = takeMat(s, h.Rows, n.out.Out())
		n.out.ApplyMat(x, h)
		g.check("bottleneck.proj", x.Data)
		for i := range n.decoder {
			l := &n.decoder[i]
			tensor.Add(x.Data, x.Data, skips[len(skips)-1-i].Data[:len(x.Data)])
			before := make([]float32, l.gate.Out()/2)
			y := l.run(s, x, before)
			x = takeMat(s, y.Rows+stride, y.Cols)
			copy(x.Data[copy(x.Data, y.Data):], l.end(s, before).Data)
			g.check(fmt.Sprintf("decoder.%d", i), x.Data)
		}
	})
}

// checkBottleneck runs the bottleneck on h, in place.
func (g golden) checkBottleneck(blocks seqmix.Stack, h tensor.Seq) {
	if g.net != "mha" {
		g.checkPreNorm(blocks, h)
		return
	}
	g.check("bottleneck.in", h.Data)
	blocks[0].Mix(h, h)
	for i, block := range blocks[1:] {
		name := fmt.Sprintf("block.%d.", i)
		g.check(name+"in", h.Data)
		layer := block.(seqmix.Stack)
		branch := tensor.NewSeq(1, h.Len, h.Dim)
		layer[0].(*seqmix.Residual).Mixer.Mix(branch, h)
		g.check(name+"attn", branch.Data)
		layer[:2].Mix(h, h)
		g.check(name+"mid", h.Data)
		layer[2:].Mix(h, h)
	}
	g.check("block.2.out", h.Data)
}

func (g golden) checkPreNorm(blocks seqmix.Stack, h tensor.Seq) {
	last := len(blocks) - 1
	for i, block := range blocks[:last] {
		name := fmt.Sprintf("block.%d.", i)
		g.check(name+"in", h.Data)
		r := block.(*seqmix.Residual)
		branch := tensor.NewSeq(1, h.Len, h.Dim)
		r.Norm.Mix(branch, h)
		g.check(name+"norm", branch.Data)
		r.Mixer.Mix(branch, branch)
		g.check(name+"mixer", branch.Data)
		block.Mix(h, h)
	}
	g.check("block.2.out", h.Data)
	blocks[last].Mix(h, h)
	g.check("bottleneck.out", h.Data)
}

// TestGoldenMixers runs the mixers of the bottleneck on their own and compares the
// states they are in after 100 frames.
func TestGoldenMixers(t *testing.T) {
	eachNetwork(t, func(t *testing.T, name string, n *network) {
		if name == "mha" {
			t.Skip("attention has no state but its past")
		}
		g := openGolden(t, name)
		blocks := n.bottleneck.(seqmix.Stack)
		for i, block := range blocks[:len(blocks)-1] {
			stream, err := seqmix.NewStream(block.(*seqmix.Residual).Mixer, 1)
			if err != nil {
				t.Fatal(err)
			}
			h := tensor.SeqOf(slices.Clone(g.get(fmt.Sprintf("block.%d.norm", i))), 1, 100, n.into.Out())
			stream.Mix(h, h)
			g.check(fmt.Sprintf("block.%d.mixer", i), h.Data)
			state := fmt.Sprintf("state.%d.", i)
			switch s := stream.(type) {
			case *ssm.MambaStream:
				conv, ssm := s.State()
				g.check(state+"conv", conv.Data())
				g.check(state+"ssm", ssm.Data())
			case *ssm.Mamba2Stream:
				conv, ssm := s.State()
				g.check(state+"conv", conv.Data())
				g.check(state+"ssm", ssm.Data())
			case *ssm.GatedS4Stream:
				conv, ssm := s.State()
				g.check(state+"conv", conv.Data())
				g.check(state+"ssm", ssm.Data())
			}
		}
	})
}

// TestPublishedCuts cuts a real clip.
func TestPublishedCuts(t *testing.T) {
	x := openGolden(t, "input").get("clip1")
	eachNetwork(t, func(t *testing.T, name string, n *network) {
		length := 0
		next := func() int { length = (length*5 + 77) % 400; return length }
		if !slices.Equal(inPieces(t, n, x, 0.1, next), whole(t, n, x, 0.1)) {
			t.Error("in pieces differs from the whole")
		}
	})
}

// TestTorchFiles checks that the original files give what the converted ones give.
func TestTorchFiles(t *testing.T) {
	x := openGolden(t, "input").get("clip0")
	eachNetwork(t, func(t *testing.T, name string, n *network) {
		torch, err := loadNetwork(filepath.Join(testData(t, "weights", "cleanumamba"), name+".pt"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(whole(t, torch, x, 0.1), whole(t, n, x, 0.1)) {
			t.Errorf("%s.pt and %s.safetensors differ", name, name)
		}
	})
}

// TestTorchConfig loads a PyTorch file on its own: what no tensor shows is in it.
func TestTorchConfig(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(testData(t, "weights", "cleanumamba"), "mha.pt"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "mha.pt")
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := loadNetwork(path); err != nil {
		t.Error(err)
	}
}
