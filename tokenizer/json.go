package tokenizer

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// jsonFile is the tokenizer.json of Hugging Face, as far as it is understood.
type jsonFile struct {
	AddedTokens   []addedToken    `json:"added_tokens"`
	Normalizer    *jsonPart       `json:"normalizer"`
	PreTokenizer  *jsonPart       `json:"pre_tokenizer"`
	PostProcessor *jsonPart       `json:"post_processor"`
	Decoder       *jsonPart       `json:"decoder"`
	Model         json.RawMessage `json:"model"`
}

// jsonPart is one of the steps of a tokenizer, which may be a sequence of such.
type jsonPart struct {
	Type string `json:"type"`

	Normalizers   []jsonPart `json:"normalizers"`
	PreTokenizers []jsonPart `json:"pretokenizers"`
	Processors    []jsonPart `json:"processors"`

	Pattern  jsonPattern `json:"pattern"`
	Content  string      `json:"content"`
	Prepend  string      `json:"prepend"`
	Behavior string      `json:"behavior"`
	Invert   bool        `json:"invert"`

	AddPrefixSpace *bool  `json:"add_prefix_space"`
	UseRegex       *bool  `json:"use_regex"`
	Replacement    string `json:"replacement"`
	PrependScheme  string `json:"prepend_scheme"`

	Single        []map[string]jsonTemplate `json:"single"`
	SpecialTokens map[string]struct {
		IDs []int `json:"ids"`
	} `json:"special_tokens"`
}

type jsonTemplate struct {
	ID string `json:"id"`
}

type jsonPattern struct {
	Regex  string
	String string
}

type jsonModel struct {
	Type         string          `json:"type"`
	Vocab        map[string]int  `json:"vocab"`
	Merges       json.RawMessage `json:"merges"`
	Unknown      *string         `json:"unk_token"`
	FuseUnknown  bool            `json:"fuse_unk"`
	ByteFallback bool            `json:"byte_fallback"`
	IgnoreMerges bool            `json:"ignore_merges"`
	Dropout      *float64        `json:"dropout"`

	Prefix *string `json:"continuing_subword_prefix"`
	Suffix *string `json:"end_of_word_suffix"`
}

// ParseJSON reads a tokenizer.json of Hugging Face with a model of byte-pair encoding.
// What is not understood is an error, rather than ids that are nearly right.
func ParseJSON(data []byte) (*BPE, error) {
	var f jsonFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("tokenizer: tokenizer.json: %w", err)
	}
	if len(f.Model) == 0 {
		return nil, errNoTokens
	}
	var m jsonModel
	if err := json.Unmarshal(f.Model, &m); err != nil {
		return nil, fmt.Errorf("tokenizer: tokenizer.json: model: %w", err)
	}
	switch {
	case m.Type != "BPE" && m.Type != "" || m.Vocab == nil:
		return nil, fmt.Errorf("tokenizer: tokenizer.json: a model of type %q, want BPE with a vocabulary", m.Type)
	case m.Prefix != nil && *m.Prefix != "" || m.Suffix != nil && *m.Suffix != "" || m.Dropout != nil && *m.Dropout != 0:
		return nil, fmt.Errorf("tokenizer: tokenizer.json: subword prefixes, suffixes and dropout are not supported")
	}
	tokens, err := inOrder(m.Vocab, f.AddedTokens)
	if err != nil {
		return nil, err
	}
	merges, err := parseMerges(m.Merges)
	if err != nil {
		return nil, err
	}
	t, err := f.build(tokens, merges, &m)
	if err != nil {
		return nil, err
	}
	for _, a := range f.AddedTokens {
		t.added.add(a)
		t.texts[a.ID] = a.Content
	}
	return t, t.setPostProcessor(f.PostProcessor)
}

// inOrder returns the tokens by their ids.
func inOrder(vocab map[string]int, added []addedToken) ([]string, error) {
	all := maps.Clone(vocab)
	for _, a := range added {
		if id, ok := all[a.Content]; ok && id != a.ID {
			return nil, fmt.Errorf("tokenizer: the added token %q has the ids %d and %d", a.Content, a.ID, id)
		}
		all[a.Content] = a.ID
	}
	last := -1
	for token, id := range all {
		if id < 0 || id >= maxTokens {
			return nil, fmt.Errorf("tokenizer: token %q has the id %d", token, id)
		}
		last = max(last, id)
	}
	if last >= 2*len(all)+1024 {
		return nil, fmt.Errorf("tokenizer: %d tokens, but the last id is %d", len(all), last)
	}
	tokens := make([]string, last+1)
	for _, token := range slices.Sorted(maps.Keys(all)) {
		id := all[token]
		if tokens[id] != "" {
			return nil, fmt.Errorf("tokenizer: the tokens %q and %q have the id %d", tokens[id], token, id)
		}
		tokens[id] = token
	}
	return tokens, nil
}

// parseMerges reads merges as strings with a blank between the tokens, or as pairs.
func parseMerges(data []byte) ([][2]string, error) {
	if len(data) == 0 {
		return nil, nil
	}
	var pairs [][2]string
	if err := json.Unmarshal(data, &pairs); err == nil {
		return pairs, nil
	}
	var lines []string
	if err := json.Unmarshal(data, &lines); err != nil {
		return nil, fmt.Errorf("tokenizer: merges: %w", err)
	}
	return splitMerges(lines)
}

