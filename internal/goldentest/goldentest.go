// Package goldentest reads golden vectors: inputs, parameters and results of the
// reference implementations, for tests that compare with them.
//
// A family is a pair of files. NAME.safetensors holds float32 tensors called
// "case/role.name", the roles being in, param, out, state and grad. NAME.json
// describes the cases: configuration, where the results come from, and how far a
// float32 implementation may be off.
package goldentest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Family is a set of cases.
type Family struct {
	Name  string
	Cases []*Case // sorted by name
}

// A Case is one computation with its expected results.
type Case struct {
	Name        string
	Family      string // as the file says, whatever its name is
	Description string
	config      json.RawMessage
	tolerance   tolerance
	tensors     map[string]tensor
	dir         string
}

type tensor struct {
	shape []int
	data  []float32
}

// tolerance is the bound on the error. Numbers are floats, except in families of
// integer data, whose tolerance is the string "exact".
type tolerance struct {
	Out         float64            `json:"out"`
	Grad        float64            `json:"grad"`
	Elementwise float64            `json:"out_elementwise"`
	PerTensor   map[string]float64 `json:"per_tensor"`
}

// Load reads the family in prefix.json and prefix.safetensors. If prefix is a
// directory, the files are cases.json and cases.safetensors in it.
func Load(prefix string) (*Family, error) {
	dir, name := filepath.Split(prefix)
	if fi, err := os.Stat(prefix); err == nil && fi.IsDir() {
		dir, name = prefix, filepath.Base(prefix)
		prefix = filepath.Join(prefix, "cases")
	}
	tensors, err := readTensors(prefix + ".safetensors")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(prefix + ".json")
	if err != nil {
		return nil, err
	}
	var file struct {
		Family string `json:"family"`
		Cases  map[string]struct {
			Description string          `json:"description"`
			Config      json.RawMessage `json:"config"`
			Tolerance   json.RawMessage `json:"tolerance"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("%s.json: %w", prefix, err)
	}
	f := &Family{Name: name}
	for _, key := range slices.Sorted(maps.Keys(file.Cases)) {
		in := file.Cases[key]
		c := &Case{Name: key, Family: file.Family, Description: in.Description, config: in.Config, tensors: tensors[key], dir: dir}
		if len(in.Tolerance) > 0 && in.Tolerance[0] == '{' {
			if err := json.Unmarshal(in.Tolerance, &c.tolerance); err != nil {
				return nil, fmt.Errorf("%s.json: tolerance of case %s: %w", prefix, key, err)
			}
		}
		f.Cases = append(f.Cases, c)
	}
	return f, nil
}

// readTensors reads a safetensors file of float32 tensors and groups them by the
// case in their names.
func readTensors(path string) (map[string]map[string]tensor, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) < 8 || binary.LittleEndian.Uint64(b) > uint64(len(b)-8) {
		return nil, fmt.Errorf("%s: not a safetensors file", path)
	}
	n := int(binary.LittleEndian.Uint64(b))
	header, data := b[8:8+n], b[8+n:]
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(header, &entries); err != nil {
		return nil, fmt.Errorf("%s: header: %w", path, err)
	}
	byCase := map[string]map[string]tensor{}
	for name, raw := range entries {
		if name == "__metadata__" {
			continue
		}
		var e struct {
			DType   string `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, fmt.Errorf("%s: tensor %s: %w", path, name, err)
		}
		key, role, ok := strings.Cut(name, "/")
		size := 4
		for _, d := range e.Shape {
			size *= d
		}
		if !ok || e.DType != "F32" || e.Offsets[0] < 0 || e.Offsets[1] > len(data) || e.Offsets[1]-e.Offsets[0] != size {
			return nil, fmt.Errorf("%s: tensor %s: want a float32 called case/role with %d bytes, have %s and offsets %v", path, name, size, e.DType, e.Offsets)
		}
		t := tensor{shape: e.Shape, data: make([]float32, size/4)}
		for i := range t.data {
			t.data[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[e.Offsets[0]+4*i:]))
		}
		if byCase[key] == nil {
			byCase[key] = map[string]tensor{}
		}
		byCase[key][role] = t
	}
	return byCase, nil
}

