package tokenizer

import "unicode/utf8"

// A Tokenizer turns text into token ids and back. It is safe for many goroutines.
type Tokenizer interface {
	// Encode returns the ids of a text, without those that mark the beginning or end
	// of one. Special tokens that the text spells out, as in "<|endoftext|>", are
	// recognised.
	Encode(text string) []int

	// Decode returns the text of ids. Ids that do not exist have none. The bytes are
	// not always valid UTF-8, since a character may be cut; see [Decoder].
	Decode(ids ...int) string

	// Vocabulary returns the number of ids.
	Vocabulary() int

	// Token returns the id of a token by the name it has in the tokenizer's files.
	Token(name string) (id int, ok bool)

	// Begin returns the ids that are put before a text, such as that of the beginning
	// of a text; for many models there are none.
	Begin() []int
}

// A Decoder decodes the ids of a text one by one, as they are generated.
type Decoder struct {
	tokenizer Tokenizer
	started   bool
	pending   []byte
}

// NewDecoder returns a decoder. text says whether the ids it gets are the beginning of a
// text, rather than the continuation of one that was shown already.
func NewDecoder(t Tokenizer, text bool) *Decoder { return &Decoder{tokenizer: t, started: !text} }

// continuer is a Tokenizer that spells the first token of a text otherwise than later
// ones.
type continuer interface {
	decodeMore(ids ...int) string
}

// Next returns what of the text became certain with one more token: all of it but the
// beginning of a character that has not ended.
func (d *Decoder) Next(id int) string {
	text := d.tokenizer.Decode
	if c, ok := d.tokenizer.(continuer); ok && d.started {
		text = c.decodeMore
	}
	d.started = true
	d.pending = append(d.pending, text(id)...)
	n := complete(d.pending)
	s := string(d.pending[:n])
	d.pending = append(d.pending[:0], d.pending[n:]...)
	return s
}

// Flush returns what is left at the end of a text: bytes that are no character.
func (d *Decoder) Flush() string {
	s := string(d.pending)
	d.pending = d.pending[:0]
	return s
}

// complete returns the length of b without a character at the end that is cut.
func complete(b []byte) int {
	for n := 1; n <= min(len(b), utf8.UTFMax-1); n++ {
		c := b[len(b)-n]
		if utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-n:]) {
				return len(b) - n
			}
			break
		}
	}
	return len(b)
}
