package ssm

import "github.com/seqmix/seqmix/internal/kernel"

// headSizes are the dimensions of state space heads: heads of p channels with n states
// each. Neighbouring heads form a group, whose keys and queries (B and C of Mamba-2)
// are the same.
type headSizes struct{ heads, p, groups, n int }

// channels returns the number of channels of a group.
func (z headSizes) channels() int { return z.heads / z.groups * z.p }

// groupLen and stateLen return the number of elements of the state of a group and of a
// sequence.
func (z headSizes) groupLen() int { return kernel.LinearLen(z.channels(), z.n) }
func (z headSizes) stateLen() int { return z.groups * z.groupLen() }

// plainLen returns the number of elements of the state of a sequence in the shape
// (heads, p, n).
func (z headSizes) plainLen() int { return z.heads * z.p * z.n }

// headStates are the states of the heads of some sequences. What decays is not the
// array but a factor for each head, which the array is to be multiplied by: a step is
// an addition then, and nothing is rounded that does not change. A factor that becomes
// too small or too large is moved into the array, see [decay].
//
// This is what makes a recurrence as fast as a chunked product of matrices: both take
// two multiply-adds for each element and position.
type headStates struct {
	headSizes
	states []float32 // for each sequence and group, see kernel.LinearLen
	decays []float64 // for each sequence and head
}

// begin makes s the states of so many sequences, using its memory again. They are
// undefined until reset.
func (s *headStates) begin(z headSizes, batch int) {
	s.headSizes = z
	s.states = resize(s.states, batch*z.stateLen())
	if n := batch * z.heads; cap(s.decays) < n {
		s.decays = make([]float64, n)
	} else {
		s.decays = s.decays[:n]
	}
}

// reset makes all states those of initial, which is the state of a sequence in the
// order of states, or zero if it is nil.
func (s *headStates) reset(initial []float32) {
	if initial == nil {
		clear(s.states)
	}
	for at := 0; at < len(s.states) && initial != nil; at += len(initial) {
		copy(s.states[at:], initial)
	}
	for i := range s.decays {
		s.decays[i] = 1
	}
}

// copyFrom makes s a copy of the states of as many sequences.
func (s *headStates) copyFrom(t *headStates) {
	copy(s.states, t.states)
	copy(s.decays, t.decays)
}

// group returns the state of a group of a sequence.
func (s *headStates) group(sequence, group int) []float32 {
	at := sequence*s.stateLen() + group*s.groupLen()
	return s.states[at : at+s.groupLen()]
}

// unpack writes the states to dst, of shape (batch, heads, p, n), multiplied by their
// decays unless raw is set.
func (s *headStates) unpack(dst []float32, raw bool) {
	for at, b := 0, 0; at < len(dst); b++ {
		for g := range s.groups {
			size := s.channels() * s.n
			kernel.UnpackLinearState(dst[at:at+size], s.group(b, g), s.channels(), s.n)
			at += size
		}
	}
	if raw {
		return
	}
	head := s.p * s.n
	for i, d := range s.decays {
		for j, v := range dst[i*head : (i+1)*head] {
			dst[i*head+j] = float32(float64(v) * d)
		}
	}
}

// pack makes src, of shape (batch, heads, p, n), the states, without a decay.
func (s *headStates) pack(src []float32) {
	for at, b := 0, 0; at < len(src); b++ {
		for g := range s.groups {
			size := s.channels() * s.n
			kernel.PackLinearState(s.group(b, g), src[at:at+size], s.channels(), s.n)
			at += size
		}
	}
	for i := range s.decays {
		s.decays[i] = 1
	}
}

// packInitial returns a state of shape (heads, p, n) in the order of a sequence.
func (z headSizes) packInitial(src []float32) []float32 {
	s := headStates{headSizes: z, states: make([]float32, z.stateLen())}
	s.pack(src)
	return s.states
}

// thirds returns the elements of v as sums of three float32s each, which is exact.
func thirds(v []float64) []float32 {
	parts := make([]float32, 0, 3*len(v))
	for _, d := range v {
		for range 3 {
			part := float32(d)
			parts = append(parts, part)
			d -= float64(part)
		}
	}
	return parts
}

// setThirds is the inverse of thirds.
func setThirds(v []float64, parts []float32) {
	for i := range v {
		v[i] = float64(parts[3*i]) + (float64(parts[3*i+1]) + float64(parts[3*i+2]))
	}
}

// A decay is the factor that the state of a head is to be multiplied by.
type decay float64

// Beyond these bounds a decay is moved into the state. Within, the inverse does not
// make an ordinary number overflow.
const (
	leastDecay decay = 1. / (1 << 40)
	mostDecay  decay = 1 << 40
)

// times returns the decay times a, and the factor to be moved into the state.
func (d decay) times(a float64) (next decay, fold float32) {
	next = d * decay(a)
	if leastDecay <= next && next <= mostDecay {
		return next, 1
	}
	return 1, float32(next) // NaN too
}
