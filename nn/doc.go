// Package nn holds the layers that several mixers share: linear maps, norms, a short
// causal convolution, long convolutions and the networks that make their filters, the
// feed-forward networks between mixers, and embeddings.
//
// All but [Embedding] and [ImplicitFilter] are mixers themselves: they stream and they
// train. So they stand in a [seqmix.Stack] beside the mixers they serve, and mixtest checks
// them like any other. The taps of a [LongConv] are not parameters: what they are made from
// is trained by LongConv.Backward and, if that is a network, ImplicitFilter.Backward.
//
// A layer that is part of another mixer is mostly called by Apply and Backward.
// Apply is Mix for layers whose output may have another width than their input;
// Backward computes gradients from the input of Apply, without a tape.
//
//	l.Apply(hidden, src)                  // forward
//	l.Backward(dsrc, dhidden, src, grads) // gradients of src and of the parameters
//
// # Parameters
//
// Constructors return layers that are ready to be loaded: matrices and biases are
// zero, the weights of norms are one. Init draws what PyTorch's layer of the same
// name would begin with. The matrices of [Linear] and [Embedding] may be stored in
// any format and order of package tensor; norms and convolutions read their
// parameters element by element, so these stay float32.
//
// Optional parameters are nil where a layer does without.
package nn
