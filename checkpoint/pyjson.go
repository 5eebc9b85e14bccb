package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
)

// Bounds on what parsePython reads: the configuration of a model has some hundred
// values, a few levels deep.
const (
	maxConfig      = 16 << 20 // bytes
	maxConfigDepth = 32
)

// parsePython reads an object as Python's json module writes it, which is JSON but for
// the bare words Infinity, -Infinity and NaN. transformers 5 writes them as
// {"__float__": "Infinity"}, and both become float64s here. All other numbers are
// json.Numbers, objects are map[string]any, and the rest is as in encoding/json.
func parsePython(text []byte) (map[string]any, error) {
	if len(text) > maxConfig {
		return nil, fmt.Errorf("has %d bytes, want at most %d", len(text), maxConfig)
	}
	r, err := newJSONReader(quoteFloats(text))
	if err != nil {
		return nil, err
	}
	v, err := r.value(0)
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return nil, err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("is not a JSON object")
	}
	return object, nil
}

// floatKey is the only key of an object that stands for a number that JSON has not.
const floatKey = "__float__"

// bareWords matches strings, so that nothing within them is taken for anything else,
// and the words that JSON does not know.
var bareWords = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b`)

// quoteFloats writes bare words the way of transformers 5.
func quoteFloats(text []byte) []byte {
	return bareWords.ReplaceAllFunc(text, func(word []byte) []byte {
		if word[0] == '"' {
			return word
		}
		return fmt.Appendf(nil, `{%q: %q}`, floatKey, word)
	})
}

// value reads a value of any kind.
func (r *jsonReader) value(depth int) (any, error) {
	if depth > maxConfigDepth {
		return nil, fmt.Errorf("nests deeper than %d levels", maxConfigDepth)
	}
	t, err := r.token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('['):
		return r.list(depth)
	case json.Delim('{'):
		object, err := r.fields(depth)
		if word, ok := object[floatKey].(string); ok && len(object) == 1 {
			return namedFloat(word)
		}
		return object, err
	}
	return t, nil
}

// list reads the rest of an array.
func (r *jsonReader) list(depth int) (any, error) {
	list := []any{}
	for r.dec.More() {
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := r.token()
	return list, err
}

// fields reads the rest of an object.
func (r *jsonReader) fields(depth int) (map[string]any, error) {
	object := map[string]any{}
	for r.dec.More() {
		t, err := r.token()
		if err != nil {
			return nil, err
		}
		name := t.(string) // the decoder accepts nothing else here
		if _, ok := object[name]; ok {
			return nil, fmt.Errorf("has the name %s twice", short(name))
		}
		if object[name], err = r.value(depth + 1); err != nil {
			return nil, err
		}
	}
	_, err := r.token()
	return object, err
}

// namedFloat returns the number that a word stands for.
func namedFloat(word string) (any, error) {
	switch word {
	case "Infinity":
		return math.Inf(1), nil
	case "-Infinity":
		return math.Inf(-1), nil
	case "NaN":
		return math.NaN(), nil
	}
	return nil, fmt.Errorf("has the number %s, want Infinity, -Infinity or NaN", short(word))
}
