package par

import "time"

// stalls says how long loops are to run inline after a worker was taken off its core. A
// single stall costs little more than itself. Where one follows the other, as they do on a
// machine that has more to do than cores, the pool is soon left alone most of the time.
type stalls struct {
	penalty int           // how many times the last stall the pool was left alone
	away    time.Duration // that it was left alone
	resume  time.Time     // when it ends
	inline  bool          // until then
}

const (
	growth = 4 // of the penalty
	calm   = 4 // how many times what it was left alone the pool must not stall to be forgiven one
)

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
		for quiet := now.Sub(s.resume); quiet > calm*s.away && s.penalty > 0; quiet -= calm * s.away {
			s.penalty /= growth
		}
	}
	s.penalty = min(max(growth, growth*s.penalty), maxPenalty)
	s.away = time.Duration(s.penalty) * long
	s.resume, s.inline = now.Add(s.away), true
}
