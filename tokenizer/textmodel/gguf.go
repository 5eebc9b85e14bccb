package textmodel

import (
	"fmt"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/tokenizer"
)

// ggufTokenizer makes a tokenizer of the vocabulary in a GGUF file.
func ggufTokenizer(path string) (tokenizer.Tokenizer, error) {
	f, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	v, err := f.Vocabulary()
	if err != nil {
		return nil, err
	}
	var begin []int
	if v.Begin >= 0 && (v.AddBegin == nil && v.Model == "llama" || v.AddBegin != nil && *v.AddBegin) {
		begin = []int{v.Begin}
	}
	switch v.Model {
	case "llama":
		return tokenizer.NewScored(pieces(v), v.AddPrefix == nil || *v.AddPrefix, begin...)
	case "gpt2":
		return byteLevel(path, v, begin)
	}
	return nil, fmt.Errorf("%s: a tokenizer of the kind %q is not supported (llama and gpt2 are)", path, v.Model)
}

func pieces(v *checkpoint.Vocabulary) []tokenizer.Piece {
	list := make([]tokenizer.Piece, len(v.Tokens))
	for i, text := range v.Tokens {
		list[i] = tokenizer.Piece{Text: text, Kind: tokenizer.NormalPiece}
		if v.Scores != nil {
			list[i].Score = v.Scores[i]
		}
		if v.Types != nil {
			list[i].Kind = tokenizer.PieceKind(v.Types[i])
		}
	}
	return list
}

// byteLevel makes a tokenizer of bytes. The patterns are called as llama.cpp calls them.
func byteLevel(path string, v *checkpoint.Vocabulary, begin []int) (tokenizer.Tokenizer, error) {
	t := tokenizer.Vocabulary{Tokens: v.Tokens, Merges: v.Merges, Begin: begin}
	switch v.Pre {
	case "", "default", "gpt-2":
	case "gpt-neox", "olmo", "dolma":
		t.NFC = true
	case "llama-bpe", "llama3", "llama-v3":
		t.Pattern, t.Whole = tokenizer.Llama3Pattern, true
	default:
		return nil, fmt.Errorf("%s: the pattern %q is not supported", path, v.Pre)
	}
	for id, kind := range v.Types {
		switch kind {
		case checkpoint.ControlToken:
			t.Special = append(t.Special, id)
		case checkpoint.UserDefinedToken:
			t.UserDefined = append(t.UserDefined, id)
		}
	}
	return tokenizer.NewByteLevel(t)
}
