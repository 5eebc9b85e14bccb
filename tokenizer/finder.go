package tokenizer

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// An addedToken is found in a text before anything else happens to it.
type addedToken struct {
	Content    string `json:"content"`
	ID         int    `json:"id"`
	Special    bool   `json:"special"`
	Normalized bool   `json:"normalized"`  // it is looked for after normalization, not before
	SingleWord bool   `json:"single_word"` // not within words
	LStrip     bool   `json:"lstrip"`      // it takes the spaces before it along
	RStrip     bool   `json:"rstrip"`      // and after it
}

// A finder finds added tokens: the leftmost, and of those that begin there the longest.
type finder struct {
	// By first byte, longest first.
	before, after [256][]addedToken
}

func (f *finder) add(t addedToken) {
	if t.Content == "" {
		return
	}
	list := &f.before[t.Content[0]]
	if t.Normalized {
		list = &f.after[t.Content[0]]
	}
	*list = append(*list, t)
	slices.SortStableFunc(*list, func(a, b addedToken) int { return cmp.Compare(len(b.Content), len(a.Content)) })
}

// each calls f for the parts of text: added tokens, and with an id of -1 what lies between
// them. normalized says which tokens are looked for.
func (f *finder) each(text string, normalized bool, do func(part string, id int)) {
	lists := &f.before
	if normalized {
		lists = &f.after
	}
	from := 0
	for i := 0; i < len(text); {
		t := find(lists[text[i]], text, i)
		if t == nil {
			i++
			continue
		}
		begin, end := i, i+len(t.Content)
		if t.LStrip {
			begin = from + len(strings.TrimRightFunc(text[from:begin], isSpace))
		}
		if t.RStrip {
			end += run(text[end:], isSpace, 0)
		}
		if begin > from {
			do(text[from:begin], -1)
		}
		do(text[begin:end], t.ID)
		from, i = end, end
	}
	if from < len(text) {
		do(text[from:], -1)
	}
}

// find returns the first token of list that text has at position i.
func find(list []addedToken, text string, i int) *addedToken {
	for k := range list {
		t := &list[k]
		if strings.HasPrefix(text[i:], t.Content) && (!t.SingleWord || alone(text, i, i+len(t.Content))) {
			return t
		}
	}
	return nil
}

// alone reports whether there is no word character before begin and after end.
func alone(text string, begin, end int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:begin])
	after, _ := utf8.DecodeRuneInString(text[end:])
	return !isWord(before) && !isWord(after)
}

func isWord(r rune) bool { return r == '_' || r != utf8.RuneError && (isLetter(r) || isNumber(r)) }
