package state

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func sample() *Record {
	inner := &Record{Kind: "test.Inner", Version: 3}
	nan := math.Float32frombits(0x7fc12345)
	return &Record{
		Kind:    "test.Outer",
		Version: 2,
		Ints:    []int{1, -5, math.MaxInt32, 0},
		Floats:  FloatsOf([]float32{1.5, float32(math.Copysign(0, -1)), float32(math.Inf(-1)), nan, 1e-45}, nil, []float32{7}),
		Nested:  [][]byte{inner.Append(nil), {}, []byte("anything")},
	}
}

func values(f Floats) []float32 {
	v := make([]float32, f.Len())
	f.CopyTo(v)
	return v
}

// equal compares the contents of records, floats bit for bit.
func equal(a, b *Record) error {
	if a.Kind != b.Kind || a.Version != b.Version || !slices.Equal(a.Ints, b.Ints) {
		return fmt.Errorf("%q %d %v and %q %d %v", a.Kind, a.Version, a.Ints, b.Kind, b.Version, b.Ints)
	}
	sameBits := func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) }
	if !slices.EqualFunc(a.Floats, b.Floats, func(x, y Floats) bool {
		return slices.EqualFunc(values(x), values(y), sameBits)
	}) {
		return fmt.Errorf("the arrays differ")
	}
	if !slices.EqualFunc(a.Nested, b.Nested, bytes.Equal) {
		return fmt.Errorf("records %q and %q", a.Nested, b.Nested)
	}
	return nil
}

func TestRoundTrip(t *testing.T) {
	for _, want := range []*Record{sample(), {Kind: "test.Outer", Version: 2}, {Version: 2, Ints: []int{}}} {
		data := want.Append([]byte("prefix"))
		if !bytes.HasPrefix(data, []byte("prefix")) {
			t.Fatal("Append changed what was there")
		}
		got, err := Decode(data[len("prefix"):], want.Kind, want.Version, want.Ints...)
		if err != nil {
			t.Fatal(err)
		}
		if err := equal(got, want); err != nil {
			t.Error(err)
		}
		// What was decoded is encoded without a detour over float32s.
		again := got.Append(nil)
		if !bytes.Equal(again, data[len("prefix"):]) {
			t.Errorf("encoded again: % x, want % x", again, data[len("prefix"):])
		}
	}
}

func TestNested(t *testing.T) {
	r, err := DecodeAny(sample().Append(nil), "test.Outer", 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(r.Nested[0], "test.Inner", 3); err != nil {
		t.Error(err)
	}
}

// TestLayout holds the layout still: states that were saved must remain readable.
func TestLayout(t *testing.T) {
	r := &Record{Kind: "ssm.X", Version: 1, Ints: []int{3, -1}, Floats: FloatsOf([]float32{1, -2}), Nested: [][]byte{{0xab}}}
	const want = "53514d58" + // SQMX
		"05" + "73736d2e58" + // kind
		"01" + // version
		"02" + "06" + "01" + // integers
		"01" + "02" + "0000803f" + "000000c0" + // arrays
		"01" + "01" + "ab" + // records
		"4848b5fa" // CRC-32C
	if got := hex.EncodeToString(r.Append(nil)); got != want {
		t.Errorf("layout %s\nwant   %s", got, want)
	}
}

func TestDamage(t *testing.T) {
	data := sample().Append(nil)
	for n := range data {
		if _, err := DecodeAny(data[:n], "test.Outer", 2); err == nil {
			t.Errorf("cut off after %d of %d bytes: no error", n, len(data))
		}
		for bit := range 8 {
			bad := slices.Clone(data)
			bad[n] ^= 1 << bit
			if _, err := DecodeAny(bad, "test.Outer", 2); err == nil {
				t.Errorf("bit %d of byte %d changed: no error", bit, n)
			}
		}
	}
	if _, err := DecodeAny(append(data, 0), "test.Outer", 2); err == nil {
		t.Error("one byte too many: no error")
	}
}

func TestForeign(t *testing.T) {
	data := sample().Append(nil)
	ints := sample().Ints
	for _, c := range []struct {
		name    string
		kind    string
		version int
		ints    []int
		message string
	}{
		{"kind", "test.Other", 2, ints, `saved state of a "test.Outer", want one of a test.Other`},
		{"version", "test.Outer", 1, ints, "version 2 of its layout; this program reads version 1"},
		{"sizes", "test.Outer", 2, []int{1, 2}, "with sizes [1 -5 2147483647 0], want [1 2]"},
	} {
		_, err := Decode(data, c.kind, c.version, c.ints...)
		if err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("another %s: error %v, want %q", c.name, err, c.message)
		}
	}
	if _, err := DecodeAny([]byte("a line of text, not a state"), "test.Outer", 2); err == nil || !strings.Contains(err.Error(), "not a saved state") {
		t.Errorf("a text: error %v", err)
	}
}

