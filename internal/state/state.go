// Package state encodes what streams remember.
//
// A saved state is one record: the kind of stream, a version of its layout, some
// integers that say what it belongs to (widths, batch, positions), arrays of
// float32, and the records of the streams it contains. A checksum closes the
// record, so that a truncated or damaged file is told from a good one. All numbers
// are little-endian; the layout is
//
//	magic "SQMX", kind, version, ints, arrays of float32, records, CRC-32C
//
// with counts and lengths as unsigned, and the integers as signed, varints.
package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
)

const magic = "SQMX"

var table = crc32.MakeTable(crc32.Castagnoli)

// A Record is the state of one stream.
type Record struct {
	Kind    string // type of the stream, as in "ssm.Mamba"
	Version int    // of the layout of this kind
	Ints    []int
	Floats  []Floats
	Nested  [][]byte // encoded records of contained streams
}

// Floats is an array of float32s, as it stands in memory or in a saved state.
type Floats struct {
	values []float32
	raw    []byte // little-endian, if decoded
}

// FloatsOf returns v as an array of a record.
func FloatsOf(v ...[]float32) []Floats {
	f := make([]Floats, len(v))
	for i := range v {
		f[i].values = v[i]
	}
	return f
}

// Len returns the number of elements.
func (f Floats) Len() int {
	if f.raw != nil {
		return len(f.raw) / 4
	}
	return len(f.values)
}

// CopyTo copies the elements to dst, which must have the length of f.
func (f Floats) CopyTo(dst []float32) {
	if len(dst) != f.Len() {
		panic("state: CopyTo with the wrong length")
	}
	if f.raw == nil {
		copy(dst, f.values)
		return
	}
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(f.raw[4*i:]))
	}
}

// Append appends the encoded record to b.
func (r *Record) Append(b []byte) []byte {
	start := len(b)
	b = slices.Grow(b, r.room())
	b = append(b, magic...)
	b = appendBytes(b, []byte(r.Kind))
	b = binary.AppendUvarint(b, uint64(r.Version))
	b = binary.AppendUvarint(b, uint64(len(r.Ints)))
	for _, v := range r.Ints {
		b = binary.AppendVarint(b, int64(v))
	}
	b = binary.AppendUvarint(b, uint64(len(r.Floats)))
	for _, f := range r.Floats {
		b = binary.AppendUvarint(b, uint64(f.Len()))
		if f.raw != nil {
			b = append(b, f.raw...)
			continue
		}
		for _, v := range f.values {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
	}
	b = binary.AppendUvarint(b, uint64(len(r.Nested)))
	for _, n := range r.Nested {
		b = appendBytes(b, n)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], table))
}

// room returns about how many bytes Append appends: no fewer, unless a name is long.
func (r *Record) room() int {
	n := 64 + binary.MaxVarintLen64*(len(r.Ints)+len(r.Floats)+len(r.Nested))
	for _, f := range r.Floats {
		n += 4 * f.Len()
	}
	for _, v := range r.Nested {
		n += len(v)
	}
	return n
}

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// Decode decodes data, which must be one record of the given kind and version with
// exactly the given integers. The record refers to data. Nothing is allocated in
// proportion to a number that data merely claims.
func Decode(data []byte, kind string, version int, ints ...int) (*Record, error) {
	r, err := DecodeAny(data, kind, version)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(r.Ints, ints) {
		return nil, fmt.Errorf("saved state of a %s with sizes %v, want %v", kind, r.Ints, ints)
	}
	return r, nil
}

// DecodeAny is Decode for kinds whose integers are not known beforehand.
func DecodeAny(data []byte, kind string, version int) (*Record, error) {
	if len(data) < len(magic)+4 || string(data[:len(magic)]) != magic {
		return nil, fmt.Errorf("not a saved state (want one of a %s)", kind)
	}
	body, sum := data[:len(data)-4], binary.LittleEndian.Uint32(data[len(data)-4:])
	if crc32.Checksum(body, table) != sum {
		return nil, fmt.Errorf("saved state of %d bytes is damaged or cut off: its checksum does not fit (want the state of a %s)", len(data), kind)
	}
	d := decoder{rest: body[len(magic):]}
	r := d.record()
	if d.err == nil && len(d.rest) != 0 {
		d.err = fmt.Errorf("%d bytes too many", len(d.rest))
	}
	if d.err != nil {
		return nil, fmt.Errorf("saved state, want one of a %s: %w", kind, d.err)
	}
	if r.Kind != kind {
		return nil, fmt.Errorf("saved state of a %.100q, want one of a %s", r.Kind, kind)
	}
	if r.Version != version {
		return nil, fmt.Errorf("saved state of a %s in version %d of its layout; this program reads version %d", kind, r.Version, version)
	}
	return r, nil
}

// WantFloats checks the number and the lengths of the arrays of r.
func (r *Record) WantFloats(lengths ...int) error {
	if len(r.Floats) != len(lengths) {
		return fmt.Errorf("saved state of a %s with %d arrays, want %d", r.Kind, len(r.Floats), len(lengths))
	}
	for i, n := range lengths {
		if got := r.Floats[i].Len(); got != n {
			return fmt.Errorf("saved state of a %s: array %d has %d elements, want %d", r.Kind, i, got, n)
		}
	}
	return nil
}

var errShort = errors.New("it ends too early")

type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) record() *Record {
	r := &Record{Kind: string(d.bytes(1)), Version: d.count(0)}
	for range d.items() {
		v, n := binary.Varint(d.rest)
		if n <= 0 {
			d.err = errShort
			break
		}
		d.rest = d.rest[n:]
		r.Ints = append(r.Ints, int(v))
	}
	for range d.items() {
		raw := d.bytes(4)
		if d.err != nil {
			break
		}
		if raw == nil {
			raw = []byte{}
		}
		r.Floats = append(r.Floats, Floats{raw: raw})
	}
	for range d.items() {
		n := d.bytes(1)
		if d.err != nil {
			break
		}
		r.Nested = append(r.Nested, n)
	}
	return r
}

// maxItems bounds the integers, arrays and records of a record. No stream has as many;
// a hostile file could make a slice header of every byte.
const maxItems = 1 << 16

// items reads the number of integers, arrays or records.
func (d *decoder) items() int {
	n := d.count(1)
	if n > maxItems {
		d.err = fmt.Errorf("%d items in a record, more than %d", n, maxItems)
		return 0
	}
	return n
}

// count reads a number. If size is not 0, so many things of at least size bytes
// each must still fit into what is left.
func (d *decoder) count(size int) int {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || v > math.MaxInt32 && size == 0 {
		d.err = errShort
		return 0
	}
	d.rest = d.rest[n:]
	if size != 0 && v > uint64(len(d.rest)/size) {
		d.err = errShort
		return 0
	}
	return int(v)
}

// bytes reads a count and so many elements of the given size.
func (d *decoder) bytes(size int) []byte {
	n := d.count(size) * size
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}
