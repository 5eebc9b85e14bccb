package main

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWAVRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.wav")
	x := []float32{0, 1.0 / 32768, -1.0 / 32768, 0.5, -0.5, 32767.0 / 32768, -1}
	if err := writeWAV(path, x); err != nil {
		t.Fatal(err)
	}
	got, err := readWAV(path)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, x) {
		t.Errorf("read %v, wrote %v", got, x)
	}
	// A writer of the same file must make the same bytes.
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	for _, v := range x {
		data = binary.LittleEndian.AppendUint16(data, uint16(int16(v*32768)))
	}
	if want := wavFile(wavFormat(tagPCM, 1, sampleRate, 16), data); !bytes.Equal(b, want) {
		t.Errorf("wrote % x, want % x", b, want)
	}
}

func TestWriteWAVRounds(t *testing.T) {
	for _, test := range []struct {
		x    float32
		want int16
	}{
		{0.4 / 32768, 0}, {0.6 / 32768, 1}, {-0.4 / 32768, 0}, {-0.6 / 32768, -1},
		{1, 32767}, {7, 32767}, {-1, -32768}, {-7, -32768},
		{float32(math.Inf(1)), 32767}, {float32(math.Inf(-1)), -32768},
	} {
		if got := toInt16(test.x); got != test.want {
			t.Errorf("toInt16(%v) = %d, want %d", test.x, got, test.want)
		}
	}
}

