package nn

import (
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

func newGLU(t *testing.T, cfg GLUConfig) *GLU {
	t.Helper()
	m, err := NewGLU(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func names(m seqmix.Mixer) []string {
	var list []string
	for name := range m.Params() {
		list = append(list, name)
	}
	return list
}

func TestGLUNames(t *testing.T) {
	for layout, want := range map[GLULayout]string{
		GateUpDown: "gate_proj.weight gate_proj.bias up_proj.weight up_proj.bias down_proj.weight down_proj.bias",
		W1W2W3:     "w1.weight w1.bias w3.weight w3.bias w2.weight w2.bias",
		L1L2L3:     "l1.weight l1.bias l2.weight l2.bias l3.weight l3.bias",
		FC1FC2:     "fc1.weight fc1.bias fc2.weight fc2.bias",
		GateUp:     "gate_up_proj.weight gate_up_proj.bias down_proj.weight down_proj.bias",
	} {
		for _, bias := range []bool{true, false} {
			m := newGLU(t, GLUConfig{Dim: 4, Hidden: 6, Bias: bias, Layout: layout})
			list := strings.Fields(want)
			if !bias {
				list = slices.DeleteFunc(list, func(s string) bool { return strings.HasSuffix(s, ".bias") })
			}
			if got := names(m); !slices.Equal(got, list) {
				t.Errorf("layout %d: parameters %q, want %q", layout, got, list)
			}
		}
	}
}

// TestGLULayouts tests that the layouts are the same network in other words.
func TestGLULayouts(t *testing.T) {
	r := newRand()
	const dim, hidden = 5, 7
	for _, act := range allActivations {
		plain := newGLU(t, GLUConfig{Dim: dim, Hidden: hidden, Activation: act, Bias: true})
		plain.Init(r)
		src := randomSeq(r, 2, 3, dim)
		want := tensor.NewSeq(2, 3, dim)
		plain.Mix(want, src)
		checkGLU(t, plain, src, want)
		for layout := range gluLayouts {
			m := newGLU(t, GLUConfig{Dim: dim, Hidden: hidden, Activation: act, Bias: true, Layout: layout})
			m.Down = plain.Down
			switch layout {
			case FC1FC2:
				stack(m.Gate, plain.Up, plain.Gate)
			case GateUp:
				stack(m.Gate, plain.Gate, plain.Up)
			default:
				m.Gate, m.Up = plain.Gate, plain.Up
			}
			got := tensor.NewSeq(2, 3, dim)
			if m.Mix(got, src); !equal(got, want) {
				t.Errorf("%v, layout %d: another result", act, layout)
			}
		}
	}
}

// stack makes dst the layer whose output is that of a and then that of b.
func stack(dst, a, b *Linear) {
	dst.Weight.SetFloat32s(slices.Concat(a.Weight.Data(), b.Weight.Data()))
	dst.Bias.SetFloat32s(slices.Concat(a.Bias.Data(), b.Bias.Data()))
}

// checkGLU compares with Down(act(Gate(x))·Up(x)) in float64.
func checkGLU(t *testing.T, m *GLU, src, got tensor.Seq) {
	t.Helper()
	for b := range src.Batch {
		for i := range src.Len {
			x := widen(src.At(b, i))
			gate, up := apply64(m.Gate, x), apply64(m.Up, x)
			for j := range gate {
				gate[j] = reference(m.Activation, gate[j]) * up[j]
			}
			var want []float32
			for _, v := range apply64(m.Down, gate) {
				want = append(want, float32(v))
			}
			if !near(got.At(b, i), want, 1e-6) {
				t.Errorf("%v: %v, want %v", m.Activation, got.At(b, i), want)
			}
		}
	}
}

func widen(x []float32) []float64 {
	var w []float64
	for _, v := range x {
		w = append(w, float64(v))
	}
	return w
}

func apply64(l *Linear, x []float64) []float64 {
	w := l.Weight.Float32s()
	y := make([]float64, l.Out())
	for j := range y {
		if l.Bias != nil {
			y[j] = float64(l.Bias.Data()[j])
		}
		for k, v := range x {
			y[j] += float64(w[j*len(x)+k]) * v
		}
	}
	return y
}

func TestMLPDefinition(t *testing.T) {
	r := newRand()
	for _, act := range allActivations {
		m, err := NewMLP(MLPConfig{Dim: 5, Activation: act, Bias: true})
		if err != nil {
			t.Fatal(err)
		}
		if m.Up.Out() != 20 {
			t.Errorf("%d hidden elements, want 4·5", m.Up.Out())
		}
		m.Init(r)
		src, dst := randomSeq(r, 2, 3, 5), tensor.NewSeq(2, 3, 5)
		m.Mix(dst, src)
		for i := range 3 {
			h := apply64(m.Up, widen(src.At(1, i)))
			for j := range h {
				h[j] = reference(act, h[j])
			}
			var want []float32
			for _, v := range apply64(m.Down, h) {
				want = append(want, float32(v))
			}
			if !near(dst.At(1, i), want, 1e-6) {
				t.Errorf("%v: %v, want %v", act, dst.At(1, i), want)
			}
		}
	}
}

// TestBlocks tests networks that compute long sequences in blocks: bit for bit what
// short pieces give.
func TestBlocks(t *testing.T) {
	r := newRand()
	mlp, err := NewMLP(MLPConfig{Dim: 9, Hidden: 3000})
	if err != nil {
		t.Fatal(err)
	}
	mlp.Init(r)
	glu := newGLU(t, GLUConfig{Dim: 9, Hidden: 3000, Layout: FC1FC2})
	glu.Init(r)
	for _, m := range []seqmix.Mixer{mlp, glu} {
		src := randomSeq(r, 2, 400, 9)
		want, got, part := tensor.NewSeq(2, 400, 9), tensor.NewSeq(2, 400, 9), strided(src)
		for i := range 400 {
			m.Mix(want.Slice(i, i+1), src.Slice(i, i+1))
		}
		m.Mix(got, src)
		m.Mix(part, part)
		if !equal(got, want) || !equal(part, want) {
			t.Errorf("%T: a long sequence differs from its positions", m)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	for name, f := range map[string]func() error{
		"MLP: hidden_size 0":         func() error { _, err := NewMLP(MLPConfig{Hidden: 3}); return err },
		"MLP: intermediate_size -1":  func() error { _, err := NewMLP(MLPConfig{Dim: 3, Hidden: -1}); return err },
		"MLP: Activation(99)":        func() error { _, err := NewMLP(MLPConfig{Dim: 3, Activation: 99}); return err },
		"GLU: hidden_size -2":        func() error { _, err := NewGLU(GLUConfig{Dim: -2, Hidden: 3}); return err },
		"GLU: intermediate_size 0":   func() error { _, err := NewGLU(GLUConfig{Dim: 2}); return err },
		"GLU: Activation(7)":         func() error { _, err := NewGLU(GLUConfig{Dim: 2, Hidden: 3, Activation: activations}); return err },
		"GLU: unknown layout 5":      func() error { _, err := NewGLU(GLUConfig{Dim: 2, Hidden: 3, Layout: gluLayouts}); return err },
		"GLU: intermediate_size -10": func() error { _, err := NewGLU(GLUConfig{Dim: 2, Hidden: -10}); return err },
	} {
		_, what, _ := strings.Cut(name, ": ")
		if err := f(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
