package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// BPE is a tokenizer by byte-pair encoding: that of GPT-2, GPT-NeoX and Llama 3, which
// works on bytes, and that of Llama and Mistral, which works on characters and spells
// unknown ones as bytes.
type BPE struct {
	merger merger
	tokens []string       // as the files spell them
	texts  []string       // what they stand for
	ids    map[string]int // of tokens, by their spelling
	added  *finder        // tokens that are found before anything else
	begin  []int

	normalize   func(string) string
	split       splitter // nil for one piece
	prefixSpace bool     // a space before a text that does not begin with one
	stripSpace  bool     // the space at the beginning of a text is not part of it
	whole       bool     // a piece that is a token needs no merging
	start       initial
}

// An initial divides a piece into the tokens that merging begins with.
type initial interface {
	symbols(ids []int32, piece string) []int32
}

// byteSymbols makes a token of each byte. Some vocabularies have none, which is -1, for
// bytes that do not occur in UTF-8: these are left out.
type byteSymbols [256]int32

func (s *byteSymbols) symbols(ids []int32, piece string) []int32 {
	for i := range len(piece) {
		if id := s[piece[i]]; id >= 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// charSymbols makes a token of each character, and of the bytes of those that have none.
type charSymbols struct {
	chars   map[string]int32
	bytes   *byteSymbols // nil for none
	unknown int32        // -1 for none
	fuse    bool         // neighbouring unknown characters become one token
}

func (s *charSymbols) symbols(ids []int32, piece string) []int32 {
	wasUnknown := false
	for i, r := range piece {
		size := len(string(r))
		if r == '\ufffd' && !strings.HasPrefix(piece[i:], "\ufffd") {
			size = 1 // a byte that is no character
		}
		char := piece[i : i+size]
		id, ok := s.chars[char]
		switch {
		case ok:
			ids = append(ids, id)
		case s.bytes != nil:
			ids = s.bytes.symbols(ids, char)
		case s.unknown >= 0 && !(s.fuse && wasUnknown):
			ids = append(ids, s.unknown)
		}
		wasUnknown = !ok
	}
	return ids
}

// Encode returns the ids of a text.
func (t *BPE) Encode(text string) []int {
	var ids []int
	t.added.each(text, false, func(part string, id int) {
		if id >= 0 {
			ids = append(ids, id)
			return
		}
		if t.normalize != nil {
			part = t.normalize(part)
		}
		t.added.each(part, true, func(part string, id int) {
			if id >= 0 {
				ids = append(ids, id)
				return
			}
			ids = t.encode(ids, part)
		})
	})
	return ids
}

// encode appends the ids of a text without added tokens.
func (t *BPE) encode(ids []int, text string) []int {
	if t.prefixSpace && text != "" && !isSpace(firstRune(text)) {
		text = " " + text
	}
	var buf [64]int32
	for text != "" {
		n := len(text)
		if t.split != nil {
			n = t.split(text)
		}
		piece := text[:n]
		text = text[n:]
		if t.whole {
			if id, ok := t.ids[spell(piece)]; ok {
				ids = append(ids, id)
				continue
			}
		}
		for _, id := range t.merger.merge(t.start.symbols(buf[:0], piece)) {
			ids = append(ids, int(id))
		}
	}
	return ids
}

func firstRune(text string) rune {
	r, _ := utf8.DecodeRuneInString(text)
	return r
}

// spell is the inverse of spelledBytes.
func spell(piece string) string {
	var b strings.Builder
	for i := range len(piece) {
		b.WriteRune(byteChars[piece[i]])
	}
	return b.String()
}

// Decode returns the text of ids, without the space that Encode puts before a text if it
// does so.
func (t *BPE) Decode(ids ...int) string {
	text := t.decodeMore(ids...)
	if t.stripSpace {
		text = strings.TrimPrefix(text, " ")
	}
	return text
}

// decodeMore returns the text of ids that continue one.
func (t *BPE) decodeMore(ids ...int) string {
	var b strings.Builder
	for _, id := range ids {
		if id >= 0 && id < len(t.texts) {
			b.WriteString(t.texts[id])
		}
	}
	return b.String()
}

// Vocabulary returns the number of ids.
func (t *BPE) Vocabulary() int { return len(t.tokens) }

// Token returns the id of a token as the files spell it.
func (t *BPE) Token(name string) (int, bool) {
	id, ok := t.ids[name]
	return id, ok
}

// Begin returns the ids that are put before a text.
func (t *BPE) Begin() []int { return t.begin }

// maxTokens bounds vocabularies, so that a damaged file is an error.
const maxTokens = 1 << 24

// newByteLevel returns a byte-level tokenizer of a vocabulary, of ids without gaps, and
// merges, each of two tokens, in order.
func newByteLevel(tokens []string, merges [][2]string) (*BPE, error) {
	t := &BPE{tokens: tokens, split: splitGPT2, added: new(finder)}
	if err := t.index(); err != nil {
		return nil, err
	}
	for _, token := range tokens {
		t.texts = append(t.texts, spelledBytes(token))
	}
	var start byteSymbols
	for b, c := range byteChars {
		start[b] = -1
		if id, ok := t.ids[string(c)]; ok {
			start[b] = int32(id)
		} else if b < utf8.RuneSelf {
			return nil, fmt.Errorf("tokenizer: no token for the byte %#x (%q)", b, c)
		}
	}
	t.start = &start
	return t, t.setMerges(merges)
}

// index makes ids of tokens.
func (t *BPE) index() error {
	if len(t.tokens) == 0 || len(t.tokens) > maxTokens {
		return fmt.Errorf("tokenizer: a vocabulary of %d tokens", len(t.tokens))
	}
	t.ids = make(map[string]int, len(t.tokens))
	for id, token := range t.tokens {
		if _, ok := t.ids[token]; ok && token != "" {
			return fmt.Errorf("tokenizer: two tokens are spelled %q", token)
		}
		t.ids[token] = id
	}
	return nil
}

func (t *BPE) setMerges(merges [][2]string) error {
	t.merger.pairs = make(map[pair]merge, len(merges))
	for rank, m := range merges {
		left, ok1 := t.ids[m[0]]
		right, ok2 := t.ids[m[1]]
		into, ok3 := t.ids[m[0]+m[1]]
		if !ok1 || !ok2 || !ok3 {
			return fmt.Errorf("tokenizer: merge %d joins %q and %q, but not all of these and what they make are tokens", rank, m[0], m[1])
		}
		p := pair{int32(left), int32(right)}
		if _, ok := t.merger.pairs[p]; !ok {
			t.merger.pairs[p] = merge{int32(rank), int32(into)}
		}
	}
	return nil
}

// errNoTokens is for files that hold something else.
var errNoTokens = errors.New("tokenizer: no vocabulary")

// composed is the normalization form C of Unicode.
func composed(text string) string { return norm.NFC.String(text) }