func TestReadWAVFormats(t *testing.T) {
	extensible := func(tag uint16, bits uint16) []byte {
		f := wavFormat(tagExtensible, 1, sampleRate, bits)
		f = append(f, 22, 0, byte(bits), 0, 4, 0, 0, 0)
		f = binary.LittleEndian.AppendUint16(f, tag)
		return append(f, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71)
	}
	int16s := []byte{0, 0x40, 0, 0xc0, 1, 0}
	float32s := binary.LittleEndian.AppendUint32(nil, math.Float32bits(0.25))
	odd := append(wavHeader(), wavChunkBytes("LIST", []byte("odd"))...)
	odd = append(odd, wavChunkBytes("fmt ", wavFormat(tagPCM, 1, sampleRate, 16))...)
	odd = append(odd, wavChunkBytes("data", int16s)...)
	piped := wavFile(wavFormat(tagPCM, 1, sampleRate, 16), int16s)
	copy(piped[len(piped)-len(int16s)-4:], "\xff\xff\xff\xff")
	for _, test := range []struct {
		name string
		file []byte
		want []float32
	}{
		{"16 bits", wavFile(wavFormat(tagPCM, 1, sampleRate, 16), int16s), []float32{0.5, -0.5, 1.0 / 32768}},
		{"24 bits", wavFile(wavFormat(tagPCM, 1, sampleRate, 24), []byte{0, 0, 0x40, 0, 0, 0xc0, 1, 0, 0}), []float32{0.5, -0.5, 1.0 / (1 << 23)}},
		{"32 bits", wavFile(wavFormat(tagPCM, 1, sampleRate, 32), []byte{0, 0, 0, 0x40, 0, 0, 0, 0x80}), []float32{0.5, -1}},
		{"float", wavFile(wavFormat(tagFloat, 1, sampleRate, 32), float32s), []float32{0.25}},
		{"extensible 16 bits", wavFile(extensible(tagPCM, 16), int16s), []float32{0.5, -0.5, 1.0 / 32768}},
		{"extensible float", wavFile(extensible(tagFloat, 32), float32s), []float32{0.25}},
		{"chunk of odd length in front", odd, []float32{0.5, -0.5, 1.0 / 32768}},
		{"written to a pipe", piped, []float32{0.5, -0.5, 1.0 / 32768}},
		{"something behind", append(wavFile(wavFormat(tagPCM, 1, sampleRate, 16), int16s), "LIST"...), []float32{0.5, -0.5, 1.0 / 32768}},
	} {
		got, err := parseWAV(test.file)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestReadWAVErrors(t *testing.T) {
	mono := wavFormat(tagPCM, 1, sampleRate, 16)
	good := wavFile(mono, make([]byte, 8))
	huge := slices.Clone(good)
	binary.LittleEndian.PutUint32(huge[len(huge)-12:], math.MaxUint32-1)
	for _, test := range []struct {
		name, want string
		file       []byte
	}{
		{"empty", "not a WAV file", nil},
		{"text", "not a WAV file", []byte("RIFF, or so one thinks")},
		{"nothing in it", `no chunk "fmt "`, good[:12]},
		{"no data", `no chunk "data"`, good[:len(good)-16]},
		{"cut in the data", "chunk \"data\" of 8 bytes, but the file ends after 7", good[:len(good)-1]},
		{"long data", "chunk \"data\" of 4294967294 bytes", huge},
		{"cut in the format", `chunk "fmt " of 16 bytes`, good[:25]},
		{"short format", "format chunk of 14 bytes", wavFile(mono[:14], make([]byte, 8))},
		{"no samples", "no samples", wavFile(mono, nil)},
		{"half a sample", "7 bytes of samples, want a multiple of 2", wavFile(mono, make([]byte, 7))},
		{"stereo", "2 channels, want 1", wavFile(wavFormat(tagPCM, 2, sampleRate, 16), make([]byte, 8))},
		{"44.1 kHz", "44100 samples per second, want 16000", wavFile(wavFormat(tagPCM, 1, 44100, 16), make([]byte, 8))},
		{"8 bits", "format 1 and 8 bits", wavFile(wavFormat(tagPCM, 1, sampleRate, 8), make([]byte, 8))},
		{"mu-law", "format 7 and 8 bits", wavFile(wavFormat(7, 1, sampleRate, 8), make([]byte, 8))},
		{"64-bit float", "format 3 and 64 bits", wavFile(wavFormat(tagFloat, 1, sampleRate, 64), make([]byte, 8))},
		{"NaN", "sample 1 is NaN", wavFile(wavFormat(tagFloat, 1, sampleRate, 32), []byte{0, 0, 0, 0, 0, 0, 0xc0, 0x7f})},
		{"infinity", "sample 0 is +Inf", wavFile(wavFormat(tagFloat, 1, sampleRate, 32), []byte{0, 0, 0x80, 0x7f})},
	} {
		if _, err := parseWAV(test.file); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
	if _, err := readWAV(filepath.Join(t.TempDir(), "none.wav")); err == nil {
		t.Error("a file that does not exist gives no error")
	}
	if err := writeWAV(filepath.Join(t.TempDir(), "none", "x.wav"), []float32{0}); err == nil {
		t.Error("writing into a folder that does not exist gives no error")
	}
}

func FuzzParseWAV(f *testing.F) {
	f.Add(wavFile(wavFormat(tagPCM, 1, sampleRate, 16), []byte{1, 2, 3, 4}))
	f.Add(wavFile(wavFormat(tagFloat, 1, sampleRate, 32), []byte{1, 2, 3, 4}))
	f.Add(wavFile(wavFormat(tagExtensible, 1, sampleRate, 24), []byte{1, 2, 3, 4, 5, 6}))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := parseWAV(b)
		if err == nil && (len(x) == 0 || 2*len(x) > len(b)) {
			t.Errorf("%d samples from %d bytes", len(x), len(b))
		}
	})
}

func wavFormat(tag, channels uint16, rate uint32, bits uint16) []byte {
	le := binary.LittleEndian
	b := le.AppendUint16(nil, tag)
	b = le.AppendUint16(b, channels)
	b = le.AppendUint32(b, rate)
	b = le.AppendUint32(b, rate*uint32(channels*bits/8))
	b = le.AppendUint16(b, channels*bits/8)
	return le.AppendUint16(b, bits)
}

func wavHeader() []byte { return []byte("RIFF\x00\x00\x00\x00WAVE") }

func wavChunkBytes(name string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(name), uint32(len(data)))
	b = append(b, data...)
	return append(b, make([]byte, len(data)%2)...)
}

func wavFile(format, data []byte) []byte {
	b := append(wavHeader(), wavChunkBytes("fmt ", format)...)
	b = append(b, binary.LittleEndian.AppendUint32([]byte("data"), uint32(len(data)))...)
	b = append(b, data...)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-8))
	return b
}
