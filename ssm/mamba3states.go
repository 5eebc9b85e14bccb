package ssm

import (
	"math"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/tensor"
)

// rotarySizes are the dimensions of keys and queries of Mamba-3. Every head has keys and
// queries of its own: they come from one of keyGroups groups, but biases and angles
// are those of the head. It has rank of them for one position.
type rotarySizes struct {
	keyGroups, rank int
	turning         int  // pairs of states that are rotated
	halves          bool // pairs are (i, i+n/2), not (2i, 2i+1)
}

// rotaryStates are the states of the heads of some sequences. In S itself, which is in
// headStates, the last position is missing: the trapezoidal rule gives it a weight that
// depends on the next one, so that it is added then. This is why a position takes one
// update only.
type rotaryStates struct {
	headStates
	rotarySizes
	theta   []float64 // for each sequence, head and angle, within ±π
	keys    []float32 // keys of the last position, rotated: (sequences, heads, rank, n)
	values  []float32 // and its values (sequences, heads, p)
	pending []float32 // and its weight in S (sequences, heads)
}

// begin makes s the states of so many sequences, using its memory again. They are
// undefined until reset.
func (s *rotaryStates) begin(z headSizes, r rotarySizes, batch int) {
	s.rotarySizes = r
	s.headStates.begin(z, batch)
	heads := batch * z.heads
	if n := heads * r.turning; cap(s.theta) < n {
		s.theta = make([]float64, n)
	} else {
		s.theta = s.theta[:n]
	}
	s.keys = resize(s.keys, heads*r.rank*z.n)
	s.values = resize(s.values, heads*z.p)
	s.pending = resize(s.pending, heads)
}

func (s *rotaryStates) reset() {
	s.headStates.reset(nil)
	clear(s.theta)
	clear(s.keys)
	clear(s.values)
	clear(s.pending)
}

// copyFrom makes s a copy of the states of as many sequences.
func (s *rotaryStates) copyFrom(t *rotaryStates) {
	s.headStates.copyFrom(&t.headStates)
	copy(s.theta, t.theta)
	copy(s.keys, t.keys)
	copy(s.values, t.values)
	copy(s.pending, t.pending)
}

// A Mamba3State is the state of a [Mamba3]. H is the number of heads, of P channels and
// N states each, and R the rank.
type Mamba3State struct {
	Angle *tensor.Tensor // (batch, H, angles), by which the last keys were rotated, modulo 2π
	SSM   *tensor.Tensor // (batch, H, P, N)
	K     *tensor.Tensor // (batch, R, H, N), the last keys, rotated
	V     *tensor.Tensor // (batch, H, P), the last input
}

// check panics unless all parts that are there fit.
func (s *Mamba3State) check(op string, z headSizes, r rotarySizes, batch int) {
	checkShape(op, s.Angle, batch, z.heads, r.turning)
	checkShape(op, s.SSM, batch, z.heads, z.p, z.n)
	checkShape(op, s.K, batch, r.rank, z.heads, z.n)
	checkShape(op, s.V, batch, z.heads, z.p)
}

// export returns the states. mimoX, of shape (heads, rank, p), is nil without ranks.
func (s *rotaryStates) export(mimoX []float32) Mamba3State {
	batch := len(s.pending) / s.heads
	state := Mamba3State{
		Angle: tensor.New(batch, s.heads, s.turning), SSM: tensor.New(batch, s.heads, s.p, s.n),
		K: tensor.New(batch, s.rank, s.heads, s.n), V: tensor.New(batch, s.heads, s.p),
	}
	for i, v := range s.theta {
		state.Angle.Data()[i] = float32(v)
	}
	s.eachKey(s.keys, func(head, r int, key []float32) { copy(state.K.Data()[s.keyAt(head, r):], key) })
	copy(state.V.Data(), s.values)
	s.unpack(state.SSM.Data(), false)
	value := make([]float32, s.p)
	s.eachKey(s.keys, func(head, r int, key []float32) {
		kernel.Scale(value, s.pending[head], s.values[head*s.p:(head+1)*s.p])
		if mimoX != nil {
			h := head % s.heads
			kernel.Mul(value, value, mimoX[(h*s.rank+r)*s.p:(h*s.rank+r+1)*s.p])
		}
		for c, v := range value {
			at := (head*s.p + c) * s.n
			kernel.Axpy(v, key, state.SSM.Data()[at:at+s.n])
		}
	})
	return state
}

// eachKey calls f for all keys, which have the order of s.keys; head counts through all
// sequences.
func (s *rotaryStates) eachKey(keys []float32, f func(head, r int, key []float32)) {
	n := s.n
	for i := range len(keys) / n {
		f(i/s.rank, i%s.rank, keys[i*n:(i+1)*n])
	}
}

// keyAt returns where in an array (sequences, rank, heads, n) a key begins.
func (s *rotaryStates) keyAt(head, r int) int {
	return ((head/s.heads*s.rank+r)*s.heads + head%s.heads) * s.n
}

// set makes state, all parts of which are there, the states.
func (s *rotaryStates) set(state Mamba3State) {
	for i, v := range state.Angle.Float32s() {
		s.theta[i] = wrap(float64(v))
	}
	s.pack(state.SSM.Float32s())
	keys := state.K.Float32s()
	s.eachKey(s.keys, func(head, r int, key []float32) { copy(key, keys[s.keyAt(head, r):]) })
	copy(s.values, state.V.Float32s())
	clear(s.pending)
}

// wrap returns the angle within ±π that is the same as x.
func wrap(x float64) float64 {
	if -math.Pi <= x && x <= math.Pi {
		return x
	}
	return x - 2*math.Pi*math.Round(x/(2*math.Pi))
}
