package mixtest

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math"
	"runtime"
	"slices"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// stream returns a stream of so many sequences.
func (t *tester) stream(batch int) seqmix.Stream {
	s, err := seqmix.NewStream(t.m, batch)
	if err != nil {
		panic(err)
	}
	return s
}

// feed mixes src in pieces of the given lengths, every other one in place.
func feed(s seqmix.Stream, src tensor.Seq, lengths ...int) tensor.Seq {
	dst := like(src)
	at := 0
	for i, n := range lengths {
		out := dst.Slice(at, at+n)
		in := src.Slice(at, at+n)
		if i%2 == 1 {
			tensor.Copy(out, in)
			in = out
		}
		s.Mix(out, in)
		at += n
	}
	return dst.Slice(0, at)
}

// repeated returns lengths of n that add up to total, the last one shorter if need be.
func repeated(n, total int) []int {
	var lengths []int
	for ; total > 0; total -= n {
		lengths = append(lengths, min(n, total))
	}
	return lengths
}

// longSequence is the length from which not every single cut is tried.
const longSequence = 48

// cuts returns ways to cut a sequence of n positions.
func (t *tester) cuts(n int) [][]int {
	list := [][]int{{n}, {0, n, 0}}
	for at := 1; at < n; at++ {
		if n <= longSequence || at < 6 || at >= n-3 || t.rand.IntN(n) < longSequence {
			list = append(list, []int{at, n - at})
		}
	}
	for _, piece := range []int{1, 2, 3, 5, 16} {
		list = append(list, repeated(piece, n))
	}
	for range 4 {
		var lengths []int
		for left := n; left > 0; {
			piece := min(t.rand.IntN(5), left)
			lengths, left = append(lengths, piece), left-piece
		}
		list = append(list, lengths)
	}
	return list
}

func checkCuts(t *tester) error {
	for _, lengths := range t.cuts(t.Len) {
		if err := near(feed(t.stream(t.Batch), t.src, lengths...), t.want, t.Tol); err != nil {
			return fmt.Errorf("in pieces of %v: %w", brief(lengths), err)
		}
	}
	return nil
}

// brief describes the lengths of many pieces by the first few.
func brief(lengths []int) string {
	if len(lengths) <= 12 {
		return fmt.Sprint(lengths)
	}
	return fmt.Sprintf("%v and so on", lengths[:12])
}

// checkCausality changes the input from some position on. The outputs before it may
// change by rounding only, as those of a convolution by Fourier transform do.
func checkCausality(t *tester) error {
	for _, at := range []int{1, t.Len / 2, t.Len - 1} {
		if at < 1 || at >= t.Len {
			continue
		}
		src := clone(t.src)
		tensor.Copy(src.Slice(at, t.Len), t.random(t.Batch, t.Len-at))
		got := t.mix(src)
		if err := near(got.Slice(0, at), t.want.Slice(0, at), t.Tol); err != nil {
			return fmt.Errorf("after the input changed at position %d and later: %w", at, err)
		}
	}
	return nil
}

// checkNonFinite puts numbers that are not finite into one sequence from some position on.
// The outputs before it and the other sequences may change by rounding only, of whole
// sequences and of pieces.
func checkNonFinite(t *tester) error {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, at := range []int{1, t.Len / 3, t.Len / 2, t.Len - 1} {
			if at < 1 || at >= t.Len {
				continue
			}
			src := clone(t.src)
			part := src.Sequence(t.Batch - 1)
			for i := range part.At(0, at) {
				part.At(0, at)[i] = float32(bad)
			}
			for name, got := range map[string]tensor.Seq{
				"as a whole": t.mix(src), "in a piece": feed(t.stream(t.Batch), src, t.Len), "in two": feed(t.stream(t.Batch), src, at-1, t.Len-at+1),
			} {
				err := near(got.Sequence(t.Batch-1).Slice(0, at), t.want.Sequence(t.Batch-1).Slice(0, at), t.Tol)
				for b := range t.Batch - 1 {
					err = errors.Join(err, near(got.Sequence(b), t.want.Sequence(b), t.Tol))
				}
				if err != nil {
					return fmt.Errorf("with %v at position %d, %s: %w", bad, at, name, err)
				}
			}
		}
	}
	return nil
}

