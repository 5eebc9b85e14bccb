package attention

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// A ScalingType says how a rotary embedding is stretched to sequences longer than
// those of training. As text it has the name that Hugging Face configurations use.
type ScalingType uint8

// The types of scaling.
const (
	NoScaling     ScalingType = iota // "default"
	LinearScaling                    // positions divided by the factor: "linear" (arXiv:2306.15595)
	NTKScaling                       // base multiplied by factor^(r/(r-2)): "ntk"
	Llama3Scaling                    // low frequencies divided by the factor: "llama3"
	YaRNScaling                      // the same with a ramp over the pairs, and an amplitude: "yarn" (arXiv:2309.00071)
	scalingTypes
)

var scalingNames = [scalingTypes]string{"default", "linear", "ntk", "llama3", "yarn"}

// String returns the name of the type.
func (t ScalingType) String() string {
	if t < scalingTypes {
		return scalingNames[t]
	}
	return fmt.Sprintf("ScalingType(%d)", uint8(t))
}

// MarshalText returns the name of the type.
func (t ScalingType) MarshalText() ([]byte, error) {
	if t >= scalingTypes {
		return nil, fmt.Errorf("attention: %v has no name", t)
	}
	return []byte(t.String()), nil
}

// UnmarshalText is the inverse of MarshalText.
func (t *ScalingType) UnmarshalText(text []byte) error {
	i := slices.Index(scalingNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("attention: unknown rope_type %q (choose one of %q)", text, scalingNames[:])
	}
	*t = ScalingType(i)
	return nil
}

// A Scaling stretches a rotary embedding. Its JSON form is the "rope_scaling" of
// Hugging Face configurations; the type may be called "type" there, as it once was.
type Scaling struct {
	Type   ScalingType `json:"rope_type"`
	Factor float64     `json:"factor,omitempty"` // by which sequences become longer

	// OriginalPositions is the length of the sequences of training, which "llama3"
	// and "yarn" need.
	OriginalPositions int `json:"original_max_position_embeddings,omitempty"`

	// Of "llama3": frequencies that turn less than LowFrequency times in the original
	// length are divided by the factor, those that turn more than HighFrequency times
	// are left alone. 1 and 4 by default.
	LowFrequency  float64 `json:"low_freq_factor,omitempty"`
	HighFrequency float64 `json:"high_freq_factor,omitempty"`

	// Of "yarn": the same for less than BetaSlow and more than BetaFast turns. 1 and
	// 32 by default. The ramp between begins and ends at a whole pair unless Truncate
	// is false.
	BetaFast float64 `json:"beta_fast,omitempty"`
	BetaSlow float64 `json:"beta_slow,omitempty"`
	Truncate *bool   `json:"truncate,omitempty"`

	// Of "yarn": the amplitude, by which cosines and sines are multiplied. The default
	// is a(MScale)/a(MScaleAll) if both are given and a(1) if not, with
	// a(m) = 0.1·m·ln Factor + 1.
	Amplitude float64 `json:"attention_factor,omitempty"`
	MScale    float64 `json:"mscale,omitempty"`
	MScaleAll float64 `json:"mscale_all_dim,omitempty"`
}

// UnmarshalJSON reads the form of Hugging Face configurations.
func (s *Scaling) UnmarshalJSON(b []byte) error {
	type plain Scaling
	v := struct {
		*plain
		Old *ScalingType `json:"type"`
	}{plain: (*plain)(s)}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if v.Old != nil && s.Type == NoScaling {
		s.Type = *v.Old
	}
	return nil
}

