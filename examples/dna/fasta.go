package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
)

// A fasta reads a FASTA file: records of a line that begins with > and names a sequence,
// and lines of bases.
type fasta struct {
	file         string
	r            *bufio.Reader
	line, column int
	started      bool // whether a line of bases would belong to a record
}

func newFASTA(file string, r io.Reader) *fasta {
	return &fasta{file: file, r: bufio.NewReader(r), line: 1}
}

// fail returns an error about where the reader is.
func (f *fasta) fail(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", f.file, f.line, fmt.Sprintf(format, args...))
}

// next goes to the next record and returns its name, the first word of the line, or io.EOF.
func (f *fasta) next() (string, error) {
	if !f.started {
		if err := f.recognise(); err != nil {
			return "", err
		}
	}
	c, err := f.skipSpace()
	if err == io.EOF && !f.started {
		return "", fmt.Errorf("%s: empty, want FASTA", f.file)
	}
	if err != nil {
		return "", err
	}
	if c != '>' {
		return "", f.fail("begins with %q, want a line that begins with > and names the sequence", c)
	}
	header, err := f.header()
	if err != nil {
		return "", err
	}
	f.started = true
	words := strings.Fields(header)
	if len(words) == 0 {
		return "unnamed", nil
	}
	return words[0], nil
}

// recognise refuses what is often taken for FASTA.
func (f *fasta) recognise() error {
	begin, _ := f.r.Peek(2)
	switch {
	case bytes.Equal(begin, []byte{0x1f, 0x8b}):
		return fmt.Errorf("%s: compressed with gzip, want plain FASTA: gunzip it first", f.file)
	case bytes.HasPrefix(begin, []byte("@")):
		return fmt.Errorf("%s: begins with @ as FASTQ does, want FASTA", f.file)
	}
	return nil
}

// longestHeader bounds the memory for one.
const longestHeader = 1 << 16

// header reads the rest of a line.
func (f *fasta) header() (string, error) {
	var text []byte
	for {
		c, err := f.r.ReadByte()
		switch {
		case err == io.EOF || err == nil && c == '\n':
			f.line++
			f.column = 0
			return string(text), nil
		case err != nil:
			return "", err
		case len(text) == longestHeader:
			return "", f.fail("a name of more than %d bytes", longestHeader)
		}
		text = append(text, c)
	}
}

// skipSpace returns the next byte that is not white space.
func (f *fasta) skipSpace() (byte, error) {
	for {
		c, err := f.r.ReadByte()
		if err != nil {
			return 0, err
		}
		f.column++
		switch c {
		case '\n':
			f.line++
			f.column = 0
		case ' ', '\t', '\r':
		default:
			return c, nil
		}
	}
}

// read fills dst with the next bases of the record, in upper case, and returns how many
// there were. Fewer than asked for are the last ones. Codes for several bases become N,
// and the U of RNA becomes T.
func (f *fasta) read(dst []byte) (int, error) {
	for n := range dst {
		c, err := f.skipSpace()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if c == '>' && f.column == 1 {
			f.column = 0
			return n, f.r.UnreadByte()
		}
		if dst[n] = baseOf[c]; dst[n] == 0 {
			return n, f.fail("%q at column %d is not a base", c, f.column)
		}
	}
	return len(dst), nil
}

// baseOf says which base a letter stands for. 0 stands for none.
var baseOf = func() (t [256]byte) {
	for _, c := range "ACGT" {
		t[c] = byte(c)
	}
	t['U'] = 'T'
	for _, c := range "NRYSWKMBDHV" { // of IUPAC
		t[c] = 'N'
	}
	for c := 'A'; c <= 'Z'; c++ {
		t[c-'A'+'a'] = t[c]
	}
	return t
}()
