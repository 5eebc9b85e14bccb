package checkpoint

import "fmt"

// A TokenType says what a token of a [Vocabulary] is for.
type TokenType int

// The types of tokens, as GGUF files number them.
const (
	NormalToken      TokenType = 1
	UnknownToken     TokenType = 2
	ControlToken     TokenType = 3 // as the one that begins a text
	UserDefinedToken TokenType = 4 // taken from the text before anything else is
	UnusedToken      TokenType = 5
	ByteToken        TokenType = 6 // a single byte, spelled <0x0A>
)

// A Vocabulary is the tokenizer in a GGUF file: the tokens in the order of their ids, and
// what is needed to make a tokenizer of them. Package tokenizer, a module of its own,
// does that: of a Model "llama" by NewScored, of a "gpt2" by ParseGPT2, from the tokens
// and Merges, if the split pattern Pre is that of GPT-2.
type Vocabulary struct {
	Model string // "llama" for SentencePiece, "gpt2" for byte-level pair encoding, …
	Pre   string // how texts are split beforehand, as in "gpt-2" or "llama-bpe"

	Tokens []string
	Scores []float32   // of SentencePiece; nil for none
	Types  []TokenType // nil for all normal
	Merges []string    // pairs with a space between, in the order of their ranks

	Begin, End, Unknown, Padding int // tokens; -1 for none
	AddBegin                     *bool
	AddEnd                       *bool
	AddPrefix                    *bool // whether a text is read as if it began with a space
}

// Vocabulary returns the tokenizer in a GGUF file. It is an error if there is none, or
// if its parts do not fit together.
func (f *File) Vocabulary() (*Vocabulary, error) {
	r := vocabularyReader{values: f.values}
	v := &Vocabulary{
		Tokens: listOf[string](&r, "tokens"), Merges: listOf[string](&r, "merges"),
		Begin: r.token("bos"), End: r.token("eos"), Unknown: r.token("unknown"), Padding: r.token("padding"),
		AddBegin: r.bool("add_bos_token"), AddEnd: r.bool("add_eos_token"), AddPrefix: r.bool("add_space_prefix"),
	}
	v.Model, _ = r.value("model").(string)
	v.Pre, _ = r.value("pre").(string)
	for _, s := range listOf[float64](&r, "scores") {
		v.Scores = append(v.Scores, float32(s))
	}
	for _, t := range listOf[int64](&r, "token_type") {
		v.Types = append(v.Types, TokenType(t))
	}
	if v.Model == "" || v.Tokens == nil {
		r.fail("tokens", "is missing, want a tokenizer")
	}
	n := len(v.Tokens)
	if v.Scores != nil && len(v.Scores) != n {
		r.fail("scores", "has %d elements, want %d, one for each token", len(v.Scores), n)
	}
	if v.Types != nil && len(v.Types) != n {
		r.fail("token_type", "has %d elements, want %d, one for each token", len(v.Types), n)
	}
	for _, id := range []int{v.Begin, v.End, v.Unknown, v.Padding} {
		if id >= n {
			r.fail("tokens", "has %d elements, but a special token is %d", n, id)
		}
	}
	if r.err != nil {
		r.err.File = f.title
		return nil, r.err
	}
	return v, nil
}

// A vocabularyReader looks up values and keeps the first error.
type vocabularyReader struct {
	values map[string]any
	err    *FormatError
}

const vocabularyPrefix = "tokenizer.ggml."

func (r *vocabularyReader) value(key string) any { return r.values[vocabularyPrefix+key] }

func (r *vocabularyReader) fail(key, format string, args ...any) {
	if r.err == nil {
		r.err = &FormatError{Field: vocabularyPrefix + key, Reason: fmt.Sprintf(format, args...)}
	}
}

// listOf returns a list, or nil if there is none.
func listOf[T any](r *vocabularyReader, key string) []T {
	v := r.value(key)
	list, ok := v.([]T)
	if v != nil && !ok {
		r.fail(key, "is a %T, want a %T", v, list)
	}
	return list
}

// token returns the id of a special token, or -1.
func (r *vocabularyReader) token(name string) int {
	v := r.value(name + "_token_id")
	if v == nil {
		return -1
	}
	id, ok := v.(int64)
	if !ok || id < 0 || id > mostCount {
		r.fail(name+"_token_id", "is %v, want a token", v)
		return -1
	}
	return int(id)
}

func (r *vocabularyReader) bool(key string) *bool {
	v := r.value(key)
	if v == nil {
		return nil
	}
	b, ok := v.(bool)
	if !ok {
		r.fail(key, "is %v, want true or false", v)
	}
	return &b
}