func TestWantFloats(t *testing.T) {
	r := sample()
	if err := r.WantFloats(5, 0, 1); err != nil {
		t.Error(err)
	}
	for message, lengths := range map[string][]int{
		"3 arrays, want 2":                {5, 0},
		"array 2 has 1 elements, want 2":  {5, 0, 2},
		"array 0 has 5 elements, want -1": {-1, 0, 1},
	} {
		if err := r.WantFloats(lengths...); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("WantFloats(%v): %v, want %q", lengths, err, message)
		}
	}
}

func TestCopyToChecksLength(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	FloatsOf([]float32{1, 2})[0].CopyTo(make([]float32, 3))
}

// sealed returns a body as a record with the checksum that belongs to it.
func sealed(body []byte) []byte {
	b := append([]byte(magic), body...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, table))
}

// allocated returns the number of bytes that f allocates, or more.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestClaims tests that sizes which a record merely claims are not believed.
func TestClaims(t *testing.T) {
	huge := binary.AppendUvarint(nil, 1<<60)
	large := binary.AppendUvarint(nil, 1<<29)
	head := []byte{1, 'k', 1} // kind and version
	body := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	for name, data := range map[string][]byte{
		"nothing":              {},
		"length of the kind":   body(huge, []byte("kind")),
		"version":              body([]byte{1, 'k'}, huge, make([]byte, 9)),
		"integers":             body(head, huge),
		"integers, fewer":      body(head, []byte{3, 1, 1}),
		"many integers":        body(head, binary.AppendUvarint(nil, maxItems+1), make([]byte, maxItems+3)),
		"endless integer":      body(head, []byte{1}, bytes.Repeat([]byte{0xff}, 20)),
		"arrays":               body(head, []byte{0}, large),
		"many arrays":          body(head, []byte{0}, binary.AppendUvarint(nil, maxItems+1), make([]byte, maxItems+3)),
		"length of an array":   body(head, []byte{0, 1}, large, make([]byte, 64)),
		"overflow of an array": body(head, []byte{0, 1}, binary.AppendUvarint(nil, 1<<62+1), make([]byte, 64)),
		"records":              body(head, []byte{0, 0}, large),
		"length of a record":   body(head, []byte{0, 0, 1}, huge, make([]byte, 64)),
		"more than a record":   body(head, []byte{0, 0, 0, 0}),
	} {
		var err error
		if n := allocated(func() { _, err = DecodeAny(sealed(data), "k", 1) }); n > 64<<10+4*uint64(len(data)) {
			t.Errorf("%s: %d bytes were allocated for %d", name, n, len(data))
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	whole := sample().Append(nil)
	f.Add(whole[len(magic) : len(whole)-4])
	f.Add([]byte{})
	f.Add([]byte{1, 'k', 1, 1, 2, 1, 1, 0, 0, 0x80, 0x3f, 1, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		DecodeAny(body, "k", 1) // almost never gets past the checksum
		data := sealed(body)
		d := decoder{rest: data[len(magic) : len(data)-4]}
		kind, version := "k", 1
		if r := d.record(); d.err == nil {
			kind, version = r.Kind, r.Version
		}
		r, err := DecodeAny(data, kind, version)
		if err != nil {
			return
		}
		size := 0
		for _, a := range r.Floats {
			size += 4 * a.Len()
		}
		for _, n := range r.Nested {
			size += len(n)
		}
		if size > len(data) || len(r.Ints) > len(data) {
			t.Fatalf("%d bytes decode to more", len(data))
		}
		again, err := Decode(r.Append(nil), kind, version, r.Ints...)
		if err != nil {
			t.Fatal(err)
		}
		if err := equal(again, r); err != nil {
			t.Fatal(err)
		}
	})
}
