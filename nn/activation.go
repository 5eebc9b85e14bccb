package nn

import (
	"fmt"
	"slices"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// An Activation is a function that is applied to every element. The zero value is
// SiLU, the choice of Mamba and Llama.
//
// As text, in JSON for instance, an Activation has the name that Hugging Face
// configurations use.
type Activation uint8

// The activations. Φ is the cumulative distribution function of the standard normal
// distribution, σ the logistic function.
const (
	SiLU     Activation = iota // x·σ(x), also called swish: "silu"
	GELU                       // x·Φ(x), exact: "gelu" (arXiv:1606.08415)
	GELUTanh                   // ½x·(1+tanh(√(2/π)·(x+0.044715x³))): "gelu_pytorch_tanh"
	ReLU                       // max(x, 0): "relu"
	Sigmoid                    // σ(x) = 1/(1+exp(-x)): "sigmoid"
	Tanh                       // tanh(x): "tanh"
	Identity                   // x: "linear"
	activations
)

var activationNames = [activations]string{
	SiLU: "silu", GELU: "gelu", GELUTanh: "gelu_pytorch_tanh", ReLU: "relu",
	Sigmoid: "sigmoid", Tanh: "tanh", Identity: "linear",
}

// activationAliases are further names in use for the same functions.
var activationAliases = map[string]Activation{
	"swish": SiLU, "gelu_new": GELUTanh, "gelu_fast": GELUTanh, "gelu_tanh": GELUTanh, "identity": Identity,
}

// ParseActivation returns the activation of this name, as in the "hidden_act" of
// Hugging Face configurations: "silu" or "swish", "gelu", "gelu_pytorch_tanh",
// "gelu_new", "gelu_fast" or "gelu_tanh", "relu", "sigmoid", "tanh", and "linear"
// or "identity".
func ParseActivation(name string) (Activation, error) {
	if i := slices.Index(activationNames[:], name); i >= 0 {
		return Activation(i), nil
	}
	if a, ok := activationAliases[name]; ok {
		return a, nil
	}
	return 0, fmt.Errorf("nn: unknown activation %q (choose one of %q)", name, activationNames[:])
}

// String returns the name of the activation.
func (a Activation) String() string {
	if a < activations {
		return activationNames[a]
	}
	return fmt.Sprintf("Activation(%d)", uint8(a))
}

// MarshalText returns the name of the activation.
func (a Activation) MarshalText() ([]byte, error) {
	if a >= activations {
		return nil, fmt.Errorf("nn: %v has no name", a)
	}
	return []byte(a.String()), nil
}

// UnmarshalText is [ParseActivation].
func (a *Activation) UnmarshalText(text []byte) error {
	parsed, err := ParseActivation(string(text))
	if err == nil {
		*a = parsed
	}
	return err
}

// Apply computes dst[i] = a(src[i]). dst may be src. It panics with a
// *tensor.ShapeError if the lengths differ.
func (a Activation) Apply(dst, src []float32) {
	checkLengths("nn.Activation.Apply", len(dst), len(src))
	switch a {
	case SiLU:
		kernel.SiLU(dst, src)
	case GELU:
		kernel.GELU(dst, src)
	case GELUTanh:
		kernel.GELUTanh(dst, src)
	case ReLU:
		kernel.ReLU(dst, src)
	case Sigmoid:
		kernel.Sigmoid(dst, src)
	case Tanh:
		kernel.Tanh(dst, src)
	case Identity:
		copy(dst, src)
	default:
		panic("nn: " + a.String())
	}
}

// Grad computes dsrc[i] = a′(src[i]) · ddst[i], the gradient of [Activation.Apply].
// dsrc may be one of the others. It panics with a *tensor.ShapeError if the lengths
// differ.
func (a Activation) Grad(dsrc, ddst, src []float32) {
	checkLengths("nn.Activation.Grad", len(dsrc), len(src))
	checkLengths("nn.Activation.Grad", len(ddst), len(src))
	switch a {
	case SiLU:
		kernel.SiLUGrad(dsrc, src, ddst)
	case GELU:
		kernel.GELUGrad(dsrc, src, ddst)
	case GELUTanh:
		kernel.GELUTanhGrad(dsrc, src, ddst)
	case ReLU:
		kernel.ReLUGrad(dsrc, src, ddst)
	case Sigmoid:
		kernel.SigmoidGrad(dsrc, src, ddst)
	case Tanh:
		kernel.TanhGrad(dsrc, src, ddst)
	case Identity:
		if len(ddst) > 0 && &dsrc[0] != &ddst[0] {
			copy(dsrc, ddst)
		}
	default:
		panic("nn: " + a.String())
	}
}

// Gate computes dst = value · a(gate), element by element: a gated linear unit
// (arXiv:2002.05202). dst may be value or gate. It panics with a *tensor.ShapeError
// if the lengths differ.
func (a Activation) Gate(dst, value, gate []float32) {
	checkLengths("nn.Activation.Gate", len(dst), len(gate))
	checkLengths("nn.Activation.Gate", len(value), len(gate))
	switch a {
	case SiLU:
		kernel.SiLUMul(dst, gate, value)
	case GELU:
		kernel.GELUMul(dst, gate, value)
	case GELUTanh:
		kernel.GELUTanhMul(dst, gate, value)
	case ReLU:
		kernel.ReLUMul(dst, gate, value)
	case Sigmoid:
		kernel.SigmoidMul(dst, gate, value)
	case Identity:
		kernel.Mul(dst, value, gate)
	default:
		gateInPieces(a, dst, value, gate)
	}
}

// gateInPieces computes a(gate) in a small buffer, so that dst may be value.
func gateInPieces(a Activation, dst, value, gate []float32) {
	var buffer [256]float32
	for len(gate) > 0 {
		n := min(len(gate), len(buffer))
		a.Apply(buffer[:n], gate[:n])
		kernel.Mul(dst[:n], value[:n], buffer[:n])
		dst, value, gate = dst[n:], value[n:], gate[n:]
	}
}

func checkLengths(op string, got, want int) {
	if got != want {
		panic(&tensor.ShapeError{Op: op, Got: []int{got}, Want: []int{want}})
	}
}
