package par

import "time"

// stalls says how long loops are to run inline after a worker was taken off its core. A
// single stall costs little more than itself. Where one follows the other, as they do on a
// machine that has more to do than cores, the time that the pool is left alone becomes twice
// as long each time, and half as long for each such time without any.
type stalls struct {
	penalty int           // how many times the last stall the pool was left alone
	away    time.Duration // that it was left alone
	resume  time.Time     // when it ends
	inline  bool          // until then
}

// apart reports whether the pool is to be left alone now.
func (s *stalls) apart() bool {
	if s.inline {
		s.inline = time.Now().Before(s.resume)
	}
	return s.inline
}

// add notes a stall that has just ended.
func (s *stalls) add(now time.Time, long time.Duration) {
	if s.away > 0 {
		for quiet := now.Sub(s.resume); quiet > s.away && s.penalty > 0; quiet -= s.away {
			s.penalty /= 2
		}
	}
	s.penalty = min(max(1, 2*s.penalty), maxPenalty)
	s.away = time.Duration(s.penalty) * long
	s.resume, s.inline = now.Add(s.away), true
}
