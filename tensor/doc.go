// Package tensor holds what mixers are written with: sequences of vectors ([Seq]),
// matrices ([Mat]), parameters ([Tensor]), temporary memory ([Scratch]) and the
// kernels that work on them.
//
// # Activations and parameters
//
// Activations are float32 in memory that the caller owns; a Seq or a Mat describes
// it and is passed by value, like a slice. Parameters are Tensors, passed by
// pointer, because a parameter has an identity: gradients are keyed by it, and tied
// weights are one Tensor in two places. A Tensor may be stored in bfloat16 or in
// blocks of int8 or four-bit codes; arithmetic is in float32, but for products with
// the latter two.
//
// # Aliasing
//
// Unless a function says otherwise, dst may be exactly one of its inputs, and must
// not overlap them otherwise. The destination of a matrix product must not overlap
// an input at all.
//
// # Determinism
//
// Every output of a matrix product is one chain of fused multiply-adds along the
// inner dimension, in blocks of a fixed size. So the bits do not depend on the
// number of rows, on the number of cores, nor on whether AVX2, AVX-512 or NEON is
// in use: reading a prompt and decoding token by token agree. The portable kernels
// ([CPU] "generic") round the product before adding and agree to rounding.
//
// # Memory of weights
//
// A token is decoded in the time in which the weights come from memory. [Tensor.Compact]
// therefore stores the exponents of float32 and bfloat16 weights in four bits, which loses
// nothing: of the numbers
//
//	sign, exponent (8 bits), fraction (23 or 7 bits)
//
// the sign and the upper seven bits of the exponent become a code of four bits, a sign and one
// of the values 0 and t-6 … t, where t is chosen for every 32 rows and 1024 or 512 columns.
// That is a range of 2^14. Groups of 4 by 32 numbers of which one is outside of it are stored
// as they are: of normally distributed weights some four in a hundred, so that a float32
// takes 28.2 bits and a bfloat16 12.2.
//
// On Linux, tensors of a megabyte and more ask for pages of 2 MB, so that a processor that
// reads gigabytes looks up fewer addresses.
//
// # Products with integers
//
// Weights of the formats Int8 and Int4 are integers of 8 bits times a scale for each
// block of 32 along the inner dimension. Their products ([MatMulT], [Linear]) are
// computed with integers. In every block the row that is multiplied is rounded to
// multiples of a power of two, chosen so that the largest magnitude becomes a number of
// 22 bits, or, if all are below 2^-105, of 2^-126: an element is off by at most 2^-22 of
// that magnitude, where int8 leaves a weight off by up to 2^-8 of the largest. The sum of
// products
//
//	s = Σ_p x_p · q_p    x_p the multiples, q_p the integers of the weights
//
// is exact. It is split into two, of the multiples of 2^15 and of what is left of x_p,
// which lies in [-2^14, 2^14); these are rounded to float32 and added in float32. This,
// times the power of two, times the scale of the weights, is added to the sum of the
// blocks before in one fused multiply-add. As exact sums have no order, the bits do not
// depend on rows, cores and instructions here either. A block with an infinity or NaN
// makes its products NaN.
package tensor
