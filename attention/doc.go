// Package attention holds softmax attention: what the other mixers of this module are
// compared with, and what hybrids add to them.
//
// [MultiHead] is the layer of transformers, with as many heads of keys as of queries or
// fewer, rotary positions ([RoPE]) or ALiBi ([Slopes]), a window or none. It is a
// [seqmix.Mixer]; its stream holds the keys and values of the past. [DotProduct] is
// attention on its own, for those who have queries, keys and values already.
//
// # Windows
//
// A window is stated as the number of keys before its own that a position sees, called
// Left here. Elsewhere it is counted in several ways: a sliding_window of W keys with
// the position's own, as in Mistral, is Left = W-1; flash-attention's window (w, 0) is
// Left = w; the window_size of Based is twice Left.
//
// # How it is computed
//
// The softmax is computed as scores come (arXiv:1805.02867, arXiv:2205.14135), for
// tiles of queries and blocks of keys that stay in the cache. So no matrix of scores is
// ever held; memory grows with the length of sequences only. Keys and values lie in the
// order in which matrix products read them, from the moment they are known. Query heads
// that share a key head are computed together, so that decoding with grouped queries
// reads every key once.
//
// A row of the result depends on its query and on the keys that it sees, to the bit:
// not on how a sequence is cut, nor on the number of cores. To this end the keys are
// divided into segments of 1024 positions, from the first position on, whose results
// are merged in order, whoever has computed them.
//
// # Training
//
// [MultiHead.Record] and [DotProduct.Record] keep queries, keys, values and results, and
// of the softmax one number for each query and head. The backward pass computes the
// scores once more, tile by tile: it needs no more memory than the forward pass, but for
// the gradients themselves. It takes about two and a half times as long. Sums are
// divided by the shape alone, so that gradients do not depend on the number of cores.
package attention