func splitMerges(lines []string) ([][2]string, error) {
	merges := make([][2]string, 0, len(lines))
	for i, line := range lines {
		left, right, ok := strings.Cut(line, " ")
		if !ok || left == "" || right == "" || strings.Contains(right, " ") {
			return nil, fmt.Errorf("tokenizer: merge %d is %q, want two tokens with a blank between", i, line)
		}
		merges = append(merges, [2]string{left, right})
	}
	return merges, nil
}

// UnmarshalJSON reads {"Regex": …} or {"String": …}.
func (p *jsonPattern) UnmarshalJSON(data []byte) error {
	type plain jsonPattern
	return json.Unmarshal(data, (*plain)(p))
}

// build makes the tokenizer of the steps before merging.
func (f *jsonFile) build(tokens []string, merges [][2]string, m *jsonModel) (*BPE, error) {
	steps := flatten(f.PreTokenizer)
	if !slices.ContainsFunc(steps, func(p jsonPart) bool { return p.Type == "ByteLevel" }) {
		return f.buildCharacters(tokens, merges, m, steps)
	}
	t, err := newByteLevel(tokens, merges)
	if err != nil {
		return nil, err
	}
	t.whole = m.IgnoreMerges
	if err := t.setNormalizer(f.Normalizer); err != nil {
		return nil, err
	}
	t.split = nil
	for _, p := range steps {
		switch {
		case p.Type == "Split" && t.split == nil:
			t.split, err = patternOf(p)
		case p.Type == "ByteLevel":
			t.prefixSpace = p.AddPrefixSpace != nil && *p.AddPrefixSpace
			if p.UseRegex == nil || *p.UseRegex {
				if t.split != nil {
					err = fmt.Errorf("tokenizer: tokenizer.json: two patterns, one after the other, are not supported")
				}
				t.split = splitGPT2
			}
		default:
			err = fmt.Errorf("tokenizer: tokenizer.json: the pre-tokenizer %q is not supported", p.Type)
		}
		if err != nil {
			return nil, err
		}
	}
	return t, nil
}

// flatten returns the steps of a part.
func flatten(p *jsonPart) []jsonPart {
	if p == nil {
		return nil
	}
	if p.Type != "Sequence" {
		return []jsonPart{*p}
	}
	var steps []jsonPart
	for _, list := range [][]jsonPart{p.Normalizers, p.PreTokenizers, p.Processors} {
		for i := range list {
			steps = append(steps, flatten(&list[i])...)
		}
	}
	return steps
}

// The patterns that are known, as files write them.
var patterns = map[string]splitter{
	`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`:                                                                       splitGPT2,
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`:                              splitLlama3,
	`(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`: splitLlama3,
}

func patternOf(p jsonPart) (splitter, error) {
	s, ok := patterns[p.Pattern.Regex]
	if !ok || p.Behavior != "Isolated" && p.Behavior != "Removed" || (p.Behavior == "Removed") != p.Invert {
		return nil, fmt.Errorf("tokenizer: tokenizer.json: the pattern %q (%s, invert %v) is not one of those supported: that of GPT-2 and that of Llama 3", p.Pattern.Regex, p.Behavior, p.Invert)
	}
	return s, nil
}

// setNormalizer sets the steps before a text is divided.
func (t *BPE) setNormalizer(p *jsonPart) error {
	var steps []func(string) string
	for _, n := range flatten(p) {
		switch {
		case n.Type == "NFC":
			steps = append(steps, composed)
		case n.Type == "Prepend":
			steps = append(steps, func(s string) string {
				if s == "" {
					return s
				}
				return n.Prepend + s
			})
		case n.Type == "Replace" && n.Pattern.String != "":
			steps = append(steps, func(s string) string { return strings.ReplaceAll(s, n.Pattern.String, n.Content) })
		default:
			return fmt.Errorf("tokenizer: tokenizer.json: the normalizer %q is not supported", n.Type)
		}
	}
	if len(steps) == 0 {
		return nil
	}
	t.normalize = func(s string) string {
		for _, f := range steps {
			s = f(s)
		}
		return s
	}
	return nil
}

// setPostProcessor finds out what is put before a text.
func (t *BPE) setPostProcessor(p *jsonPart) error {
	for _, s := range flatten(p) {
		switch s.Type {
		case "ByteLevel":
		case "TemplateProcessing":
			for _, item := range s.Single {
				special, ok := item["SpecialToken"]
				if !ok {
					return nil // the text; what follows it is not for texts that go on
				}
				ids := s.SpecialTokens[special.ID].IDs
				for _, id := range ids {
					if id < 0 || id >= len(t.tokens) {
						return fmt.Errorf("tokenizer: tokenizer.json: the special token %q has the id %d", special.ID, id)
					}
				}
				t.begin = append(t.begin, ids...)
			}
		default:
			return fmt.Errorf("tokenizer: tokenizer.json: the post-processor %q is not supported", s.Type)
		}
	}
	return nil
}
