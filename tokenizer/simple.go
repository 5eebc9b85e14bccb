package tokenizer

import (
	"fmt"
	"strings"
)

// Bytes is the tokenizer of models that read bytes: the ids are 0 to 255. Size is its
// vocabulary, which may be larger, as the 512 of Evo and StripedHyena; 0 stands for 256.
type Bytes struct{ Size int }

// Encode returns the bytes of text.
func (Bytes) Encode(text string) []int {
	ids := make([]int, len(text))
	for i := range len(text) {
		ids[i] = int(text[i])
	}
	return ids
}

// Decode returns the bytes as text. Ids above 255 have no text.
func (Bytes) Decode(ids ...int) string {
	b := make([]byte, 0, len(ids))
	for _, id := range ids {
		if id >= 0 && id <= 255 {
			b = append(b, byte(id))
		}
	}
	return string(b)
}

// Vocabulary returns the number of ids.
func (b Bytes) Vocabulary() int {
	if b.Size == 0 {
		return 256
	}
	return b.Size
}

// Token returns the byte of a name of one byte.
func (Bytes) Token(name string) (int, bool) {
	if len(name) != 1 {
		return 0, false
	}
	return int(name[0]), true
}

// Begin returns nothing.
func (Bytes) Begin() []int { return nil }

// Chars is a tokenizer with one id for each of some characters.
type Chars struct {
	tokens  []string
	ids     map[rune]int
	unknown int
}

// NewChars returns a tokenizer. tokens are the names of the ids; those of one character
// are the ones that Encode finds. Other characters become the id called unknown.
func NewChars(tokens []string, unknown string) (*Chars, error) {
	c := &Chars{tokens: tokens, ids: map[rune]int{}, unknown: -1}
	for id, name := range tokens {
		if r := []rune(name); len(r) == 1 {
			if _, ok := c.ids[r[0]]; ok {
				return nil, fmt.Errorf("tokenizer: two tokens are called %q", name)
			}
			c.ids[r[0]] = id
		}
		if name == unknown {
			c.unknown = id
		}
	}
	if c.unknown < 0 {
		return nil, fmt.Errorf("tokenizer: no token is called %q", unknown)
	}
	return c, nil
}

// DNA returns the tokenizer of HyenaDNA: A 7, C 8, G 9, T 10, N 11, and 6 for all else.
// Lower case, which marks repeats in genomes, is read as upper case.
func DNA() *Chars {
	c, err := NewChars([]string{"[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]", "A", "C", "G", "T", "N"}, "[UNK]")
	if err != nil {
		panic(err)
	}
	for r, id := range map[rune]int{'a': 7, 'c': 8, 'g': 9, 't': 10, 'n': 11} {
		c.ids[r] = id
	}
	return c
}

// Encode returns an id for each character of text.
func (c *Chars) Encode(text string) []int {
	ids := make([]int, 0, len(text))
	for _, r := range text {
		id, ok := c.ids[r]
		if !ok {
			id = c.unknown
		}
		ids = append(ids, id)
	}
	return ids
}

// Decode returns the names of ids.
func (c *Chars) Decode(ids ...int) string {
	var b strings.Builder
	for _, id := range ids {
		if id >= 0 && id < len(c.tokens) {
			b.WriteString(c.tokens[id])
		}
	}
	return b.String()
}

// Vocabulary returns the number of ids.
func (c *Chars) Vocabulary() int { return len(c.tokens) }

// Token returns the id called name.
func (c *Chars) Token(name string) (int, bool) {
	for id, n := range c.tokens {
		if n == name {
			return id, true
		}
	}
	return 0, false
}

// Begin returns nothing.
func (c *Chars) Begin() []int { return nil }
