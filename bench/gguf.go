package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
)

// A gguf is a file in the making (github.com/ggml-org/ggml, docs/gguf.md). Its header is
// in memory; elements are made while they are written, so that a file may be larger
// than memory.
type gguf struct {
	values  []byte
	count   int
	tensors []ggufTensor
}

// A ggufTensor is a tensor whose shape has the slowest dimension first. values returns a
// function that, called again and again, fills slices with its elements in order.
type ggufTensor struct {
	name   string
	kind   kind
	shape  []int
	values func() func(dst []float32)
}

func (t *ggufTensor) len() int {
	n := 1
	for _, d := range t.shape {
		n *= d
	}
	return n
}

const ggufAlignment = 32

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// set adds a value: a string, a bool, a uint32 or a float32.
func (g *gguf) set(key string, value any) {
	le := binary.LittleEndian
	g.values = appendString(g.values, key)
	g.count++
	switch v := value.(type) {
	case uint32:
		g.values = le.AppendUint32(le.AppendUint32(g.values, 4), v)
	case float32:
		g.values = le.AppendUint32(le.AppendUint32(g.values, 6), math.Float32bits(v))
	case bool:
		g.values = append(le.AppendUint32(g.values, 7), 0)
		if v {
			g.values[len(g.values)-1] = 1
		}
	case string:
		g.values = appendString(le.AppendUint32(g.values, 8), v)
	default:
		panic(fmt.Sprintf("gguf: a value of type %T", value))
	}
}

// add adds a tensor.
func (g *gguf) add(t ggufTensor) { g.tensors = append(g.tensors, t) }

// size returns the bytes of all tensors.
func (g *gguf) size() int {
	n := 0
	for _, t := range g.tensors {
		n += align(t.kind.size(t.len()))
	}
	return n
}

func align(n int) int { return (n + ggufAlignment - 1) / ggufAlignment * ggufAlignment }

// header returns all that comes before the tensors.
func (g *gguf) header() []byte {
	le := binary.LittleEndian
	b := le.AppendUint32([]byte("GGUF"), 3)
	b = le.AppendUint64(le.AppendUint64(b, uint64(len(g.tensors))), uint64(g.count))
	b = append(b, g.values...)
	offset := 0
	for _, t := range g.tensors {
		b = le.AppendUint32(appendString(b, t.name), uint32(len(t.shape)))
		for _, d := range slices.Backward(t.shape) {
			b = le.AppendUint64(b, uint64(d))
		}
		b = le.AppendUint64(le.AppendUint32(b, uint32(t.kind)), uint64(offset))
		offset += align(t.kind.size(t.len()))
	}
	return append(b, make([]byte, align(len(b))-len(b))...)
}

// write writes the file and reports the bytes of tensors, piece by piece.
func (g *gguf) write(w io.Writer, progress func(bytes int)) error {
	out := bufio.NewWriterSize(w, 1<<20)
	if _, err := out.Write(g.header()); err != nil {
		return err
	}
	piece := make([]float32, 1<<14)
	var encoded []byte
	for _, t := range g.tensors {
		next := t.values()
		for left := t.len(); left > 0; {
			p := piece[:min(left, len(piece))]
			left -= len(p)
			next(p)
			encoded = t.kind.encode(encoded[:0], p)
			if left == 0 {
				encoded = append(encoded, make([]byte, align(t.kind.size(t.len()))-t.kind.size(t.len()))...)
			}
			if _, err := out.Write(encoded); err != nil {
				return err
			}
			progress(len(encoded))
		}
	}
	return out.Flush()
}