func checkStreams(t *tester) error {
	first, second := t.stream(t.Batch), t.stream(t.Batch)
	other := t.random(t.Batch, t.Len)
	alone := feed(t.stream(t.Batch), other, repeated(1, t.Len)...)
	got, gotOther := like(t.src), like(other)
	for i := range t.Len {
		first.Mix(got.Slice(i, i+1), t.src.Slice(i, i+1))
		second.Mix(gotOther.Slice(i, i+1), other.Slice(i, i+1))
	}
	if err := errors.Join(near(got, t.want, t.Tol), same(gotOther, alone)); err != nil {
		return fmt.Errorf("two streams in turn: %w", err)
	}
	return concurrently(func(int) error {
		s := t.stream(t.Batch)
		return explain(same(feed(s, other, repeated(1, t.Len)...), alone), "%d streams at once", goroutines)
	})
}

// checkTogether advances streams of one sequence, which are in different places, by one
// position and by several, and then goes on with them alone.
func checkTogether(t *tester) error {
	const count = 3
	pieces := []int{1, t.half() / 2, 0, 1}
	total := 0
	for _, n := range pieces {
		total += n
	}
	src := t.random(count, total+1)
	var together []seqmix.Stream
	var want []tensor.Seq
	for i := range count {
		begin := t.random(1, t.Len).Slice(0, min(2*i, t.Len-1))
		alone := t.stream(1)
		feed(alone, begin, begin.Len)
		together = append(together, alone.Clone())
		want = append(want, feed(alone, src.Sequence(i), append(slices.Clone(pieces), 1)...))
	}
	got, at := like(src), 0
	for _, n := range pieces {
		seqmix.MixEach(got.Slice(at, at+n), src.Slice(at, at+n), together)
		at += n
	}
	for i, s := range together {
		last := src.Sequence(i).Slice(at, at+1)
		s.Mix(got.Sequence(i).Slice(at, at+1), last)
		if err := same(got.Sequence(i), want[i]); err != nil {
			return fmt.Errorf("stream %d of %d: %w", i, count, err)
		}
	}
	return nil
}

// half is where checks interrupt a stream.
func (t *tester) half() int { return (t.Len + 1) / 2 }

func checkReset(t *tester) error {
	s := t.stream(t.Batch)
	fresh := feed(s, t.src, t.half(), t.Len-t.half())
	s.Reset()
	err := same(feed(s, t.src, t.half(), t.Len-t.half()), fresh)
	if err != nil {
		return fmt.Errorf("the second run differs from the first: %w", err)
	}
	s.Reset()
	feed(s, t.src, t.half())
	s.Reset()
	return explain(same(feed(s, t.src, t.half(), t.Len-t.half()), fresh), "after a run that was broken off")
}

func checkClone(t *tester) error {
	n := t.half()
	rest, other := t.src.Slice(n, t.Len), t.random(t.Batch, t.Len)
	started := func() seqmix.Stream {
		s := t.stream(t.Batch)
		feed(s, t.src, n)
		return s
	}
	want := feed(started(), rest, rest.Len)
	branch := feed(started(), other, 1, other.Len-1)

	s := started()
	kept, used, reset := s.Clone(), s.Clone(), s.Clone()
	errs := []error{explain(same(feed(used, other, 1, other.Len-1), branch), "a clone that branches off")}
	reset.Reset()
	errs = append(errs,
		explain(same(feed(s, rest, rest.Len), want), "the original after its clones were used"),
		explain(same(feed(kept.Clone(), rest, rest.Len), want), "a clone of a clone after the original was used"),
		explain(same(feed(kept, rest, rest.Len), want), "a clone after the original was used"))
	return errors.Join(errs...)
}