// Dir returns the directory that the family was read from, where the checkpoints
// of language model cases are.
func (c *Case) Dir() string { return c.dir }

// Config decodes the configuration of the case into v.
func (c *Case) Config(v any) error {
	if err := json.Unmarshal(c.config, v); err != nil {
		return fmt.Errorf("case %s: config: %w", c.Name, err)
	}
	return nil
}

// Op returns the field "op" of the configuration, which names the computation, or
// "" if it has none.
func (c *Case) Op() string {
	var v struct {
		Op string `json:"op"`
	}
	json.Unmarshal(c.config, &v)
	return v.Op
}

// Has reports whether the case has a tensor of this name, as in "in.x".
func (c *Case) Has(name string) bool { _, ok := c.tensors[name]; return ok }

// Tensor returns the elements of a tensor in row-major order, or nil if the case
// has none of this name. The caller may change them.
func (c *Case) Tensor(name string) []float32 { return slices.Clone(c.tensors[name].data) }

// Shape returns the shape of a tensor.
func (c *Case) Shape(name string) []int { return c.tensors[name].shape }

// Names returns the names of the tensors that begin with prefix, sorted.
func (c *Case) Names(prefix string) []string {
	var names []string
	for name := range c.tensors {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Tolerance returns the bound on the error of a tensor, or 0 if it must be exact.
func (c *Case) Tolerance(name string) float64 {
	if t, ok := c.tolerance.PerTensor[name]; ok {
		return t
	}
	if strings.HasPrefix(name, "grad.") {
		return c.tolerance.Grad
	}
	if c.elementwise(name) {
		return c.tolerance.Elementwise
	}
	return c.tolerance.Out
}

// elementwise reports whether the bound on a tensor is on each of its elements.
func (c *Case) elementwise(name string) bool {
	return c.tolerance.Elementwise != 0 && strings.HasPrefix(name, "out.")
}

// Error returns the error of got with respect to the tensor of this name: the
// largest absolute difference over the largest magnitude expected, or, in cases
// with an element-wise bound, the largest relative difference of an element. It is
// +Inf if a finite number is expected and got is not one, or the other way round.
func (c *Case) Error(name string, got []float32) (float64, error) {
	t, ok := c.tensors[name]
	if !ok {
		return 0, fmt.Errorf("case %s has no tensor %s", c.Name, name)
	}
	if len(got) != len(t.data) {
		return 0, fmt.Errorf("case %s: %s has %d elements, want %d (shape %v)", c.Name, name, len(got), len(t.data), t.shape)
	}
	elementwise := c.elementwise(name)
	worst, scale := 0.0, 1e-6
	for i, w := range t.data {
		want, have := float64(w), float64(got[i])
		if have == want || math.IsNaN(have) && math.IsNaN(want) {
			scale = max(scale, finite(want))
			continue
		}
		diff := math.Abs(have - want)
		if math.IsNaN(diff) {
			diff = math.Inf(1)
		}
		if elementwise && want != 0 {
			diff /= math.Abs(want)
		}
		worst, scale = max(worst, diff), max(scale, finite(want))
	}
	if elementwise {
		return worst, nil
	}
	return worst / scale, nil
}

func finite(x float64) float64 {
	if math.IsInf(x, 0) || math.IsNaN(x) {
		return 0
	}
	return math.Abs(x)
}

// Compare returns an error unless got is the tensor of this name within the
// tolerance of the case.
func (c *Case) Compare(name string, got []float32) error {
	e, err := c.Error(name, got)
	if err != nil {
		return err
	}
	if tol := c.Tolerance(name); e > tol {
		return fmt.Errorf("case %s: %s is off by %.3g, tolerance %.3g", c.Name, name, e, tol)
	}
	return nil
}
