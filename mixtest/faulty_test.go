package mixtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// A mixer is a leaky sum and a matrix,
//
//	s[t] = decay·s[t-1] + x[t]    y[t] = weight·s[t]
//
// with one thing wrong with it, unless fault is empty.
type mixer struct {
	decay, weight *tensor.Tensor
	fault         string
	shared        []float32 // for what must not be shared
	calls         int
}

func newMixer(dim int, fault string) *mixer {
	r := rand.New(rand.NewPCG(1, 2))
	m := &mixer{decay: tensor.New(dim), weight: tensor.NewWeight(dim, dim), fault: fault, shared: make([]float32, 8*dim)}
	for i := range m.decay.Data() {
		m.decay.Data()[i] = 0.9 - 0.8*r.Float32()
	}
	for i := range m.weight.Data() {
		m.weight.Data()[i] = float32(r.NormFloat64()) / float32(math.Sqrt(float64(dim)))
	}
	return m
}

func (m *mixer) is(fault string) bool { return m.fault == fault }
func (m *mixer) Dim() int             { return m.decay.Len() }

func (m *mixer) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		if m.is("order changes") {
			m.calls++
		}
		switch {
		case m.is("one name for two"):
			_ = yield("weight", m.decay) && yield("weight", m.weight)
		case m.is("no name"):
			_ = yield("", m.decay) && yield("weight", m.weight)
		case m.is("order changes") && m.calls%2 == 0:
			_ = yield("weight", m.weight) && yield("decay", m.decay)
		case m.is("does not stop"):
			yield("decay", m.decay)
			yield("weight", m.weight)
		case m.is("nil parameter"):
			_ = yield("decay", m.decay) && yield("weight", m.weight) && yield("bias", nil)
		default:
			_ = yield("decay", m.decay) && yield("weight", m.weight)
		}
	}
}

func (m *mixer) Mix(dst, src tensor.Seq) {
	switch {
	case m.is("no shape check"):
	case m.is("panics with text") && src.Dim != m.Dim():
		panic("wrong shape")
	case m.is("no overlap check"):
		tensor.CheckSeq("mixer.Mix", src, -1, -1, m.Dim())
		tensor.CheckSeq("mixer.Mix", dst, src.Batch, src.Len, m.Dim())
	default:
		tensor.CheckMix("mixer.Mix", dst, src, m.Dim())
	}
	m.wrongBefore(dst, src)
	s := m.stream(src.Batch)
	s.inMix = true
	s.run(dst, src)
	m.wrongAfter(dst, src)
}

func (m *mixer) wrongBefore(dst, src tensor.Seq) {
	switch {
	case m.is("fails on nothing") && src.Len == 0:
		_ = src.Data[0]
	case m.is("changes src") && !dst.SameMemory(src):
		src.At(0, 0)[0]++
	case m.is("clears dst first"):
		for b := range dst.Batch {
			clear(dst.Sequence(b).Data)
		}
	}
}

func (m *mixer) wrongAfter(dst, src tensor.Seq) {
	switch {
	case dst.Len == 0:
	case m.is("zero"):
		for b := range dst.Batch {
			clear(dst.Sequence(b).Data)
		}
	case m.is("infinite"):
		dst.At(0, 0)[0] = float32(math.Inf(1))
	case m.is("writes past the end"):
		if end := dst.Len * dst.Dim; len(dst.Data) > end {
			dst.Data[end] = 0
		}
	case m.is("leaks between sequences") && dst.Batch > 1:
		dst.At(1, 0)[0] += dst.At(0, 0)[0]
	case m.is("looks ahead") && dst.Len > 1:
		dst.At(0, 0)[0] += src.At(0, 1)[0]
	case m.is("multiplies what is later by zero") && dst.Len > 1:
		dst.At(dst.Batch-1, 0)[0] += 0 * src.At(dst.Batch-1, 1)[0]
	case m.is("counts cores"):
		dst.At(0, 0)[0] += 1e-6 * float32(runtime.GOMAXPROCS(0))
	case m.is("packed differs") && m.weight.Packed():
		dst.At(0, 0)[0] *= 1.0001
	}
}

func (m *mixer) NewStream(batch int) (seqmix.Stream, error) {
	if m.is("does not stream") {
		return nil, fmt.Errorf("mixer: %w", errors.ErrUnsupported)
	}
	s := m.stream(batch)
	s.inStream = true
	return s, nil
}

func (m *mixer) stream(batch int) *stream {
	s := &stream{m: m, batch: batch, decay: m.decay.Data(), state: make([]float32, batch*m.Dim())}
	if m.is("streams share") || m.is("goroutines share") {
		s.state = m.shared[:len(s.state)]
		clear(s.state)
	}
	return s
}

type stream struct {
	m               *mixer
	batch           int
	decay           []float32
	state           []float32 // batch × dim
	sums            []float32
	inMix, inStream bool
	scratch         tensor.Scratch
}

