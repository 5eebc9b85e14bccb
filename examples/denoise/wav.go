package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
)

// sampleRate is what the networks were trained on.
const sampleRate = 16000

// Format tags of WAV files.
const (
	tagPCM        = 1      // integers
	tagFloat      = 3      // IEEE 754
	tagExtensible = 0xfffe // the tag is further down
)

// readWAV reads a WAV file of one channel at 16 kHz as numbers from -1 to 1. Samples
// may be integers of 16, 24 or 32 bits or 32-bit floats.
func readWAV(path string) ([]float32, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	x, err := parseWAV(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return x, nil
}

func parseWAV(b []byte) ([]float32, error) {
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return nil, errors.New("not a WAV file")
	}
	format, err := wavChunk(b, "fmt ")
	if err != nil {
		return nil, err
	}
	decode, size, err := sampleDecoder(format)
	if err != nil {
		return nil, err
	}
	data, err := wavChunk(b, "data")
	switch {
	case err != nil:
		return nil, err
	case len(data) == 0:
		return nil, errors.New("no samples")
	case len(data)%size != 0:
		return nil, fmt.Errorf("%d bytes of samples, want a multiple of %d", len(data), size)
	}
	x := make([]float32, len(data)/size)
	for i := range x {
		x[i] = decode(data[i*size:])
		if !(math.Abs(float64(x[i])) <= math.MaxFloat32) {
			return nil, fmt.Errorf("sample %d is %v", i, x[i])
		}
	}
	return x, nil
}

// wavChunk returns the first chunk of this name. Programs that write to a pipe cannot
// go back to fill in the length and leave the largest number: then it is all the rest.
func wavChunk(b []byte, name string) ([]byte, error) {
	for rest := b[12:]; len(rest) >= 8; {
		id, size := string(rest[:4]), uint64(binary.LittleEndian.Uint32(rest[4:]))
		rest = rest[8:]
		if size == math.MaxUint32 {
			size = uint64(len(rest))
		}
		if size > uint64(len(rest)) {
			return nil, fmt.Errorf("chunk %q of %d bytes, but the file ends after %d", id, size, len(rest))
		}
		if id == name {
			return rest[:size], nil
		}
		rest = rest[min(size+size%2, uint64(len(rest))):] // chunks begin at even places
	}
	return nil, fmt.Errorf("no chunk %q", name)
}

// sampleDecoder returns what reads a sample, and how many bytes it has, or an error if
// this is not the format of a clip that the networks can take.
func sampleDecoder(format []byte) (decode func([]byte) float32, size int, err error) {
	if len(format) < 16 {
		return nil, 0, fmt.Errorf("format chunk of %d bytes, want 16 or more", len(format))
	}
	le := binary.LittleEndian
	tag, bits := le.Uint16(format), le.Uint16(format[14:])
	if tag == tagExtensible && len(format) >= 26 {
		tag = le.Uint16(format[24:])
	}
	if channels := le.Uint16(format[2:]); channels != 1 {
		return nil, 0, fmt.Errorf("%d channels, want 1 (ffmpeg -i FILE -ac 1 OUT.wav makes them one)", channels)
	}
	if rate := le.Uint32(format[4:]); rate != sampleRate {
		return nil, 0, fmt.Errorf("%d samples per second, want %d (ffmpeg -i FILE -ar %d OUT.wav converts)", rate, sampleRate, sampleRate)
	}
	switch {
	case tag == tagPCM && bits == 16:
		return func(b []byte) float32 { return float32(int16(le.Uint16(b))) / (1 << 15) }, 2, nil
	case tag == tagPCM && bits == 24:
		return func(b []byte) float32 {
			return float32(int32(b[0])<<8|int32(b[1])<<16|int32(b[2])<<24) / (1 << 31)
		}, 3, nil
	case tag == tagPCM && bits == 32:
		return func(b []byte) float32 { return float32(int32(le.Uint32(b))) / (1 << 31) }, 4, nil
	case tag == tagFloat && bits == 32:
		return func(b []byte) float32 { return math.Float32frombits(le.Uint32(b)) }, 4, nil
	}
	return nil, 0, fmt.Errorf("samples of format %d and %d bits, want integers (format %d) of 16, 24 or 32 bits or floats (format %d) of 32", tag, bits, tagPCM, tagFloat)
}

// writeWAV writes samples from -1 to 1 as integers of 16 bits. Louder ones are clipped.
func writeWAV(path string, x []float32) error {
	const bytes = 2
	size := bytes * len(x)
	if size > math.MaxUint32-36 {
		return fmt.Errorf("%s: %d samples are too many for a WAV file", path, len(x))
	}
	le := binary.LittleEndian
	b := append(make([]byte, 0, 44+size), "RIFF"...)
	b = le.AppendUint32(b, uint32(36+size))
	b = append(b, "WAVEfmt "...)
	b = le.AppendUint32(b, 16)
	b = le.AppendUint16(b, tagPCM)
	b = le.AppendUint16(b, 1) // channel
	b = le.AppendUint32(b, sampleRate)
	b = le.AppendUint32(b, sampleRate*bytes)
	b = le.AppendUint16(b, bytes) // of a position
	b = le.AppendUint16(b, 8*bytes)
	b = append(b, "data"...)
	b = le.AppendUint32(b, uint32(size))
	for _, v := range x {
		b = le.AppendUint16(b, uint16(toInt16(v)))
	}
	return os.WriteFile(path, b, 0o666)
}

// toInt16 returns the nearest sample value.
func toInt16(x float32) int16 {
	return int16(max(math.MinInt16, min(math.MaxInt16, math.Round(float64(x)*(1<<15)))))
}
