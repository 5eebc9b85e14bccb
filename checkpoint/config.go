package checkpoint

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A config is the configuration of a model, or an object within it. Its methods look
// values up by their keys, of which there may be several: different programs have called
// the same thing by different names, and the first one that is there counts. null counts
// as absent. The first value that is missing or makes no sense is kept as an error, and
// zero taken for it, so that a configuration is read in one go and checked at the end.
type config struct {
	file   string
	path   string // of this object in the file, "" or ending in "."
	values map[string]any
	fault  *error // of the whole file
}

// readConfig reads a file.
func readConfig(path string) (*config, error) {
	m, err := openMapping(path)
	if err != nil {
		return nil, err
	}
	defer m.close()
	return parseConfig(path, m.data)
}

// parseConfig reads a configuration that is in memory.
func parseConfig(file string, text []byte) (*config, error) {
	values, err := parsePython(text)
	if err != nil {
		return nil, &FormatError{File: file, Reason: err.Error()}
	}
	return newConfig(file, values), nil
}

func newConfig(file string, values map[string]any) *config {
	return &config{file: file, values: values, fault: new(error)}
}

// err returns the first thing that was wrong.
func (c *config) err() error { return *c.fault }

// fail keeps an error about a value, if it is the first.
func (c *config) fail(key, format string, args ...any) {
	if *c.fault == nil {
		*c.fault = &FormatError{File: c.file, Field: c.path + key, Reason: fmt.Sprintf(format, args...)}
	}
}

// look returns the value of the first key that is there, and that key.
func (c *config) look(keys []string) (any, string) {
	for _, key := range keys {
		if v := c.values[key]; v != nil {
			return v, key
		}
	}
	return nil, ""
}

// has reports whether there is a value.
func (c *config) has(keys ...string) bool {
	v, _ := c.look(keys)
	return v != nil
}

func (c *config) missing(keys []string, want string) {
	c.fail(keys[0], "is missing, want %s%s", want, also(keys[1:]))
}

func also(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	return " (also called " + strings.Join(keys, ", ") + ")"
}

// mostCount bounds the whole numbers of a configuration: sizes, of which no two make an
// overflow when multiplied.
const mostCount = math.MaxInt32

const wantCount = "a whole number from 0 to 2147483647"

// int returns a whole number that must be there.
func (c *config) int(keys ...string) int {
	v, key := c.look(keys)
	if v == nil {
		c.missing(keys, wantCount)
		return 0
	}
	return c.count(v, key)
}

// intOr returns a whole number, or def if there is none.
func (c *config) intOr(def int, keys ...string) int {
	if v, key := c.look(keys); v != nil {
		return c.count(v, key)
	}
	return def
}

// ints returns a list of whole numbers, or nil if there is none. A number on its own is
// a list of one.
func (c *config) ints(keys ...string) []int {
	v, key := c.look(keys)
	if v == nil {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		return []int{c.count(v, key)}
	}
	n := make([]int, len(list))
	for i, v := range list {
		n[i] = c.count(v, key)
	}
	return n
}

func (c *config) count(v any, key string) int {
	s, ok := v.(json.Number)
	n, err := strconv.ParseFloat(string(s), 64) // some write 4.0 for 4
	if !ok || err != nil || n != math.Trunc(n) || n < 0 || n > mostCount {
		c.fail(key, "is %s, want %s", valueName(v), wantCount)
		return 0
	}
	return int(n)
}

// floatOr returns a number, or def if there is none.
func (c *config) floatOr(def float64, keys ...string) float64 {
	v, key := c.look(keys)
	switch v := v.(type) {
	case nil:
		return def
	case float64:
		return v
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return f
		}
	}
	c.fail(key, "is %s, want a number", valueName(v))
	return def
}

// epsilonOr returns a positive number, or def if there is none.
func (c *config) epsilonOr(def float64, keys ...string) float32 {
	f := c.floatOr(def, keys...)
	if !(float32(f) > 0 && f <= math.MaxFloat32) {
		v, key := c.look(keys)
		c.fail(key, "is %s, want a positive number", valueName(v))
	}
	return float32(f)
}

// boolOr returns a truth value, or def if there is none.
func (c *config) boolOr(def bool, keys ...string) bool {
	v, key := c.look(keys)
	if v == nil {
		return def
	}
	b, ok := v.(bool)
	if !ok {
		c.fail(key, "is %s, want true or false", valueName(v))
	}
	return b
}

// stringOr returns a string, or def if there is none.
func (c *config) stringOr(def string, keys ...string) string {
	v, key := c.look(keys)
	if v == nil {
		return def
	}
	s, ok := v.(string)
	if !ok {
		c.fail(key, "is %s, want a string", valueName(v))
	}
	return s
}

// strings returns a list of strings, or nil if there is none.
func (c *config) strings(keys ...string) []string {
	v, key := c.look(keys)
	if v == nil {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		c.fail(key, "is %s, want a list of strings", valueName(v))
	}
	out := make([]string, len(list))
	for i, v := range list {
		if out[i], ok = v.(string); !ok {
			c.fail(key, "has %s in it, want strings", valueName(v))
		}
	}
	return out
}

// sub returns an object, which is empty if it is not there.
func (c *config) sub(keys ...string) *config {
	v, key := c.look(keys)
	s := &config{file: c.file, path: c.path + key + ".", fault: c.fault}
	if v == nil {
		return s
	}
	var ok bool
	if s.values, ok = v.(map[string]any); !ok {
		c.fail(key, "is %s, want an object", valueName(v))
	}
	return s
}

// oneOf fails unless a string, if it is there, is one of those allowed.
func (c *config) oneOf(key string, allowed ...string) {
	if s := c.stringOr(allowed[0], key); !slices.Contains(allowed, s) {
		c.fail(key, "is %s, want %s: other choices are not supported", short(s), strings.Join(allowed, " or "))
	}
}

// decode decodes the object into v as encoding/json does. Infinities and NaN become
// null, which leaves a field at its default.
func (c *config) decode(v any) error {
	text, err := json.Marshal(plainJSON(c.values))
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		field := strings.TrimSuffix(c.path, ".")
		if e, ok := err.(*json.UnmarshalTypeError); ok {
			return &FormatError{File: c.file, Field: c.path + e.Field, Reason: fmt.Sprintf("is a %s, want a %s", e.Value, e.Type)}
		}
		return &FormatError{File: c.file, Field: field, Reason: err.Error()}
	}
	return nil
}

// plainJSON returns v with null for all that JSON does not have.
func plainJSON(v any) any {
	switch v := v.(type) {
	case float64:
		return nil
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plainJSON(v[i])
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for key := range v {
			object[key] = plainJSON(v[key])
		}
		return object
	}
	return v
}

// valueName describes a value in messages.
func valueName(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case json.Number, string, nil:
		return tokenName(v)
	}
	return fmt.Sprint(v)
}
