// Package zoology compares sequence mixers by what they can recall, as Zoology
// (arXiv:2312.04927) and Based (arXiv:2402.18668) do: small models learn synthetic tasks,
// above all to find the values of keys that came before.
//
//	t := zoology.Trial{Setting: zoology.Smoke(), Contender: zoology.Based(16), Seed: 1}
//	result, err := t.Run(ctx, nil)
//	fmt.Println(result.StateBytes, result.Accuracy())
//
// What it shows: attention, whose state grows with the sequence, recalls everything; mixers
// with a state of fixed size recall the more the larger it is, and use it well or badly;
// windows recall what is in them, which needs no training to be known
// ([MQAR.WindowCeiling]).
//
// # Tasks
//
// [MQAR] is multi-query associative recall; [CompositionalMQAR], [ForgettingMQAR] and
// [ContinuousMQAR] are relatives of it. [Parity], [Majority], [CumulativeParity],
// [CumulativeMajority] and [VocabMajority] are about counting. Each is the generator of
// HazyResearch/zoology: drawing from NumPy's and PyTorch's random numbers it makes the same
// sequences, to the token, and from a [Rand] it makes as many others as are wanted.
//
// # Experiments
//
// [NewModel] makes the model around the mixers. A [Setting] says what is learnt and how, a
// [Contender] which mixer does, a [Trial] is one run of both and a [Sweep] many. The
// mixers of this library are ready as contenders, and any other is one with a function
// that makes it. [StateBytes] counts states as the papers do.
//
// Data is fresh in every step: models that see a few thousand sequences again and again
// learn these by heart, and nothing about recall.
package zoology
