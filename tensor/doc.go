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
// blocks of int8 or four-bit codes; arithmetic is in float32 always.
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
package tensor