// save returns the state of s, appended to something.
func save(s seqmix.Stream) ([]byte, error) {
	prefix := []byte("before")
	b, err := s.AppendBinary(slices.Clone(prefix))
	if err != nil {
		return nil, fmt.Errorf("AppendBinary: %w", err)
	}
	state, ok := bytes.CutPrefix(b, prefix)
	if !ok {
		return nil, errors.New("AppendBinary changed what it was to append to")
	}
	return slices.Clip(state), nil
}

func checkRestore(t *tester) error {
	for _, n := range []int{0, 1, t.half(), t.Len - 1} {
		if err := t.restoreAt(n); err != nil {
			return fmt.Errorf("after %d positions: %w", n, err)
		}
	}
	return nil
}

func (t *tester) restoreAt(n int) error {
	rest := t.src.Slice(n, t.Len)
	s := t.stream(t.Batch)
	feed(s, t.src.Slice(0, n), n)
	saved, err := save(s)
	if err != nil {
		return err
	}
	want := feed(s, rest, rest.Len)
	used := t.stream(t.Batch)
	feed(used, t.random(t.Batch, t.Len), t.Len)
	for _, target := range []struct {
		name   string
		stream seqmix.Stream
	}{{"the same stream", s}, {"a new stream", t.stream(t.Batch)}, {"a used stream", used}} {
		data := slices.Clone(saved)
		if err := target.stream.UnmarshalBinary(data); err != nil {
			return fmt.Errorf("into %s: %w", target.name, err)
		}
		clear(data) // the stream must not keep it
		if again, err := save(target.stream); err != nil || !bytes.Equal(again, saved) {
			return fmt.Errorf("saved again from %s: the bytes differ (error: %v)", target.name, err)
		}
		if err := same(feed(target.stream, rest, rest.Len), want); err != nil {
			return fmt.Errorf("continued in %s: %w", target.name, err)
		}
	}
	return nil
}

// damagedBytes is about how many bytes of a long state are damaged in turn.
const damagedBytes = 100

// damaged yields saved states with something wrong, and what it is.
func (t *tester) damaged(saved, otherBatch []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		_ = yield("that of another batch", otherBatch) &&
			yield("nil", nil) &&
			yield("empty", []byte{}) &&
			yield("a line of text", []byte("this is not the state of a stream\n")) &&
			yield("one byte longer", append(slices.Clone(saved), 0)) &&
			yield("there twice", slices.Concat(saved, saved)) &&
			yield("all zeros", make([]byte, len(saved))) &&
			yield("all ones", bytes.Repeat([]byte{0xff}, len(saved))) &&
			t.damagedBytes(saved, yield)
	}
}

// damagedBytes cuts saved off at many places and changes it at many places.
func (t *tester) damagedBytes(saved []byte, yield func(string, []byte) bool) bool {
	for i := range saved {
		if i >= damagedBytes && t.rand.IntN(len(saved)) >= damagedBytes {
			continue
		}
		flipped := slices.Clone(saved)
		flipped[i] ^= 1 << t.rand.IntN(8)
		if !yield(fmt.Sprintf("cut off after %d of %d bytes", i, len(saved)), saved[:i:i]) ||
			!yield(fmt.Sprintf("damaged in byte %d of %d", i, len(saved)), flipped) {
			return false
		}
	}
	return true
}

func checkDamaged(t *tester) error {
	saved, err := save(t.streamAfter(t.Batch, t.half()))
	if err != nil {
		return err
	}
	otherBatch, err := save(t.streamAfter(t.Batch+1, t.half()))
	if err != nil {
		return err
	}
	r := reader{t: t, s: t.streamAfter(t.Batch, 1)}
	if r.before, err = save(r.s); err != nil {
		return err
	}
	var errs []error
	for name, data := range t.damaged(saved, otherBatch) {
		if err := r.refuse(name, data); err != nil {
			errs = append(errs, err)
			r.s = t.streamAfter(t.Batch, 1)
		}
	}
	rest := t.src.Slice(1, t.Len)
	err = same(feed(r.s, rest, rest.Len), feed(t.streamAfter(t.Batch, 1), rest, rest.Len))
	return errors.Join(append(firstFew(errs), explain(err, "after errors of UnmarshalBinary"))...)
}

