package nn

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/tensor"
)

var allActivations = []Activation{SiLU, GELU, GELUTanh, ReLU, Sigmoid, Tanh, Identity}

// reference is an activation in float64.
func reference(a Activation, x float64) float64 {
	switch a {
	case SiLU:
		return x / (1 + math.Exp(-x))
	case GELU:
		return x / 2 * math.Erfc(-x/math.Sqrt2)
	case GELUTanh:
		return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	case ReLU:
		return max(x, 0)
	case Sigmoid:
		return 1 / (1 + math.Exp(-x))
	case Tanh:
		return math.Tanh(x)
	}
	return x
}

// mustShapePanic runs f, which must panic with a *tensor.ShapeError.
func mustShapePanic(t *testing.T, name string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		var shape *tensor.ShapeError
		p := recover()
		if err, ok := p.(error); !ok || !errors.As(err, &shape) {
			t.Errorf("%s: panic with %v, want a *tensor.ShapeError", name, p)
		}
	}()
	f()
}

// points are arguments that avoid the kink of ReLU.
func points() []float32 {
	var x []float32
	for v := float32(-6.05); v < 6.1; v += 0.1 {
		x = append(x, v)
	}
	return x
}

func TestActivations(t *testing.T) {
	x := points()
	y, dx, dy := make([]float32, len(x)), make([]float32, len(x)), make([]float32, len(x))
	for _, a := range allActivations {
		for i := range dy {
			dy[i] = float32(i%5) - 2
		}
		a.Apply(y, x)
		a.Grad(dx, dy, x)
		const h = 1e-4
		for i, v := range x {
			if want := reference(a, float64(v)); math.Abs(float64(y[i])-want) > 1e-6*(1+math.Abs(want)) {
				t.Errorf("%v(%v) = %v, want %v", a, v, y[i], want)
			}
			slope := (reference(a, float64(v)+h) - reference(a, float64(v)-h)) / (2 * h)
			if want := slope * float64(dy[i]); math.Abs(float64(dx[i])-want) > 1e-5 {
				t.Errorf("gradient of %v at %v is %v, want %v", a, v, dx[i], want)
			}
		}
		for name, in := range map[string][]float32{"ddst": slices.Clone(dy), "src": slices.Clone(x)} {
			if name == "src" {
				a.Grad(in, dy, in)
			} else {
				a.Grad(in, in, x)
			}
			if !slices.Equal(in, dx) {
				t.Errorf("gradient of %v with dsrc for %s differs", a, name)
			}
		}
	}
}

func TestGate(t *testing.T) {
	gate := slices.Concat(points(), points(), points(), points()) // longer than a piece
	value := slices.Clone(gate)
	slices.Reverse(value)
	for _, a := range allActivations {
		dst := make([]float32, len(gate))
		a.Gate(dst, value, gate)
		for i, g := range gate {
			want := float64(value[i]) * reference(a, float64(g))
			if math.Abs(float64(dst[i])-want) > 1e-5*(1+math.Abs(want)) {
				t.Errorf("%v·%v(%v) = %v, want %v", value[i], a, g, dst[i], want)
			}
		}
		v, g := slices.Clone(value), slices.Clone(gate)
		a.Gate(v, v, gate)
		a.Gate(g, value, g)
		if !slices.Equal(v, dst) || !slices.Equal(g, dst) {
			t.Errorf("the gate of %v in place differs", a)
		}
	}
}

func TestActivationText(t *testing.T) {
	for _, a := range allActivations {
		text, err := a.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		b := activations
		if err := b.UnmarshalText(text); err != nil || b != a || string(text) != a.String() {
			t.Errorf("%v as text is %q, which reads as %v (%v)", a, text, b, err)
		}
	}
	for name, want := range map[string]Activation{"swish": SiLU, "gelu_new": GELUTanh, "gelu_fast": GELUTanh, "identity": Identity} {
		if a, err := ParseActivation(name); err != nil || a != want {
			t.Errorf("ParseActivation(%q) = %v, %v", name, a, err)
		}
	}
	a := Tanh
	if err := a.UnmarshalText([]byte("softsign")); err == nil || a != Tanh || !strings.Contains(err.Error(), `"softsign"`) {
		t.Errorf("an unknown name: %v, now %v", err, a)
	}
	if _, err := Activation(77).MarshalText(); err == nil {
		t.Error("an unknown activation has a name")
	}
	if got := Activation(77).String(); got != "Activation(77)" {
		t.Errorf("an unknown activation is %s", got)
	}
	cfg := GLUConfig{Activation: Tanh}
	const text = `{"hidden_size": 8, "intermediate_size": 20, "hidden_act": "gelu_pytorch_tanh", "mlp_bias": true}`
	if err := json.Unmarshal([]byte(text), &cfg); err != nil || cfg != (GLUConfig{Dim: 8, Hidden: 20, Activation: GELUTanh, Bias: true}) {
		t.Errorf("from JSON: %+v, %v", cfg, err)
	}
	cfg = GLUConfig{}
	if err := json.Unmarshal([]byte(`{"hidden_size": 8}`), &cfg); err != nil || cfg.Activation != SiLU {
		t.Errorf("without hidden_act: %+v, %v", cfg, err)
	}
}

func TestActivationShapes(t *testing.T) {
	three, four := make([]float32, 3), make([]float32, 4)
	mustShapePanic(t, "Apply", func() { SiLU.Apply(three, four) })
	mustShapePanic(t, "Grad", func() { SiLU.Grad(three, four, four) })
	mustShapePanic(t, "Grad", func() { SiLU.Grad(four, three, four) })
	mustShapePanic(t, "Gate", func() { Tanh.Gate(four, three, four) })
	mustShapePanic(t, "Gate", func() { Tanh.Gate(three, four, four) })
}