func (s *stream) Mix(dst, src tensor.Seq) {
	if !s.m.is("stream without shape check") {
		tensor.CheckMix("stream.Mix", dst, src, s.m.Dim())
		tensor.CheckSeq("stream.Mix", src, s.batch, -1, -1)
	}
	if s.m.is("forgets between pieces") && src.Len == 1 {
		clear(s.state)
	}
	s.run(dst, src)
	switch {
	case dst.Len == 0:
	case s.m.is("stream writes past the end"):
		if end := dst.Len * dst.Dim; len(dst.Data) > end {
			dst.Data[end] = 0
		}
	case s.m.is("stream counts cores"):
		dst.At(0, 0)[0] += 1e-6 * float32(runtime.GOMAXPROCS(0))
	case s.m.is("allocates"):
		s.sums = make([]float32, src.Len*src.Dim)
	}
}

// run is what Mix of the mixer and of the stream have in common.
func (s *stream) run(dst, src tensor.Seq) {
	s.scratch.Reset()
	sums := s.scratch.TakeSeq(src.Batch, src.Len, src.Dim)
	s.sum(sums, src)
	tensor.Linear(dst, sums, s.m.weight, nil)
}

// sum computes s[t].
func (s *stream) sum(sums, src tensor.Seq) {
	if s.m.is("ignores the stride") {
		src.Stride = src.Len * src.Dim
	}
	dim := src.Dim
	for b := range src.Batch {
		state := s.state[b*dim : (b+1)*dim]
		for t := range src.Len {
			for c, x := range src.At(b, t) {
				state[c] = s.decay[c]*state[c] + x
			}
			copy(sums.At(b, t), state)
			if s.m.is("goroutines share") {
				runtime.Gosched()
			}
		}
	}
}

// MixEach advances all streams by the sums of each and one matrix product.
func (s *stream) MixEach(dst, src tensor.Seq, streams []seqmix.Stream) {
	s.scratch.Reset()
	sums := s.scratch.TakeSeq(src.Batch, src.Len, src.Dim)
	for i, t := range streams {
		one := t.(*stream)
		switch {
		case s.m.is("group advances one stream"):
			one = s
		case s.m.is("group keeps the states"):
			one = one.Clone().(*stream)
		}
		one.sum(sums.Sequence(i), src.Sequence(i))
	}
	tensor.Linear(dst, sums, s.m.weight, nil)
}

// MixLast computes all sums, but multiplies only the last ones.
func (s *stream) MixLast(dst, src tensor.Seq) {
	tensor.CheckSeq("mixer.MixLast", src, s.batch, -1, s.m.Dim())
	state := slices.Clone(s.state)
	s.sum(src, src)
	at := src.Len - 1
	if s.m.is("last output is the first") {
		at = 0
	}
	tensor.Linear(dst, src.Slice(at, at+1), s.m.weight, nil)
	if s.m.is("last output keeps the state") {
		s.state = state
	}
}

func (s *stream) Reset() {
	if s.m.is("Reset keeps the state") {
		clear(s.state[1:])
		return
	}
	clear(s.state)
}

func (s *stream) Clone() seqmix.Stream {
	c := &stream{m: s.m, batch: s.batch, decay: s.decay, state: slices.Clone(s.state)}
	switch {
	case s.m.is("clones share"):
		c.state = s.state
	case s.m.is("clones begin anew"):
		clear(c.state)
	}
	return c
}

func (s *stream) AppendBinary(b []byte) ([]byte, error) {
	if s.m.is("AppendBinary begins anew") {
		b = b[:0]
	}
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(s.batch))
	saved := s.state
	if s.m.is("saves half") {
		saved = append(slices.Clone(s.state[:len(s.state)/2]), make([]float32, len(s.state)-len(s.state)/2)...)
	}
	b, _ = binary.Append(b, binary.LittleEndian, saved)
	if s.m.is("no checksum") {
		return b, nil
	}
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:])), nil
}

func (s *stream) UnmarshalBinary(data []byte) error {
	if s.m.is("changes on error") && len(data) >= 8 {
		binary.Decode(data[4:min(len(data), 4+4*len(s.state))/4*4], binary.LittleEndian, s.state[:1])
	}
	want := 4 + 4*len(s.state) + 4
	if s.m.is("no checksum") {
		want -= 4
	}
	if s.m.is("panics on little data") {
		_ = data[3]
	}
	if s.m.is("reads the beginning") && len(data) > want {
		data = data[:want]
	}
	if len(data) != want {
		return fmt.Errorf("%d bytes, want %d", len(data), want)
	}
	if !s.m.is("no checksum") && crc32.ChecksumIEEE(data[:want-4]) != binary.LittleEndian.Uint32(data[want-4:]) {
		return errors.New("damaged")
	}
	_, err := binary.Decode(data[4:], binary.LittleEndian, s.state)
	return err
}

