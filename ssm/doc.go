// Package ssm holds mixers that are state space models: what a position leaves behind
// for later ones is a state of fixed size, however long the sequence is.
//
// # Selective mixers
//
//   - [Mamba] is the mixer of Mamba (arXiv:2312.00752) with its variants: the inner norms
//     of FalconMamba and Jamba, pruned networks of any size. [SelectiveScan] is the
//     recurrence in its middle on its own, with all options of the reference, for mixers
//     that have other projections.
//   - [Mamba2] is that of Mamba-2 (arXiv:2405.21060), whose states are matrices that decay
//     as a whole; [StateSpaceDual] is what it does between its projections.
//   - [Mamba3] is that of Mamba-3 (arXiv:2603.15569): states that turn, a trapezoidal rule
//     and, if wanted, several inputs and outputs of a state; [TrapezoidalScan] is what it
//     does between its projections.
//
// Their steps, inputs and outputs depend on the input, so that they choose what to
// remember. They take padded and packed sequences (MixPadded, MixPacked), and their
// streams can begin and end with any state (State, SetState).
//
// # Linear time-invariant mixers
//
// Here a position is treated like any other, so that the mixer is a convolution with a
// long filter as well as a recurrence with a small state:
//
//   - [S4D] has a diagonal state matrix, complex or real, with all discretisations and
//     initialisations of state-spaces/s4.
//   - [S4] has one that is diagonal plus low rank, which is what the HiPPO matrices are
//     ([NewHiPPO]).
//   - [Modal] is given by poles and residues, which the others can be turned into.
//   - [S4Block] puts an activation and a gated projection behind one of the first two, as
//     the networks of S4 do; [GatedS4] puts that in the middle of a Mamba.
//   - [H3] multiplies an S4D's input and output by its own (arXiv:2212.14052): a linear
//     attention with a [Shift] in front of its keys.
//
// Mix computes them by the recurrence or, where that takes clearly less time, by Fourier
// transforms; the two agree to rounding. Streams are always recurrences. Their results
// do not depend on how a sequence is cut, to the bit.
//
// # Training
//
// All mixers are Trainers. They keep a few vectors for each position; states are computed
// again on the way back, from one for every 32 or 64 positions, so that memory does not
// grow with the number of states of a position. [SelectiveScanGrad], [StateSpaceDualGrad]
// and [TrapezoidalScanGrad] are the gradients of the operations on their own, into the
// states before and from those behind: a long sequence can be taken back piece by piece.
// StateBackward does the same for [S4D], [S4] and [Shift]. Whole mixers are trained in
// segments by [seqmix.RecordSegment]. What [Mamba], [Mamba2] and [Mamba3] hand on then is
// the state that their streams return, so that a segment costs the same wherever it is.
//
// # Numbers
//
// States are float32. What is derived from the parameters of a linear time-invariant
// system, poles above all, is computed in float64, and it is their distance from one that
// is rounded: a pole that remembers ten thousand positions is that close to one, and the
// next float32 below one has forgotten much of it.
//
// Tables derived from parameters are remembered for as long as these have the same
// values. Parameters may be changed in place, by loading and training; streams see it
// when they are reset.
package ssm
