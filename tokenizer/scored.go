package tokenizer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Piece is a token of a tokenizer of SentencePiece (arXiv:1808.06226) with its score:
// of the pairs that can be joined, the one that makes the token of the highest score is.
type Piece struct {
	Text  string
	Score float32
	Kind  PieceKind
}

// A PieceKind says what a piece is for.
type PieceKind uint8

// The kinds of pieces, with the numbers that SentencePiece and GGUF give them.
const (
	NormalPiece      PieceKind = 1
	UnknownPiece     PieceKind = 2
	ControlPiece     PieceKind = 3 // such as the beginning of a text: never made of text
	UserDefinedPiece PieceKind = 4 // found before anything else
	UnusedPiece      PieceKind = 5
	BytePiece        PieceKind = 6 // <0x00> to <0xFF>
)

// blank is what SentencePiece writes for a space.
const blank = "▁"

// NewScored returns a tokenizer of SentencePiece by byte-pair encoding, that of Llama 2 and
// of the models of llama2.c: of some pieces, in the order of their ids. addPrefix says
// whether a text is read as if it began with a space, as is usual. begin are the ids that
// are put before a text.
func NewScored(pieces []Piece, addPrefix bool, begin ...int) (*BPE, error) {
	s := &BPE{added: new(finder), begin: begin, stripSpace: addPrefix}
	if addPrefix {
		s.normalize = func(text string) string { return " " + text }
	}
	start := &charSymbols{chars: map[string]int32{}, unknown: -1}
	var bytes byteSymbols
	found := 0
	scores := make([]float32, len(pieces))
	byText := map[string]int32{}
	for id, p := range pieces {
		text := strings.ReplaceAll(p.Text, blank, " ")
		scores[id] = p.Score
		switch p.Kind {
		case NormalPiece:
			if _, ok := byText[text]; !ok {
				byText[text] = int32(id)
			}
		case UserDefinedPiece:
			s.added.add(addedToken{Content: text, ID: id, Normalized: true})
		case UnknownPiece:
			start.unknown, text = int32(id), ""
		case ControlPiece, UnusedPiece:
			text = ""
		case BytePiece:
			var b byte
			if _, err := fmt.Sscanf(p.Text, "<0x%02X>", &b); err != nil {
				return nil, fmt.Errorf("tokenizer: piece %d of a byte is called %q", id, p.Text)
			}
			bytes[b], text = int32(id), string([]byte{b})
			found++
		default:
			return nil, fmt.Errorf("tokenizer: piece %d is of the unknown kind %d", id, p.Kind)
		}
		s.tokens, s.texts = append(s.tokens, p.Text), append(s.texts, text)
	}
	if len(pieces) == 0 || len(pieces) > maxTokens {
		return nil, fmt.Errorf("tokenizer: a vocabulary of %d tokens", len(pieces))
	}
	if found == 256 {
		start.bytes = &bytes
	} else if found > 0 {
		return nil, fmt.Errorf("tokenizer: pieces for %d bytes, want 256 or none", found)
	}
	s.ids = make(map[string]int, len(pieces))
	for id := len(pieces) - 1; id >= 0; id-- {
		s.ids[pieces[id].Text] = id // of several, the first
	}
	for text, id := range byText {
		if len([]rune(text)) == 1 {
			start.chars[text] = id
		}
	}
	s.start = start
	s.merger.pairs = pairsOf(byText, scores)
	if blanksBegin(byText) {
		s.split = splitSpaces
	}
	return s, nil
}

// blanksBegin reports whether no token has a space after something else. Then nothing is
// ever joined over that border, and texts can be divided there.
func blanksBegin(byText map[string]int32) bool {
	for text := range byText {
		if strings.Contains(strings.TrimLeft(text, " "), " ") {
			return false
		}
	}
	return true
}

// splitSpaces begins a piece at every space that follows something else.
func splitSpaces(text string) int {
	for i := 1; i < len(text); i++ {
		if text[i] == ' ' && text[i-1] != ' ' {
			return i
		}
	}
	return len(text)
}

// pairsOf returns all pairs of tokens that make a token. Their ranks are in the order of
// the scores, highest first, and equal for equal scores.
func pairsOf(byText map[string]int32, scores []float32) map[pair]merge {
	distinct := slices.Clone(scores)
	slices.SortFunc(distinct, func(a, b float32) int { return cmp.Compare(b, a) })
	distinct = slices.Compact(distinct)
	pairs := map[pair]merge{}
	for text, id := range byText {
		rank, _ := slices.BinarySearchFunc(distinct, scores[id], func(a, b float32) int { return cmp.Compare(b, a) })
		for i := range text {
			left, ok1 := byText[text[:i]]
			right, ok2 := byText[text[i:]]
			if ok1 && ok2 {
				pairs[pair{left, right}] = merge{int32(rank), id}
			}
		}
	}
	return pairs
}
