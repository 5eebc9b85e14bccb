package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// A splitter returns the length of the first piece of a text that is not empty. Tokens
// never reach over the border between pieces.
type splitter func(text string) int

// The kinds of characters that patterns tell apart.
func isLetter(r rune) bool { return unicode.IsLetter(r) }
func isNumber(r rune) bool { return unicode.IsNumber(r) }
func isSpace(r rune) bool  { return unicode.Is(unicode.White_Space, r) }
func isOther(r rune) bool  { return !isLetter(r) && !isNumber(r) && !isSpace(r) }
func isBreak(r rune) bool  { return r == '\r' || r == '\n' }

// run returns the length of the characters at the beginning of text that are of a kind,
// the first most at the most if most is not 0.
func run(text string, kind func(rune) bool, most int) int {
	n, count := 0, 0
	for n < len(text) && (most == 0 || count < most) {
		r, size := utf8.DecodeRuneInString(text[n:])
		if !kind(r) {
			break
		}
		n += size
		count++
	}
	return n
}

// splitGPT2 is the pattern of GPT-2 and GPT-NeoX:
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func splitGPT2(text string) int {
	if n := contraction(text, false); n > 0 {
		return n
	}
	blank := 0
	if text[0] == ' ' {
		blank = 1
	}
	for _, kind := range []func(rune) bool{isLetter, isNumber, isOther} {
		if n := run(text[blank:], kind, 0); n > 0 {
			return blank + n
		}
	}
	return spaces(text)
}

// splitLlama3 is the pattern of Llama 3:
//
//	(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
//	\s*[\r\n]+|\s+(?!\S)|\s+
func splitLlama3(text string) int {
	if n := contraction(text, true); n > 0 {
		return n
	}
	first, size := utf8.DecodeRuneInString(text)
	if isBreak(first) || isLetter(first) || isNumber(first) {
		size = 0
	}
	if n := run(text[size:], isLetter, 0); n > 0 {
		return size + n
	}
	if n := run(text, isNumber, 3); n > 0 {
		return n
	}
	blank := 0
	if text[0] == ' ' {
		blank = 1
	}
	if n := run(text[blank:], isOther, 0); n > 0 {
		return blank + n + run(text[blank+n:], isBreak, 0)
	}
	// The last line break of a run of spaces ends a piece.
	all := run(text, isSpace, 0)
	for n := all; n > 0; n-- {
		if isBreak(rune(text[n-1])) {
			return n
		}
	}
	return spaces(text)
}

// spaces is the end of both patterns: a run of spaces but for the last, which belongs to
// what follows, unless nothing does or it is alone.
func spaces(text string) int {
	n := run(text, isSpace, 0)
	if n == len(text) {
		return n
	}
	_, last := utf8.DecodeLastRuneInString(text[:n])
	if n > last {
		return n - last
	}
	return n
}

// contraction returns the length of the end of an English contraction at the beginning of
// text, or 0.
func contraction(text string, anyCase bool) int {
	if text[0] != '\'' {
		return 0
	}
	rest := text[1:]
	for _, end := range [...]string{"s", "t", "re", "ve", "m", "ll", "d"} {
		if n := prefix(rest, end, anyCase); n > 0 {
			return 1 + n
		}
	}
	return 0
}

// prefix returns the length of what is like end at the beginning of text, or 0.
func prefix(text, end string, anyCase bool) int {
	n := 0
	for _, want := range end {
		r, size := utf8.DecodeRuneInString(text[n:])
		if r == utf8.RuneError && size <= 1 {
			return 0
		}
		if r != want && !(anyCase && equalFold(r, want)) {
			return 0
		}
		n += size
	}
	return n
}

// equalFold reports whether a and b are one letter, but for its case. There may be more
// than two of a kind: the long s is an s.
func equalFold(a, b rune) bool {
	for r := unicode.SimpleFold(b); r != b; r = unicode.SimpleFold(r) {
		if r == a {
			return true
		}
	}
	return false
}
