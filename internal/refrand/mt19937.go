package refrand

// Sizes and constants of MT19937 (Matsumoto and Nishimura, "Mersenne Twister", 1998).
const (
	stateLen  = 624
	shiftLen  = 397
	matrixA   = 0x9908b0df
	upperMask = 1 << 31
	lowerMask = upperMask - 1
)

// mt19937 is the generator under both of this package.
type mt19937 struct {
	state [stateLen]uint32
	next  int // index of the next element; stateLen if all were used
}

// seed begins the sequence of a seed, of which 32 bits count.
func (m *mt19937) seed(seed uint64) {
	x := uint32(seed)
	for i := range m.state {
		m.state[i] = x
		x = 1812433253*(x^x>>30) + uint32(i) + 1
	}
	m.next = stateLen
}

// twist makes the next state.
func (m *mt19937) twist() {
	for i := range m.state {
		y := m.state[i]&upperMask | m.state[(i+1)%stateLen]&lowerMask
		v := m.state[(i+shiftLen)%stateLen] ^ y>>1
		if y&1 != 0 {
			v ^= matrixA
		}
		m.state[i] = v
	}
	m.next = 0
}

// uint32 returns the next 32 bits.
func (m *mt19937) uint32() uint32 {
	if m.next == stateLen {
		m.twist()
	}
	y := m.state[m.next]
	m.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// uint64 returns the next 64 bits, the upper half first.
func (m *mt19937) uint64() uint64 {
	hi := uint64(m.uint32())
	return hi<<32 | uint64(m.uint32())
}
