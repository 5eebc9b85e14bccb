package tokenizer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Open reads the tokenizer of a model: a file, or a directory with one of the files
// tokenizer.json, tokenizer.model, vocab.json with merges.txt, and tokenizer.bin.
func Open(path string) (*BPE, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	if !info.IsDir() {
		return openFile(path)
	}
	for _, name := range []string{"tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer.bin"} {
		t, err := openFile(filepath.Join(path, name))
		if !errors.Is(err, fs.ErrNotExist) {
			return t, err
		}
	}
	return nil, fmt.Errorf("tokenizer: %s: none of tokenizer.json, tokenizer.model, vocab.json, tokenizer.bin: %w", path, fs.ErrNotExist)
}

func openFile(path string) (*BPE, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	t, err := parse(path, data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// parse reads a file of the kind that its name tells.
func parse(path string, data []byte) (*BPE, error) {
	switch base := filepath.Base(path); {
	case strings.HasSuffix(base, "vocab.json"):
		merges, err := os.ReadFile(strings.TrimSuffix(path, "vocab.json") + "merges.txt")
		if err != nil {
			return nil, err
		}
		return ParseGPT2(data, merges)
	case strings.HasSuffix(base, ".json"):
		return ParseJSON(data)
	case strings.HasSuffix(base, ".model"):
		return ParseSentencePiece(data)
	case strings.HasSuffix(base, ".bin"):
		return ParseLlama2C(data)
	default:
		return nil, errors.New("not a tokenizer: want a file called *.json, *.model or *.bin")
	}
}

// ParseGPT2 reads the vocab.json and merges.txt of a tokenizer with the pattern of GPT-2.
func ParseGPT2(vocab, merges []byte) (*BPE, error) {
	var ids map[string]int
	if err := json.Unmarshal(vocab, &ids); err != nil {
		return nil, fmt.Errorf("tokenizer: vocabulary: %w", err)
	}
	tokens, err := inOrder(ids, nil)
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(string(merges)) {
		line = strings.TrimRight(line, "\r\n")
		if line != "" && !(len(lines) == 0 && strings.HasPrefix(line, "#version")) {
			lines = append(lines, line)
		}
	}
	pairs, err := splitMerges(lines)
	if err != nil {
		return nil, err
	}
	t, err := newByteLevel(tokens, pairs)
	if err != nil {
		return nil, err
	}
	const end = "<|endoftext|>"
	if id, ok := t.ids[end]; ok {
		t.added.add(addedToken{Content: end, ID: id, Special: true})
	}
	return t, nil
}

// ParseSentencePiece reads the tokenizer.model of SentencePiece: a protocol buffer of the
// type ModelProto, of a model by byte-pair encoding.
func ParseSentencePiece(data []byte) (*BPE, error) {
	m := sentencePiece{kind: 1, addPrefix: true, removeSpaces: true, begin: 1}
	if err := m.parse(data); err != nil {
		return nil, fmt.Errorf("tokenizer: tokenizer.model: %w", err)
	}
	const bpe = 2
	switch {
	case m.kind != bpe:
		return nil, fmt.Errorf("tokenizer: tokenizer.model: a model of type %d, want %d (byte-pair encoding)", m.kind, bpe)
	case m.charsMap:
		return nil, errors.New("tokenizer: tokenizer.model: a normalizer that replaces characters is not supported")
	case m.removeSpaces:
		return nil, errors.New("tokenizer: tokenizer.model: a normalizer that removes spaces is not supported")
	}
	var begin []int
	if m.begin >= 0 && m.begin < len(m.pieces) && m.pieces[m.begin].Kind == ControlPiece {
		begin = []int{m.begin}
	}
	return NewScored(m.pieces, m.addPrefix, begin...)
}

// sentencePiece is what is used of a ModelProto.
type sentencePiece struct {
	pieces       []Piece
	kind         int  // trainer_spec.model_type
	begin        int  // trainer_spec.bos_id
	charsMap     bool // whether there is a normalizer_spec.precompiled_charsmap
	addPrefix    bool // normalizer_spec.add_dummy_prefix
	removeSpaces bool // normalizer_spec.remove_extra_whitespaces
}

// fields calls f for every field of a message.
func fields(data []byte, f func(number protowire.Number, kind protowire.Type, value []byte) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		n = protowire.ConsumeFieldValue(number, kind, data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := f(number, kind, data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func (m *sentencePiece) parse(data []byte) error {
	return fields(data, func(number protowire.Number, kind protowire.Type, value []byte) error {
		if kind != protowire.BytesType {
			return nil
		}
		message, _ := protowire.ConsumeBytes(value)
		switch number {
		case 1:
			return m.piece(message)
		case 2:
			return m.numbers(message, func(number protowire.Number, v int) {
				switch number {
				case 3:
					m.kind = v
				case 41:
					m.begin = v
				}
			})
		case 3:
			m.charsMap = hasBytes(message, 2)
			return m.numbers(message, func(number protowire.Number, v int) {
				switch number {
				case 3:
					m.addPrefix = v != 0
				case 4:
					m.removeSpaces = v != 0
				}
			})
		}
		return nil
	})
}

// hasBytes reports whether a message has bytes, more than none, in a field.
func hasBytes(message []byte, field protowire.Number) bool {
	found := false
	fields(message, func(number protowire.Number, kind protowire.Type, value []byte) error {
		if number == field && kind == protowire.BytesType {
			b, _ := protowire.ConsumeBytes(value)
			found = len(b) > 0
		}
		return nil
	})
	return found
}

// numbers calls f for the integers of a message.
func (m *sentencePiece) numbers(message []byte, f func(number protowire.Number, v int)) error {
	return fields(message, func(number protowire.Number, kind protowire.Type, value []byte) error {
		if kind == protowire.VarintType {
			v, _ := protowire.ConsumeVarint(value)
			f(number, int(int32(v)))
		}
		return nil
	})
}

func (m *sentencePiece) piece(message []byte) error {
	p := Piece{Kind: NormalPiece}
	err := fields(message, func(number protowire.Number, kind protowire.Type, value []byte) error {
		switch {
		case number == 1 && kind == protowire.BytesType:
			text, _ := protowire.ConsumeBytes(value)
			p.Text = string(text)
		case number == 2 && kind == protowire.Fixed32Type:
			bits, _ := protowire.ConsumeFixed32(value)
			p.Score = math.Float32frombits(bits)
		case number == 3 && kind == protowire.VarintType:
			v, _ := protowire.ConsumeVarint(value)
			p.Kind = PieceKind(min(v, math.MaxUint8))
		}
		return nil
	})
	m.pieces = append(m.pieces, p)
	return err
}

// ParseLlama2C reads the tokenizer.bin of llama2.c: the length of the longest token and
// then, for each, a score, a length and its bytes. The tokens 0, 1 and 2 are the unknown
// one, the beginning and the end of a text, and those from 3 to 258 are the bytes.
func ParseLlama2C(data []byte) (*BPE, error) {
	const header, firstByte = 4, 3
	if len(data) < header {
		return nil, errors.New("tokenizer: tokenizer.bin: too short")
	}
	var pieces []Piece
	for at := header; at < len(data); {
		if len(data)-at < 8 {
			return nil, fmt.Errorf("tokenizer: tokenizer.bin: token %d ends early", len(pieces))
		}
		score := math.Float32frombits(binary.LittleEndian.Uint32(data[at:]))
		n := int(int32(binary.LittleEndian.Uint32(data[at+4:])))
		at += 8
		if n < 0 || n > len(data)-at || score != score {
			return nil, fmt.Errorf("tokenizer: tokenizer.bin: token %d has %d bytes, of %d that are left, and the score %v", len(pieces), n, len(data)-at, score)
		}
		p := Piece{Text: string(data[at : at+n]), Score: score, Kind: NormalPiece}
		switch id := len(pieces); {
		case id == 0:
			p.Kind = UnknownPiece
		case id < firstByte:
			p.Kind = ControlPiece
		case id < firstByte+256:
			p.Kind, p.Text = BytePiece, fmt.Sprintf("<0x%02X>", id-firstByte)
		}
		pieces = append(pieces, p)
		at += n
	}
	if len(pieces) <= firstByte+256 {
		return nil, fmt.Errorf("tokenizer: tokenizer.bin: %d tokens, want more than %d", len(pieces), firstByte+256)
	}
	return NewScored(pieces, true, 1)
}
