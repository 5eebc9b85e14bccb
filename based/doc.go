// Package based holds the mixers of Based (arXiv:2402.18668), a language model whose
// layers are linear attention, gated short convolutions and attention to a small window,
// and of Zoology (arXiv:2312.04927), where they are compared.
//
//   - [LinearAttention] has a state of fixed size in place of a growing cache of keys and
//     values. What a key weighs for a query is a product of features, those of [Taylor]
//     by default: they approximate the exponential of softmax attention. Others are a
//     [FeatureMap] away. [Attention] is the same without projections.
//   - [GatedConv] is the gated short convolution of Based's language models, [BaseConv]
//     that of Zoology.
//   - The sliding window is a MultiHead of package attention, with the layout Wqkv, RoPE,
//     and for Left half the "window_size" of Based's configurations.
//
// All of them stream, with any cut, and their streams give the same bits wherever they
// are cut, but for the long filters of [BaseConv], which agree to rounding.
//
// # How linear attention is computed
//
// Three forms compute the same sums. The quadratic one weighs all keys for each query; it
// needs no features for the polynomial of Taylor, and its cost for a position grows with
// the position. The recurrent one adds φ(k)·vᵀ to a state for each key and multiplies it
// by φ(q); its cost is constant, and large. The chunked one divides the sequence: keys of
// the same chunk are weighed, the others are in the state, to which a whole chunk is
// added by one matrix product.
//
// Streams use chunks of 64 positions, counted from the beginning of the sequence. A
// decoded token multiplies the state and weighs the keys of its chunk; the state is
// written once in 64 tokens. Whole sequences of up to 448 positions are one chunk, which
// is the quadratic form, because so many keys cost no more than the state.
//
// Of the f² products of two elements of a query or key, f(f+1)/2 are different and
// computed: with f = 16, there are 153 features and not 273. States have the smaller
// size as well; [Taylor.Expand] makes the larger one of the reference.
//
// # Training
//
// All mixers are trainable, with any feature map that is a [DifferentiableMap]. Linear
// attention keeps queries, keys, values and results, and one number for each query and
// head. The backward pass weighs the keys of a chunk once more; what lies between chunks
// goes through two sums of the size of the state, of keys from the first chunk to the
// last and of queries from the last to the first. Neither the features of a sequence nor
// its states are kept. Gradients do not depend on the number of cores.
package based