func (m *mixer) Record(dst, src tensor.Seq) (seqmix.Tape, error) {
	if m.is("does not train") {
		return nil, fmt.Errorf("mixer: %w", errors.ErrUnsupported)
	}
	if !m.is("Record without shape check") {
		tensor.CheckMix("mixer.Record", dst, src, m.Dim())
	}
	t := &tape{m: m, sums: tensor.NewSeq(src.Batch, src.Len, src.Dim)}
	m.stream(src.Batch).sum(t.sums, src)
	if m.is("tape refers to dst") {
		tensor.Copy(dst, t.sums)
		t.sums = dst
	}
	tensor.Linear(dst, clone(t.sums), m.weight, nil)
	switch {
	case m.is("Record differs"):
		dst.At(0, 0)[0] += 0.01
	case m.is("Record changes a parameter"):
		m.decay.Data()[0] *= 0.999
	case m.is("Record changes src") && !dst.SameMemory(src):
		src.At(0, 0)[0]++
	}
	return t, nil
}

type tape struct {
	m    *mixer
	sums tensor.Seq
}

func (t *tape) Backward(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	m := t.m
	if !m.is("Backward without shape check") {
		tensor.CheckMix("mixer.Backward", dsrc, ddst, m.Dim())
		tensor.CheckSeq("mixer.Backward", ddst, t.sums.Batch, t.sums.Len, m.Dim())
	}
	t.addGrads(ddst, grads)
	given := ddst
	switch {
	case m.is("Backward changes ddst") && !dsrc.SameMemory(ddst):
		ddst.At(0, 0)[0] = 0
	case m.is("Backward clears dsrc first"):
		for b := range dsrc.Batch {
			clear(dsrc.Sequence(b).Data)
		}
	case m.is("Backward writes past the end") && len(dsrc.Data) > dsrc.Len*dsrc.Dim:
		dsrc.Data[dsrc.Len*dsrc.Dim] = 0
	}
	t.inputGrad(dsrc, given, grads)
	t.wrongAfter(dsrc, grads)
}

func (t *tape) addGrads(ddst tensor.Seq, grads seqmix.Grads) {
	dw := grads.Of(t.m.weight)
	if dw == nil {
		if t.m.is("needs all gradients") {
			_ = dw[0]
		}
		return
	}
	if t.m.is("sets gradients") {
		clear(dw)
	}
	dim := t.m.Dim()
	for b := range ddst.Batch {
		for i := range ddst.Len {
			for j, dy := range ddst.At(b, i) {
				for k, s := range t.sums.At(b, i) {
					if t.m.is("transposed gradient") {
						dw[k*dim+j] += dy * s
					} else {
						dw[j*dim+k] += dy * s
					}
				}
			}
		}
	}
}

// inputGrad computes dx[t] = weightᵀ·dy[t] + decay·dx[t+1], and the gradient of decay.
func (t *tape) inputGrad(dsrc, ddst tensor.Seq, grads seqmix.Grads) {
	dim, w, decay := t.m.Dim(), t.m.weight.Float32s(), t.m.decay.Data()
	dd := grads.Of(t.m.decay)
	dx := make([]float32, dim)
	for b := range ddst.Batch {
		clear(dx)
		for i := ddst.Len - 1; i >= 0; i-- {
			for k := range dx {
				dx[k] *= decay[k]
				if t.m.is("truncated gradient") && i == 0 {
					dx[k] = 0
				}
			}
			for j, dy := range ddst.At(b, i) {
				for k := range dx {
					dx[k] += w[j*dim+k] * dy
				}
			}
			for k := range dd {
				if i > 0 {
					dd[k] += dx[k] * t.sums.At(b, i-1)[k]
				}
			}
			copy(dsrc.At(b, i), dx)
		}
	}
}

func (t *tape) wrongAfter(dsrc tensor.Seq, grads seqmix.Grads) {
	dd := grads.Of(t.m.decay)
	switch {
	case t.m.is("one element off") && dd != nil:
		dd[len(dd)-1] *= 1.1
	case t.m.is("scaled input gradient"):
		for b := range dsrc.Batch {
			for i, v := range dsrc.Sequence(b).Data {
				dsrc.Sequence(b).Data[i] = 1.01 * v
			}
		}
	case t.m.is("NaN in a gradient") && dd != nil:
		dd[0] = float32(math.NaN())
	case t.m.is("no gradient of decay"):
		clear(dd)
	case t.m.is("uses up the tape"):
		for b := range t.sums.Batch {
			clear(t.sums.Sequence(b).Data)
		}
	case t.m.is("makes gradients") && grads != nil && dd == nil:
		grads[t.m.decay] = tensor.New(t.m.Dim())
	case t.m.is("Backward changes a parameter"):
		t.m.decay.Data()[0] *= 0.999
	case t.m.is("gradients count cores") && dd != nil:
		dd[0] += 1e-6 * float32(runtime.GOMAXPROCS(0))
	case t.m.is("recordings share"):
		s := t.m.shared
		for range 4 {
			s[0] = dsrc.At(0, 0)[0]
			runtime.Gosched()
			dsrc.At(0, 0)[0] = s[0]
			s[0] = 0
		}
	}
}
