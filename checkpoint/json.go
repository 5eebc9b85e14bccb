package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// A jsonReader reads JSON whose structure is known beforehand, token by token. It
// is stricter than encoding/json: the text must be UTF-8, names must not repeat,
// and numbers are whole and not negative. Nothing nests deeper than is asked for,
// so that no input makes it recurse.
type jsonReader struct {
	dec *json.Decoder
}

func newJSONReader(text []byte) (*jsonReader, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return &jsonReader{dec}, nil
}

// token returns the next token.
func (r *jsonReader) token() (json.Token, error) {
	t, err := r.dec.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("is not JSON at byte %d: %w", r.dec.InputOffset(), err)
	}
	return t, nil
}

// delim reads the given delimiter.
func (r *jsonReader) delim(want json.Delim, what string) error {
	t, err := r.token()
	if err == nil && t != want {
		err = fmt.Errorf("is %s, want %s", tokenName(t), what)
	}
	return err
}

// object reads an object. field is called with each name and reads the value.
func (r *jsonReader) object(field func(name string) error) error {
	if err := r.delim('{', "an object"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for r.dec.More() {
		t, err := r.token()
		if err != nil {
			return err
		}
		name := t.(string) // the decoder accepts nothing else here
		if seen[name] {
			return fmt.Errorf("has the name %s twice", short(name))
		}
		seen[name] = true
		if err := field(name); err != nil {
			return err
		}
	}
	_, err := r.token()
	return err
}

// array reads an array. element is called for each element, and reads it.
func (r *jsonReader) array(element func() error) error {
	if err := r.delim('[', "an array"); err != nil {
		return err
	}
	for r.dec.More() {
		if err := element(); err != nil {
			return err
		}
	}
	_, err := r.token()
	return err
}

func (r *jsonReader) string() (string, error) {
	t, err := r.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("is %s, want a string", tokenName(t))
	}
	return s, nil
}

// count reads a whole number that is not negative and fits an int.
func (r *jsonReader) count() (int, error) {
	t, err := r.token()
	if err != nil {
		return 0, err
	}
	s, ok := t.(json.Number)
	if !ok {
		return 0, fmt.Errorf("is %s, want a whole number", tokenName(t))
	}
	n, err := strconv.ParseUint(string(s), 10, 64)
	if err != nil || n > maxInt {
		return 0, fmt.Errorf("is %.40s, want a whole number from 0 to %d", string(s), maxInt)
	}
	return int(n), nil
}

// skip reads a value of any kind and forgets it.
func (r *jsonReader) skip() error {
	for depth := 0; ; {
		t, err := r.token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// end checks that nothing but white space is left.
func (r *jsonReader) end() error {
	if _, err := r.dec.Token(); err != io.EOF {
		return fmt.Errorf("goes on after its end, byte %d", r.dec.InputOffset())
	}
	return nil
}

func tokenName(t json.Token) string {
	switch t := t.(type) {
	case nil:
		return "null"
	case string:
		return "the string " + short(t)
	case json.Number:
		return "the number " + short(string(t))
	case json.Delim:
		if t == '{' {
			return "an object"
		}
		return "an array"
	}
	return fmt.Sprint(t)
}
