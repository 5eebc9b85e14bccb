package tokenizer

import (
	"fmt"
	"strings"
)

// buildCharacters makes the tokenizer of a tokenizer.json that works on characters, as
// those of Llama 2 and Mistral do.
func (f *jsonFile) buildCharacters(tokens []string, merges [][2]string, m *jsonModel, steps []jsonPart) (*BPE, error) {
	t := &BPE{tokens: tokens, added: new(finder)}
	if err := t.index(); err != nil {
		return nil, err
	}
	start := &charSymbols{chars: map[string]int32{}, unknown: -1, fuse: m.FuseUnknown}
	if m.Unknown != nil {
		id, ok := t.ids[*m.Unknown]
		if !ok {
			return nil, fmt.Errorf("tokenizer: tokenizer.json: the unknown token %q is not in the vocabulary", *m.Unknown)
		}
		start.unknown = int32(id)
	}
	var bytes byteSymbols
	found := 0
	for id, token := range tokens {
		text := strings.ReplaceAll(token, blank, " ")
		var b byte
		if n, _ := fmt.Sscanf(token, "<0x%02X>", &b); n == 1 && len(token) == 6 && m.ByteFallback {
			bytes[b], text = int32(id), string([]byte{b})
			found++
		} else if _, ok := m.Vocab[token]; ok && len([]rune(token)) == 1 {
			start.chars[token] = int32(id)
		}
		t.texts = append(t.texts, text)
	}
	if found == 256 {
		start.bytes = &bytes
	}
	t.start = start
	if err := t.setMerges(merges); err != nil {
		return nil, err
	}
	if err := t.setNormalizer(f.Normalizer); err != nil {
		return nil, err
	}
	return t, t.setMetaspace(f, steps)
}

// setMetaspace sets how spaces are written: by a normalizer, or by the pre-tokenizer
// Metaspace.
func (t *BPE) setMetaspace(f *jsonFile, steps []jsonPart) error {
	for _, n := range flatten(f.Normalizer) {
		t.stripSpace = t.stripSpace || n.Type == "Prepend" && n.Prepend == blank
	}
	for _, p := range steps {
		if p.Type != "Metaspace" {
			return fmt.Errorf("tokenizer: tokenizer.json: the pre-tokenizer %q is not supported without ByteLevel", p.Type)
		}
		always := p.PrependScheme == "always" || p.PrependScheme == "" && (p.AddPrefixSpace == nil || *p.AddPrefixSpace)
		if p.PrependScheme == "first" || p.Replacement != blank {
			return fmt.Errorf("tokenizer: tokenizer.json: Metaspace with %q and the scheme %q is not supported", p.Replacement, p.PrependScheme)
		}
		before := t.normalize
		t.normalize = func(s string) string {
			if before != nil {
				s = before(s)
			}
			s = strings.ReplaceAll(s, " ", blank)
			if always && !strings.HasPrefix(s, blank) {
				s = blank + s
			}
			return s
		}
		t.stripSpace = always
		t.split = splitBlanks
	}
	return nil
}

// splitBlanks begins a piece at every blank that follows something else, as Metaspace
// does.
func splitBlanks(text string) int {
	for i := range text {
		if i > 0 && strings.HasPrefix(text[i:], blank) {
			return i
		}
	}
	return len(text)
}
