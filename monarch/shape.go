package monarch

import (
	"fmt"
	"math"
)

// A Shape gives the sizes of the two factors of a Monarch matrix of order two: W1 has
// K blocks of Q×P and W2 has L blocks of S×R. What W1 makes is what W2 reads, so
// K·Q = L·R.
//
// Every combination of sizes makes a matrix. If L divides Q, the S×P blocks that a
// pair of a block of W1 and one of W2 make have rank Q/L; if not, the ranks of
// different pairs differ by one.
type Shape struct {
	K int `json:"k"`
	Q int `json:"q"`
	P int `json:"p"`
	L int `json:"l"`
	S int `json:"s"`
	R int `json:"r"`
}

// SquareShape returns the shape of an n×n matrix whose blocks are as near to √n×√n as
// the divisors of n allow, the larger ones in W2: with n = a·b and a ≥ b, W1 has a
// blocks of b×b and W2 has b blocks of a×a.
func SquareShape(n int) Shape {
	b := int(math.Sqrt(float64(max(n, 0))))
	for b > 1 && n%b != 0 {
		b--
	}
	a := n / max(b, 1)
	return Shape{K: a, Q: b, P: b, L: b, S: a, R: a}
}

// In returns K·P, the number of columns.
func (s Shape) In() int { return s.K * s.P }

// Out returns L·S, the number of rows.
func (s Shape) Out() int { return s.L * s.S }

// Parameters returns the number of elements of both factors. A multiplication takes as
// many multiply-adds.
func (s Shape) Parameters() int { return s.K*s.Q*s.P + s.L*s.S*s.R }

func (s Shape) validate() error {
	for _, n := range []int{s.K, s.Q, s.P, s.L, s.S, s.R} {
		if n < 1 || n > maxSize {
			return fmt.Errorf("monarch: shape %+v: sizes are from 1 to %d", s, maxSize)
		}
	}
	if s.K > maxSize/s.P || s.L > maxSize/s.S || s.K > maxSize/s.Q || s.L > maxSize/s.R {
		return fmt.Errorf("monarch: shape %+v: more than %d elements", s, maxSize)
	}
	if s.K*s.Q != s.L*s.R {
		return fmt.Errorf("monarch: W1 makes %d·%d elements, W2 reads %d·%d", s.K, s.Q, s.L, s.R)
	}
	return nil
}

// maxSize bounds the length of vectors.
const maxSize = 1 << 24
