package seqmix_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/mixtest"
	"github.com/seqmix/seqmix/tensor"
)

// An Average is a mixer of one's own: a moving average of each channel,
//
//	y[t] = decay·y[t-1] + (1-decay)·x[t]
type Average struct {
	Decay *tensor.Tensor // one for each channel
}

// Dim, Mix and Params make it a Mixer. Mix is one piece of a stream.

func (a *Average) Dim() int { return a.Decay.Len() }

func (a *Average) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("Average.Mix", dst, src, a.Dim())
	s := averageStream{a, src.Batch, make([]float32, src.Batch*src.Dim)}
	s.Mix(dst, src)
}

func (a *Average) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) { yield("decay", a.Decay) }
}

// NewStream makes it a Streamer.
func (a *Average) NewStream(batch int) (seqmix.Stream, error) {
	return &averageStream{a, batch, make([]float32, batch*a.Dim())}, nil
}

// averageStream carries the last average of each sequence.
type averageStream struct {
	mixer *Average
	batch int
	last  []float32
}

func (s *averageStream) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("Average.Mix", dst, src, s.mixer.Dim())
	tensor.CheckSeq("Average.Mix", src, s.batch, -1, -1)
	decay := s.mixer.Decay.Data()
	for b := range src.Batch {
		last := s.last[b*src.Dim : (b+1)*src.Dim]
		for t := range src.Len {
			for c, x := range src.At(b, t) {
				last[c] = decay[c]*last[c] + (1-decay[c])*x
			}
			copy(dst.At(b, t), last)
		}
	}
}

func (s *averageStream) Reset() { clear(s.last) }

func (s *averageStream) Clone() seqmix.Stream {
	return &averageStream{s.mixer, s.batch, slices.Clone(s.last)}
}

// The saved state closes with a checksum, by which a damaged one is told.

func (s *averageStream) AppendBinary(b []byte) ([]byte, error) {
	start := len(b)
	b, err := binary.Append(b, binary.LittleEndian, s.last)
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:])), err
}

func (s *averageStream) UnmarshalBinary(data []byte) error {
	n := 4 * len(s.last)
	if len(data) != n+4 || crc32.ChecksumIEEE(data[:n]) != binary.LittleEndian.Uint32(data[n:]) {
		return errors.New("not the state of an Average of this width and batch")
	}
	_, err := binary.Decode(data[:n], binary.LittleEndian, s.last)
	return err
}

// A mixer of one's own goes where every other mixer does. Package mixtest tells
// whether it keeps the contract.
func ExampleMixer() {
	average := &Average{Decay: tensor.FromFloat32s([]float32{0.5, 0.9}, 2)}
	if err := mixtest.Test(average, mixtest.Options{}); err != nil {
		fmt.Println(err)
	}

	model := seqmix.Stack{average, &seqmix.Residual{Mixer: average}}
	x := tensor.SeqOf([]float32{8, 0, 0, 0, 0, 0}, 1, 3, 2)
	model.Mix(x, x)
	fmt.Println(x.Data)
	// Output: [6 0 4 0 2.5 0]
}
