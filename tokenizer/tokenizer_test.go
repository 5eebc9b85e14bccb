package tokenizer_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/tokenizer"
)

// vocabulary returns the tokens of a small byte-level tokenizer: the bytes and what the
// merges make.
func vocabulary(merges ...string) map[string]int {
	vocab := map[string]int{}
	add := func(token string) {
		if _, ok := vocab[token]; !ok {
			vocab[token] = len(vocab)
		}
	}
	next := rune(256)
	for b := range 256 {
		switch {
		case b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae:
			add(string(rune(b)))
		default:
			add(string(next))
			next++
		}
	}
	for _, m := range merges {
		add(strings.ReplaceAll(m, " ", ""))
	}
	return vocab
}

// file returns a tokenizer.json with some parts replaced.
func file(t testing.TB, merges []string, change map[string]any) []byte {
	t.Helper()
	vocab := vocabulary(merges...)
	f := map[string]any{
		"added_tokens":  []any{map[string]any{"id": len(vocab), "content": "<|end|>", "special": true}},
		"normalizer":    map[string]any{"type": "NFC"},
		"pre_tokenizer": map[string]any{"type": "ByteLevel", "add_prefix_space": false},
		"model":         map[string]any{"type": "BPE", "vocab": vocab, "merges": merges},
	}
	for k, v := range change {
		f[k] = v
	}
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func parse(t testing.TB, data []byte) *tokenizer.BPE {
	t.Helper()
	tok, err := tokenizer.ParseJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// spelled returns the texts of the tokens of a text.
func spelled(tok tokenizer.Tokenizer, text string) []string {
	var parts []string
	for _, id := range tok.Encode(text) {
		parts = append(parts, tok.Decode(id))
	}
	return parts
}

func TestMerges(t *testing.T) {
	tok := parse(t, file(t, []string{"l o", "lo w", "e r", "Ġ low", "Ġ Ġ"}, nil))
	for text, want := range map[string][]string{
		"lower":          {"low", "er"},
		"low lower":      {"low", " low", "er"},
		"  low":          {" ", " low"},
		"<|end|>low":     {"<|end|>", "low"},
		"low<|end|> low": {"low", "<|end|>", " low"},
		"":               nil,
	} {
		if got := spelled(tok, text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if id, ok := tok.Token("<|end|>"); !ok || id != tok.Vocabulary()-1 {
		t.Errorf("the end is token %d, %v", id, ok)
	}
}

// TestLongMerges compares texts in one piece, which are merged with a queue, with short
// ones.
func TestLongMerges(t *testing.T) {
	tok := parse(t, file(t, []string{"a b", "ab a", "b a", "aba b"}, nil))
	for _, unit := range []string{"ab", "aba", "bba", "abaab"} {
		long := strings.Repeat(unit, 50)
		got := spelled(tok, long)
		if strings.Join(got, "") != long {
			t.Fatalf("%q comes back as %q", long, got)
		}
		// The definition: the first merge of the list, leftmost, until none is left.
		want := strings.Split(long, "")
		for _, m := range []string{"a b", "ab a", "b a", "aba b"} {
			left, right, _ := strings.Cut(m, " ")
			for i := 0; i+1 < len(want); i++ {
				if want[i] == left && want[i+1] == right {
					want = slices.Replace(want, i, i+2, left+right)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s…: %q, want %q", unit, got[:5], want[:5])
		}
	}
}

func TestPatterns(t *testing.T) {
	llama := map[string]any{"pre_tokenizer": map[string]any{"type": "Sequence", "pretokenizers": []any{
		map[string]any{"type": "Split", "behavior": "Isolated", "pattern": map[string]any{
			"Regex": `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`}},
		map[string]any{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
	}}}
	// Each piece is a token if everything merges within it.
	for _, c := range []struct {
		change map[string]any
		text   string
		want   []string
	}{
		{nil, "it's we'LL", []string{"it", "'s", " we", "'", "LL"}},
		{nil, "a1234 !?x", []string{"a", "1234", " !?", "x"}},
		{nil, "a \n\n b  ", []string{"a", " \n\n", " b", "  "}},
		{nil, "a\n\nb", []string{"a", "\n", "\n", "b"}},
		{nil, "x\u00a0y", []string{"x", "\u00a0", "y"}},
		{llama, "it's we'LL'\u017f", []string{"it", "'s", " we", "'LL", "'\u017f"}},
		{llama, "a1234 !?x", []string{"a", "123", "4", " !?", "x"}},
		{llama, "a \n\n b  ", []string{"a", " \n\n", " b", "  "}},
		{llama, "!!\n\nb", []string{"!!\n\n", "b"}},
		{llama, "\tif(x)", []string{"\tif", "(x", ")"}},
		{llama, " \n\n  c", []string{" \n\n", " ", " c"}},
	} {
		// Merges that join everything: the pieces themselves.
		var merges []string
		plain := parse(t, file(t, nil, nil))
		for _, piece := range c.want {
			var whole string
			for _, id := range plain.Encode(piece) {
				next := name(id)
				if whole != "" {
					merges = append(merges, whole+" "+next)
				}
				whole += next
			}
		}
		tok := parse(t, file(t, unique(merges), c.change))
		if got := spelled(tok, c.text); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// name returns the spelling of a byte.
func name(id int) string {
	for token, i := range vocabulary() {
		if i == id {
			return token
		}
	}
	panic(id)
}

func unique(list []string) []string {
	var u []string
	for _, s := range list {
		if !slices.Contains(u, s) {
			u = append(u, s)
		}
	}
	return u
}

func TestAddedTokens(t *testing.T) {
	n := len(vocabulary())
	tok := parse(t, file(t, nil, map[string]any{"added_tokens": []any{
		map[string]any{"id": n, "content": "<a>"},
		map[string]any{"id": n + 1, "content": "<a>b"},
		map[string]any{"id": n + 2, "content": "  ", "normalized": true},
		map[string]any{"id": n + 3, "content": "word", "single_word": true},
		map[string]any{"id": n + 4, "content": "<l>", "lstrip": true, "rstrip": true},
	}}))
	for text, want := range map[string][]int{
		"<a>":       {n},
		"<a>b":      {n + 1},
		"<a><a>b":   {n, n + 1},
		"   ":       {n + 2, 220},
		"words":     tok.Encode("w" + "ords"),
		"word":      {n + 3},
		" \n<l> \n": {n + 4},
	} {
		if text == "words" {
			if slices.Contains(tok.Encode(text), n+3) {
				t.Error("a part of a word was found")
			}
			continue
		}
		got := tok.Encode(text)
		if text == "   " {
			if len(got) != 2 || got[0] != n+2 {
				t.Errorf("%q: %v", text, got)
			}
			continue
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// pieces returns a small tokenizer of SentencePiece.
func pieces() []tokenizer.Piece {
	list := []tokenizer.Piece{{Text: "<unk>", Kind: tokenizer.UnknownPiece}, {Text: "<s>", Kind: tokenizer.ControlPiece}, {Text: "</s>", Kind: tokenizer.ControlPiece}}
	for b := range 256 {
		list = append(list, tokenizer.Piece{Text: fmt.Sprintf("<0x%02X>", b), Kind: tokenizer.BytePiece})
	}
	for i, text := range []string{"▁a", "ab", "▁ab", "▁", "a", "b", "é"} {
		list = append(list, tokenizer.Piece{Text: text, Kind: tokenizer.NormalPiece, Score: -float32(i)})
	}
	return list
}

func TestScored(t *testing.T) {
	tok, err := tokenizer.NewScored(pieces(), true, 1)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int{
		"ab":    {261},
		"aab":   {259, 260}, // " a" has a higher score than "ab"
		"b ab":  {262, 264, 261},
		"é":     {262, 265},
		"ü":     {262, 3 + 0xc3, 3 + 0xbc},
		"a\xff": {259, 3 + 0xff},
		"":      nil,
		"<s>":   {262, 3 + '<', 3 + 's', 3 + '>'},
	} {
		got := tok.Encode(text)
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
		if back := tok.Decode(got...); back != text {
			t.Errorf("%q comes back as %q", text, back)
		}
	}
	if !slices.Equal(tok.Begin(), []int{1}) {
		t.Errorf("begins with %v", tok.Begin())
	}
}

// TestCharacters reads a tokenizer.json in the manner of Llama 2.
func TestCharacters(t *testing.T) {
	vocab := map[string]int{}
	for id, p := range pieces() {
		vocab[p.Text] = id
	}
	data, err := json.Marshal(map[string]any{
		"added_tokens": []any{map[string]any{"id": 1, "content": "<s>", "special": true}},
		"normalizer": map[string]any{"type": "Sequence", "normalizers": []any{
			map[string]any{"type": "Prepend", "prepend": "▁"},
			map[string]any{"type": "Replace", "pattern": map[string]any{"String": " "}, "content": "▁"},
		}},
		"post_processor": map[string]any{"type": "TemplateProcessing",
			"single":         []any{map[string]any{"SpecialToken": map[string]any{"id": "<s>"}}, map[string]any{"Sequence": map[string]any{"id": "A"}}},
			"special_tokens": map[string]any{"<s>": map[string]any{"ids": []int{1}}},
		},
		"model": map[string]any{"type": "BPE", "vocab": vocab, "byte_fallback": true, "unk_token": "<unk>", "merges": []any{[]string{"▁", "a"}, []string{"a", "b"}, []string{"▁a", "b"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	tok := parse(t, data)
	for text, want := range map[string][]int{"ab": {261}, "b ab": {262, 264, 261}, "ü": {262, 3 + 0xc3, 3 + 0xbc}, "<s>a": {1, 259}} {
		if got := tok.Encode(text); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if !slices.Equal(tok.Begin(), []int{1}) || tok.Decode(261) != "ab" {
		t.Errorf("begins with %v, decodes to %q", tok.Begin(), tok.Decode(261))
	}
}

func TestDecoder(t *testing.T) {
	tok, err := tokenizer.NewScored(pieces(), true, 1)
	if err != nil {
		t.Fatal(err)
	}
	d := tokenizer.NewDecoder(tok, true)
	var parts []string
	for _, id := range []int{259, 3 + 0xf0, 3 + 0x9f, 3 + 0xa4, 3 + 0xa6, 259, 3 + 0xc3} {
		parts = append(parts, d.Next(id))
	}
	if want := []string{"a", "", "", "", "🤦", " a", ""}; !slices.Equal(parts, want) {
		t.Errorf("%q, want %q", parts, want)
	}
	if rest := d.Flush(); rest != "\xc3" {
		t.Errorf("left over: %q", rest)
	}
	if got := tokenizer.NewDecoder(tok, false).Next(259); got != " a" {
		t.Errorf("a text that goes on: %q", got)
	}
}

func TestBytesAndChars(t *testing.T) {
	b := tokenizer.Bytes{Size: 512}
	if got := b.Encode("aé"); !slices.Equal(got, []int{97, 0xc3, 0xa9}) || b.Decode(append(got, 300, -1)...) != "aé" || b.Vocabulary() != 512 {
		t.Errorf("bytes: %v", got)
	}
	dna := tokenizer.DNA()
	if got := dna.Encode("ACGTNacgtnX"); !slices.Equal(got, []int{7, 8, 9, 10, 11, 7, 8, 9, 10, 11, 6}) {
		t.Errorf("DNA: %v", got)
	}
	if got := dna.Decode(1, 7, 99); got != "[SEP]A" {
		t.Errorf("DNA: %q", got)
	}
	for _, tokens := range [][]string{{"A", "A", "?"}, {"A"}} {
		if _, err := tokenizer.NewChars(tokens, "?"); err == nil {
			t.Errorf("%q gave no error", tokens)
		}
	}
}

// llama2c returns a file of llama2.c.
func llama2c(n int) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 7)
	for id := range n {
		text := fmt.Sprintf("token %d", id)
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(-float32(id)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
		b = append(b, text...)
	}
	return b
}

func TestBadFiles(t *testing.T) {
	good := llama2c(300)
	if _, err := tokenizer.ParseLlama2C(good); err != nil {
		t.Fatal(err)
	}
	for i := range len(good) {
		// Cut between two tokens, a file is one with fewer of them.
		tokenizer.ParseLlama2C(good[:i])
	}
	for name, data := range map[string][]byte{"empty": nil, "short": good[:9], "few": llama2c(259), "cut": good[:len(good)-1]} {
		if _, err := tokenizer.ParseLlama2C(data); err == nil {
			t.Errorf("llama2.c, %s: no error", name)
		}
	}
	vocab := vocabulary()
	for name, change := range map[string]map[string]any{
		"no model":      {"model": nil},
		"unigram":       {"model": map[string]any{"type": "Unigram", "vocab": vocab}},
		"dropout":       {"model": map[string]any{"vocab": vocab, "dropout": 0.1}},
		"merge":         {"model": map[string]any{"vocab": vocab, "merges": []string{"a b"}}},
		"merge of one":  {"model": map[string]any{"vocab": vocab, "merges": []string{"a"}}},
		"negative id":   {"model": map[string]any{"vocab": map[string]int{"a": -1}}},
		"far id":        {"model": map[string]any{"vocab": map[string]int{"a": 1 << 30}}},
		"two of an id":  {"model": map[string]any{"vocab": map[string]int{"a": 0, "b": 0}}},
		"few bytes":     {"model": map[string]any{"vocab": map[string]int{"a": 0, "b": 1}}},
		"normalizer":    {"normalizer": map[string]any{"type": "Lowercase"}},
		"pre-tokenizer": {"pre_tokenizer": map[string]any{"type": "Digits"}},
		"pattern":       {"pre_tokenizer": map[string]any{"type": "Sequence", "pretokenizers": []any{map[string]any{"type": "Split", "pattern": map[string]any{"Regex": "x"}, "behavior": "Isolated"}, map[string]any{"type": "ByteLevel"}}}},
		"post":          {"post_processor": map[string]any{"type": "BertProcessing"}},
		"added":         {"added_tokens": []any{map[string]any{"id": 5, "content": "a"}}},
	} {
		if _, err := tokenizer.ParseJSON(file(t, nil, change)); err == nil {
			t.Errorf("tokenizer.json, %s: no error", name)
		}
	}
	for _, data := range []string{"", "{", "\x08\x96\x01", "\x0a\xff\xff\xff\xff\x0f"} {
		if _, err := tokenizer.ParseSentencePiece([]byte(data)); err == nil {
			t.Errorf("tokenizer.model %q: no error", data)
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := tokenizer.Open(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty directory: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.bin"), llama2c(300), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "tokenizer.bin")} {
		if tok, err := tokenizer.Open(path); err != nil || tok.Vocabulary() != 300 {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), file(t, nil, nil), 0o666); err != nil {
		t.Fatal(err)
	}
	if tok, err := tokenizer.Open(dir); err != nil || tok.Vocabulary() != 257 {
		t.Errorf("tokenizer.json: %v", err)
	}
}

// FuzzParse reads files of any content: an error, or a tokenizer that works.
func FuzzParse(f *testing.F) {
	f.Add(file(f, []string{"a b"}, nil))
	f.Add(llama2c(270))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, parse := range []func([]byte) (*tokenizer.BPE, error){tokenizer.ParseJSON, tokenizer.ParseLlama2C, tokenizer.ParseSentencePiece} {
			tok, err := parse(data)
			if err != nil {
				continue
			}
			for _, id := range tok.Encode("Hello, wörld  <|end|>\n") {
				if id < 0 || id >= tok.Vocabulary() {
					t.Errorf("token %d of %d", id, tok.Vocabulary())
				}
				tok.Decode(id)
			}
		}
	})
}

func TestNewByteLevel(t *testing.T) {
	merges := []string{"a b", "1 2", "12 3", "123 4"}
	tokens := make([]string, len(vocabulary(merges...)))
	for token, id := range vocabulary(merges...) {
		tokens[id] = token
	}
	tokens = append(tokens, "<end>", "  ")
	v := tokenizer.Vocabulary{Tokens: tokens, Merges: merges, Special: []int{len(tokens) - 2}, UserDefined: []int{len(tokens) - 1}, Begin: []int{0}}
	for _, c := range []struct {
		pattern tokenizer.Pattern
		want    []string
	}{
		{tokenizer.GPT2Pattern, []string{"ab", "  ", "1234", "<end>"}},
		{tokenizer.Llama3Pattern, []string{"ab", "  ", "123", "4", "<end>"}},
	} {
		v.Pattern = c.pattern
		tok, err := tokenizer.NewByteLevel(v)
		if err != nil {
			t.Fatal(err)
		}
		if got := spelled(tok, "ab  1234<end>"); !slices.Equal(got, c.want) || len(tok.Begin()) != 1 {
			t.Errorf("%v: %q, want %q", c.pattern, got, c.want)
		}
	}
	for name, change := range map[string]func(*tokenizer.Vocabulary){
		"pattern": func(v *tokenizer.Vocabulary) { v.Pattern = 9 },
		"merge":   func(v *tokenizer.Vocabulary) { v.Merges = []string{"a"} },
		"special": func(v *tokenizer.Vocabulary) { v.Special = []int{len(tokens)} },
		"tokens":  func(v *tokenizer.Vocabulary) { v.Tokens = nil },
	} {
		bad := v
		change(&bad)
		if _, err := tokenizer.NewByteLevel(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
