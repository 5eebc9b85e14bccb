// Package hyena holds the mixers of Hyena, HyenaDNA, StripedHyena and Evo: products of
// projections of the input with convolutions between them, whose filters are as long as
// the sequence.
//
//   - [Hyena] is the operator of Hyena (arXiv:2302.10866) and HyenaDNA (arXiv:2306.15794),
//     of any order, with implicit filters.
//   - [Striped] is the mixer of StripedHyena and Evo, whose filters are sums of a few
//     exponentials, and of StripedHyena 2 and Evo 2 (arXiv:2503.01868), which have short,
//     medium and long ones. [Cascade] is what lies between its projections, [Modal] its
//     long filters alone, and [Block] the layer around it.
//   - [Distilled] is a Hyena whose filters were approximated by sums of exponentials
//     ([FitModal]), as Laughing Hyena proposes (arXiv:2310.18780).
//
// What Hyena shares with other packages is in package nn: nn.LongConv, the convolution,
// whole and online, and nn.ImplicitFilter, the network that makes the taps.
//
// # Whole sequences and streams
//
//	mixer      whole sequence, n positions    stream, per position    state
//	Hyena      n·log n, Fourier transforms    log² n on average       grows by (N-1)·e numbers
//	Distilled  n·S, recurrence                S                       (N-1)·e·S complex numbers
//	Striped    n·S, recurrence                S                       d·S numbers
//
// each for every channel. The streams of the first are exact, and there is no such thing
// in the code that these models were published with: published Hyena models can only run
// over whole sequences. A recurrence gives the same bits wherever a sequence is cut; a
// convolution agrees to rounding.
//
// # Training
//
// Everything here trains. A tape keeps the input only, and the backward pass computes the rest
// again: memory is a few vectors for each position, whatever the number of states.
// BenchmarkGradient measures the time beside that of Mix. Gradients of filters are summed over
// the batch before they go through what makes the filters. z and t of an implicit filter and δ
// of its window are constants among the parameters, which training leaves alone: see
// [nn.ImplicitFilter].
//
// Sequences can be trained in segments ([seqmix.RecordSegment]). [Modal], [Striped],
// [Distilled] and blocks of these carry the states that they stream with, and a segment
// costs what its own positions cost. The state of a Hyena, whose convolutions are as long as
// the sequence, is its past: the inputs before a segment are recorded once more with it.
//
// # Published models differ
//
// They agree neither on the order of gates nor on that of filter channels
// ([GateOrder], [FilterLayout], [Split]), nor on the order of taps ([FilterKind]), nor on
// the window's shift, which no configuration tells ([Config].Shift).
package hyena