func (s Scaling) withDefaults() Scaling {
	setDefault(&s.LowFrequency, 1)
	setDefault(&s.HighFrequency, 4)
	setDefault(&s.BetaFast, 32)
	setDefault(&s.BetaSlow, 1)
	return s
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

func (s Scaling) validate() error {
	positive := func(values ...float64) bool {
		for _, v := range values {
			if !(v > 0) || math.IsInf(v, 0) {
				return false
			}
		}
		return true
	}
	switch {
	case s.Type >= scalingTypes:
		return fmt.Errorf("attention: unknown rope_type %d", s.Type)
	case s.Type != NoScaling && !positive(s.Factor):
		return fmt.Errorf("attention: rope_scaling %v with factor %v, want a positive number", s.Type, s.Factor)
	case (s.Type == Llama3Scaling || s.Type == YaRNScaling) && s.OriginalPositions < 1:
		return fmt.Errorf("attention: rope_scaling %v with original_max_position_embeddings %d, want at least 1", s.Type, s.OriginalPositions)
	case s.Type == Llama3Scaling && !(positive(s.LowFrequency, s.HighFrequency) && s.LowFrequency < s.HighFrequency):
		return fmt.Errorf("attention: rope_scaling llama3 with low_freq_factor %v and high_freq_factor %v, want positive numbers in this order", s.LowFrequency, s.HighFrequency)
	case s.Type == YaRNScaling && !(positive(s.BetaSlow, s.BetaFast) && s.BetaSlow < s.BetaFast):
		return fmt.Errorf("attention: rope_scaling yarn with beta_slow %v and beta_fast %v, want positive numbers in this order", s.BetaSlow, s.BetaFast)
	case !positive(1+math.Abs(s.Amplitude), 1+math.Abs(s.MScale), 1+math.Abs(s.MScaleAll)):
		return fmt.Errorf("attention: rope_scaling with attention_factor %v, mscale %v, mscale_all_dim %v", s.Amplitude, s.MScale, s.MScaleAll)
	}
	return nil
}

// frequencies returns the frequencies of a rotary embedding of dim dimensions and
// its amplitude. A nil Scaling does not scale.
func (s *Scaling) frequencies(base float64, dim int) ([]float64, float64, error) {
	f := powers(base, dim)
	if s == nil {
		return f, 1, nil
	}
	c := s.withDefaults()
	if err := c.validate(); err != nil {
		return nil, 0, err
	}
	switch c.Type {
	case LinearScaling:
		for i := range f {
			f[i] /= c.Factor
		}
	case NTKScaling:
		if dim > 2 {
			f = powers(base*math.Pow(c.Factor, float64(dim)/float64(dim-2)), dim)
		}
	case Llama3Scaling:
		c.llama3(f)
	case YaRNScaling:
		c.yarn(f, base, dim)
		return f, c.amplitude(), nil
	}
	return f, 1, nil
}

// llama3 divides low frequencies by the factor, with a passage between low and high.
func (s *Scaling) llama3(f []float64) {
	for i, v := range f {
		turns := float64(s.OriginalPositions) * v / (2 * math.Pi)
		keep := min(max((turns-s.LowFrequency)/(s.HighFrequency-s.LowFrequency), 0), 1)
		f[i] = keep*v + (1-keep)*v/s.Factor
	}
}

// yarn divides the frequencies of later pairs by the factor, with a ramp between the
// pairs that turn BetaFast and BetaSlow times.
func (s *Scaling) yarn(f []float64, base float64, dim int) {
	// pair returns where frequencies turn so many times in the original length.
	pair := func(turns float64) float64 {
		return float64(dim) * math.Log(float64(s.OriginalPositions)/(turns*2*math.Pi)) / (2 * math.Log(base))
	}
	low, high := pair(s.BetaFast), pair(s.BetaSlow)
	if s.Truncate == nil || *s.Truncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(dim-1))
	if low == high {
		high += 0.001 // as upstream, against a division by zero
	}
	for i, v := range f {
		divided := min(max((float64(i)-low)/(high-low), 0), 1)
		f[i] = (1-divided)*v + divided*v/s.Factor
	}
}

func (s *Scaling) amplitude() float64 {
	a := func(scale float64) float64 {
		if s.Factor <= 1 {
			return 1
		}
		return 0.1*scale*math.Log(s.Factor) + 1
	}
	switch {
	case s.Amplitude != 0:
		return s.Amplitude
	case s.MScale != 0 && s.MScaleAll != 0:
		return a(s.MScale) / a(s.MScaleAll)
	}
	return a(1)
}
