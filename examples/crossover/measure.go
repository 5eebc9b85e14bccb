package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// A point is what was measured of a mixer at one length.
type point struct {
	length  int
	prefill time.Duration // for the whole sequence
	decode  time.Duration // for the next token; 0 if the mixer does not stream
	state   int           // bytes that a saved stream takes at this length; 0 likewise
	flops   float64       // floating-point operations for each position
}

// A curve is the points of one mixer. It may be shorter than the list of lengths.
type curve struct {
	name   string
	points []point
}

// settle is how long measurements that take less are repeated; the shortest counts.
const settle = 100 * time.Millisecond

// measure measures c at all lengths until one would take too long. report is called
// once for each length.
func measure(c contender, o options, lengths []int, report func(int)) (curve, error) {
	cv := curve{name: c.name}
	m, err := c.make(o.dim, o.heads, o.to+maxTokens)
	if err != nil {
		return cv, fmt.Errorf("%s: %w", c.name, err)
	}
	weights := 0
	for _, p := range m.Params() {
		if p.IsWeight() {
			weights += p.Len()
		}
	}
	seqmix.Pack(m)
	x := tensor.NewSeq(1, lengths[len(lengths)-1], o.dim)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	for _, n := range lengths {
		report(n)
		if cv.expected(n) > o.limit {
			continue
		}
		p, err := measureAt(m, x.Slice(0, n))
		if err != nil {
			return cv, fmt.Errorf("%s: %w", c.name, err)
		}
		p.flops = 2*float64(weights) + c.mixing(float64(o.dim), float64(o.heads), float64(n))
		cv.points = append(cv.points, p)
	}
	return cv, nil
}

// expected returns how long a sequence of n will take, going by the last two points.
func (c *curve) expected(n int) time.Duration {
	k := len(c.points)
	if k == 0 {
		return 0
	}
	last := c.points[k-1]
	growth := 2.0
	if k > 1 {
		growth = max(growth, float64(last.prefill)/float64(c.points[k-2].prefill))
	}
	for l := last.length; l < n; l *= 2 {
		last.prefill = time.Duration(float64(last.prefill) * growth)
	}
	return last.prefill
}

func measureAt(m seqmix.Mixer, x tensor.Seq) (point, error) {
	p := point{length: x.Len}
	y := tensor.NewSeq(x.Batch, x.Len, x.Dim)
	s, err := seqmix.NewStream(m, 1)
	if errors.Is(err, errors.ErrUnsupported) {
		p.prefill = shortest(func() { m.Mix(y, x) })
		return p, nil
	}
	if err != nil {
		return p, err
	}
	p.prefill = shortest(func() {
		s.Reset()
		s.Mix(y, x)
	})
	saved, err := s.AppendBinary(nil)
	if err != nil {
		return p, err
	}
	p.state = len(saved)
	p.decode = perToken(s, x)
	return p, nil
}

// shortest returns the time of the fastest of some calls of f.
func shortest(f func()) time.Duration {
	best := time.Duration(0)
	for begin := time.Now(); best == 0 || time.Since(begin) < settle; {
		start := time.Now()
		f()
		if d := time.Since(start); best == 0 || d < best {
			best = d
		}
	}
	return best
}

const (
	burst     = 32         // tokens between two looks at the clock
	maxTokens = 32 * burst // how far perToken goes on at most
)

// perToken returns the mean time of a token that continues s. The first burst does not
// count: it includes what some mixers do once after a prompt.
func perToken(s seqmix.Stream, x tensor.Seq) time.Duration {
	y := tensor.NewSeq(1, 1, x.Dim)
	tokens := func(from int) {
		for i := from; i < from+burst; i++ {
			at := i % x.Len
			s.Mix(y, x.Slice(at, at+1))
		}
	}
	tokens(0)
	done := burst
	begin := time.Now()
	for ; done+burst <= maxTokens && (done < 4*burst || time.Since(begin) < settle); done += burst {
		tokens(done)
	}
	return time.Since(begin) / time.Duration(done-burst)
}
