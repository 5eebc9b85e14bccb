// Package monarch holds Monarch matrices (arXiv:2204.00595) and the mixers that are built
// of them: Monarch Mixer as M2-BERT has it (arXiv:2310.12109), its feed-forward network, and
// causal matrices that are learned.
//
// # Matrices
//
// A [Matrix] is a product of block-diagonal matrices with permutations between them. With
// blocks of √n×√n it has 2n·√n numbers where a dense one has n², and takes as many
// multiply-adds.
//
//   - [New] makes one of order two from two factors of any shape, [NewOrder] one of any order,
//     [NewComplex] a complex one, and [NewSwapped] the one that the Monarch Mixer paper lists.
//     [FromButterfly] converts factors of another layout.
//   - [DFT] and [InverseDFT] are the Fourier transforms.
//   - [Matrix.Transpose], [Matrix.Adjoint], [Matrix.Conj], [Matrix.Inverse], [Product] and
//     [Matrix.Dense] are the algebra.
//   - [Project] and [ProjectComplex] find the Monarch matrix that is nearest to a dense one.
//
// [Matrix.Apply] multiplies rows, so that it mixes features; [Matrix.ApplyColumns] multiplies
// columns, so that it mixes positions. Both are a matrix product for each block, and the
// permutations are the distances between the rows that these read and write: nothing is
// shuffled. With a dense matrix A, of the other matrix's shape, ApplyColumns makes M·A and
// Apply makes A·Mᵀ.
//
// On one core of an AMD EPYC (Zen 4), 512 vectors times a 4096×4096 matrix with blocks of 64×64
// take 6.6 ms, at 69 % of what the multiply-add units can do and 26 times as fast as the dense
// product; one vector takes 0.2 ms (go test -bench Matrix ./monarch).
//
// # Layers
//
// [Linear] is a linear layer with a Monarch matrix and [BlockDiag] one with a block-diagonal
// matrix, which M2-BERT uses. [Linear.Project] makes a Monarch layer of a dense one. [MLP]
// is the feed-forward network of M2-BERT: block-diagonal matrices, a gate, a residual
// connection and a norm. All have the parameter names of HazyResearch/fly and
// HazyResearch/m2.
//
// # Mixers of sequences
//
//   - [Mixer] is the one of M2-BERT, bidirectional or causal. Its long convolutions and
//     implicit filters are those of package nn. A layer of M2-BERT is a Mixer and then an MLP,
//     with nothing around the first: the convolution of the input is its residual connection.
//   - [CausalMixer] multiplies by a lower triangular matrix made of Monarch factors. It streams
//     to the bit.
//   - [PolynomialMixer] is a causal Monarch convolution in learned bases of polynomials.
//   - [Convolution] is the operation behind that, M0⁻¹(M1·k ⊙ M2·u), also with Fourier
//     transforms, with Chebyshev polynomials and in several variables.
//   - [Layer] is the layer that the Monarch Mixer paper lists, with learned matrices for positions
//     and channels.
//
// CausalMixer and PolynomialMixer are this library's own: the paper says that such matrices
// exist. Of all of these only Mixer is in public checkpoints.
//
// # Training
//
// All layers and mixers train, and so does a [Matrix] by itself, if it was made of the tensors
// that are to be trained. Tapes keep the input only; the backward pass computes the rest again.
//
// # Numbers
//
// Products are float32, one chain of multiply-adds for each element and factor. What is
// derived from parameters, such as inverses, projections and the roots of unity, is computed
// in float64 and then rounded.
package monarch
