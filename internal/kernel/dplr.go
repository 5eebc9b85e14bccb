package kernel

import "fmt"

//go:generate sh -c "cd _asm && go run ./dplr -out ../dplr_amd64.s -stubs ../dplr_stub_amd64.go -pkg kernel"
//go:generate sh -c "cd _asm && go run ./neon -group dplr -out ../dplr_arm64.s -stubs ../dplr_stub_arm64.go"

// A DPLRFilter holds, for each of some channels, a linear recurrence whose matrix is
// diagonal plus low rank, as that of S4 is. With complex states that stand for
// themselves and their conjugates, and sums over all states of a channel,
//
//	σ[j] = Re(Σ_k w[j][k]·h[k])                               for each rank j
//	h[k] = h[k] + g[k]·h[k] + b[k]·u - Σ_j p[j][k]·σ[j]
//	y    = Re(Σ_k c[k]·h[k]) + d·u
//
// at each position. A filter is read only once it is set, so that any number of
// goroutines can share it. Blocks are those of a [ModalFilter].
type DPLRFilter struct {
	channels, states, rank int

	// For each block of channels, and in rows of 16 elements: for each rank and state
	// Re(w), -Im(w); then for each state g, b, Re(c), -Im(c), and for each rank p. A
	// complex number is two rows.
	rows []float32
	d    []float32 // of each channel, and of those that pad the last block
}

// The number of states is even, which saves the kernels a special case.
const dplrStateRows, dplrMaxRank = 2, 64

// NewDPLRFilter returns a filter of so many channels with so many states each. What is
// not set is zero. It panics if a number is negative, or rank above 64.
func NewDPLRFilter(channels, states, rank int) *DPLRFilter {
	if channels < 0 || states < 0 || rank < 0 || rank > dplrMaxRank {
		panic(fmt.Sprintf("kernel: a DPLR filter of %d channels, %d states and rank %d", channels, states, rank))
	}
	f := &DPLRFilter{channels: channels, states: (states + 1) &^ 1, rank: rank}
	f.rows = make([]float32, f.Blocks()*f.blockLen())
	f.d = make([]float32, f.Blocks()*ModalBlock)
	return f
}

// Blocks returns the number of blocks of 16 channels.
func (f *DPLRFilter) Blocks() int { return (f.channels + ModalBlock - 1) / ModalBlock }

func (f *DPLRFilter) blockLen() int { return f.states * (6 + 4*f.rank) * ModalBlock }

// StateLen returns the number of elements of the state of one sequence.
func (f *DPLRFilter) StateLen() int { return f.Blocks() * f.blockStateLen() }

func (f *DPLRFilter) blockStateLen() int { return f.states * dplrStateRows * ModalBlock }

// SetSkip sets d of a channel.
func (f *DPLRFilter) SetSkip(channel int, d float32) { f.d[channel] = d }

// SetState sets g, b and c of state k of a channel.
func (f *DPLRFilter) SetState(channel, k int, g, b, c complex128) {
	row := f.stateRow(k)
	f.set(channel, row, g)
	f.set(channel, row+2, b)
	f.set(channel, row+4, complex(real(c), -imag(c)))
}

// SetRank sets w and p of rank j and state k of a channel.
func (f *DPLRFilter) SetRank(channel, j, k int, w, p complex128) {
	f.set(channel, 2*(j*f.states+k), complex(real(w), -imag(w)))
	f.set(channel, f.stateRow(k)+6+2*j, p)
}

func (f *DPLRFilter) stateRow(k int) int { return 2*f.rank*f.states + k*(6+2*f.rank) }

// set writes real and imaginary part to two rows of a block.
func (f *DPLRFilter) set(channel, row int, z complex128) {
	at := channel/ModalBlock*f.blockLen() + row*ModalBlock + channel%ModalBlock
	f.rows[at], f.rows[at+ModalBlock] = float32(real(z)), float32(imag(z))
}

// StateAt returns where in a state the real and the imaginary part of h[k] are.
func (f *DPLRFilter) StateAt(channel, k int) (re, im int) {
	at := channel/ModalBlock*f.blockStateLen() + dplrStateRows*k*ModalBlock + channel%ModalBlock
	return at, at + ModalBlock
}

// Filter takes the channels of blocks lo to hi-1 through n positions, as
// [ModalFilter.Filter] does.
func (f *DPLRFilter) Filter(dst []float32, ldd int, src []float32, lds, n int, state []float32, lo, hi int) {
	checkFilter("result", f.channels, len(dst), ldd, n, lo, hi)
	checkFilter("input", f.channels, len(src), lds, n, lo, hi)
	if len(state) < f.StateLen() {
		panic(fmt.Sprintf("kernel: a DPLR filter with a state of %d elements, want %d", len(state), f.StateLen()))
	}
	var x modalTile
	var sigma [dplrMaxRank * ModalBlock]float32
	for b := lo; b < hi; b++ {
		c, width := b*ModalBlock, min(ModalBlock, f.channels-b*ModalBlock)
		h, rows := state[b*f.blockStateLen():(b+1)*f.blockStateLen()], f.rows[b*f.blockLen():(b+1)*f.blockLen()]
		for t := 0; t < n; t += modalPositions {
			m := min(modalPositions, n-t)
			modalBegin(m, width, x.y[:], x.u[:], src[t*lds+c:], lds, f.d[c:])
			// A call is well below 100 µs.
			for step := max(1, dplrCells/max(len(rows), 1)); m > 0 && f.states > 0; {
				at := (min(modalPositions, n-t) - m) * ModalBlock
				dplrSteps(min(step, m), f.states, f.rank, x.y[at:], x.u[at:], rows, h, sigma[:])
				m -= step
			}
			modalEnd(min(modalPositions, n-t), width, dst[t*ldd+c:], ldd, x.y[:])
		}
	}
}

// dplrCells bounds what is done without a point at which the scheduler can stop it: so
// many elements of rows are read, in well below 100 µs.
const dplrCells = 1 << 18