// streamAfter returns a stream of so many sequences after n positions, those of src if
// it is of the same batch.
func (t *tester) streamAfter(batch, n int) seqmix.Stream {
	s := t.stream(batch)
	src := t.src
	if batch != t.Batch {
		src = t.random(batch, n)
	}
	feed(s, src, n)
	return s
}

// reader is a stream that is to refuse what it reads.
type reader struct {
	t      *tester
	s      seqmix.Stream
	before []byte // its state
}

// refuse returns an error unless the stream refuses data and stays as it is.
func (r *reader) refuse(name string, data []byte) error {
	var err error
	if p := panicOf(func() { err = r.s.UnmarshalBinary(data) }); p != nil {
		return fmt.Errorf("a state that is %s: panic: %v", name, p)
	}
	if err == nil {
		return fmt.Errorf("a state that is %s was read without an error", name)
	}
	if after, err := save(r.s); err != nil || !bytes.Equal(after, r.before) {
		return fmt.Errorf("a state that is %s gave an error, but UnmarshalBinary changed the stream (%v)", name, err)
	}
	return nil
}

// firstFew keeps a report short.
func firstFew(errs []error) []error {
	const few = 3
	if len(errs) <= few {
		return errs
	}
	return append(errs[:few:few], fmt.Errorf("and %d more", len(errs)-few))
}

func checkStreamShapes(t *tester) error {
	s := t.stream(t.Batch)
	var errs []error
	for name, pair := range t.wrongShapes() {
		errs = append(errs, shapePanic(name, func() { s.Mix(pair[0], pair[1]) }))
	}
	b := t.Batch + 1
	errs = append(errs, shapePanic("another batch than the stream has", func() {
		s.Mix(t.random(b, t.Len), t.random(b, t.Len))
	}))
	return errors.Join(append(errs, t.overlaps(s.Mix))...)
}

func checkStreamOutside(t *tester) error {
	var errs []error
	for _, lengths := range [][]int{{t.Len}, repeated(1, t.Len)} {
		s := t.stream(t.Batch)
		errs = append(errs, t.outside(func(dst, src tensor.Seq) {
			at := 0
			for _, n := range lengths {
				s.Mix(dst.Slice(at, at+n), src.Slice(at, at+n))
				at += n
			}
		}))
	}
	return errors.Join(errs...)
}

// checkAllocations counts allocations in runs over the whole sequence, one position
// at a time and several. Something else may allocate meanwhile, and memory that grows
// with the sequence, such as a cache of keys, grows in ever longer steps; so the best
// of some runs counts, and less than one allocation a call is none.
func checkAllocations(t *tester) error {
	if raceEnabled {
		return nil
	}
	for _, n := range []int{1, min(4, t.Len)} {
		s := t.stream(t.Batch)
		dst := like(t.src)
		best := uint64(math.MaxUint64)
		for range 6 {
			s.Reset()
			before := mallocs()
			for at := 0; at+n <= t.Len; at += n {
				s.Mix(dst.Slice(at, at+n), t.src.Slice(at, at+n))
			}
			best = min(best, mallocs()-before)
		}
		if perCall := best / uint64(t.Len/n); perCall > 0 {
			return fmt.Errorf("each call with %d positions allocates %d times", n, perCall)
		}
	}
	return nil
}

func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

func checkStreamCores(t *tester) error {
	want := feed(t.stream(t.Batch), t.src, t.half(), t.Len-t.half())
	return onCores(func(int) error {
		return same(feed(t.stream(t.Batch), t.src, t.half(), t.Len-t.half()), want)
	})
}
