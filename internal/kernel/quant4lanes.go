//go:build (amd64 || arm64) && !purego

package kernel

import "math"

// roundLanes is the number of blocks that are rounded side by side.
const roundLanes = 8

// lanes4 is blocks side by side: element i of block j lies at i·roundLanes+j.
type lanes4 struct {
	w       [QuantBlock * roundLanes]float32
	codes   [QuantBlock * roundLanes]byte
	inverse [roundLanes]float32    // of the scales that are tried
	sums    [4][roundLanes]float32 // as in trial4: sum, most, num, den
}

// search4 is the search for the scale of one of them.
type search4 struct {
	fit4
	begun, todo bool // whether there is a scale to be found, and more to be tried
	top, bound  float32
	trial       trial4 // whose inverse is 0 if there is none
}

// fitQ4Lanes rounds the first n blocks of f, roundLanes at a time.
func fitQ4Lanes(f *fits4, n int) {
	for lo := 0; lo < n; lo += roundLanes {
		fitSome(f, lo, min(roundLanes, n-lo))
	}
}

// fitSome rounds blocks lo to lo+n-1, each as fit4.block does.
func fitSome(f *fits4, lo, n int) {
	var l lanes4
	var searches [roundLanes]search4
	Transpose(l.w[:], roundLanes, f.w[lo*QuantBlock:], QuantBlock, roundLanes, QuantBlock)
	for j := range n {
		if !searches[j].begin(f.w[(lo+j)*QuantBlock:][:QuantBlock]) {
			fitQ4Generic(f, lo+j, lo+j+1)
		}
	}
	for attempt := range 4 {
		for j := range searches {
			l.inverse[j] = searches[j].choose(attempt)
		}
		roundQ4(&l)
		for j := range searches {
			searches[j].judge(attempt, &l, j)
		}
	}
	for j := range searches {
		l.inverse[j] = 1 / widenScale(searches[j].scale)
	}
	roundQ4(&l)
	for j := range n {
		if s := &searches[j]; s.begun {
			f.scales[lo+j] = s.scale
			l.write(f.codes[(lo+j)*q4RowBytes:][:q4RowBytes], j, s.scale == 0)
		}
	}
}

// begin reports whether there is a scale to be searched for.
func (s *search4) begin(w []float32) bool {
	s.top = largest4(w)
	if s.top == 0 || s.top-s.top != 0 || s.exact(w, s.top) {
		return false
	}
	s.err, s.bound = math.Inf(1), q4Bound*max(s.top, -s.top)
	s.begun, s.todo = true, true
	return true
}

// choose makes a scale the trial, and returns its inverse, or 0 if there is none.
func (s *search4) choose(attempt int) float32 {
	s.trial = trial4{}
	if !s.todo {
		return 0
	}
	scale := s.improved
	switch attempt {
	case 0:
		scale = s.top / Q4Codes[0]
	case 1:
		scale = s.top / Q4Codes[15]
	}
	s.trial, _ = newTrial4(scale)
	return s.trial.inverse
}

// judge accepts the trial or not, and decides whether there is more to be tried.
func (s *search4) judge(attempt int, l *lanes4, j int) {
	t := &s.trial
	t.sum, t.most, t.num, t.den = l.sums[0][j], l.sums[1][j], l.sums[2][j], l.sums[3][j]
	accepted := t.inverse != 0 && s.accept(t, s.bound)
	switch attempt {
	case 0:
	case 1:
		s.todo = s.todo && !math.IsInf(s.err, 1)
	default:
		s.todo = accepted
	}
}

// write writes the codes of block j, or those of zeros.
func (l *lanes4) write(dst []byte, j int, zeros bool) {
	for i := range dst {
		if zeros {
			dst[i] = q4Zero | q4Zero<<4
		} else {
			dst[i] = l.codes[2*i*roundLanes+j] | l.codes[(2*i+1)*roundLanes+j]<<4
		}
	}
}
