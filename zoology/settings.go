package zoology

// recall returns a setting of [MQAR] with zeros between queries, for each of the numbers
// of pairs in turn: models of width 64 and batches of 64, for one computer and minutes.
func recall(name string, vocabulary, length, epochs, steps int, pairs ...int) Setting {
	s := Setting{
		Name: name, DModel: 64, Alternate: true, BatchSize: 64, Epochs: epochs,
		TestExamples: 1000, Rate: 3e-3, WeightDecay: 0.1, Dropout: 0.1, Stop: 0.99,
	}
	for _, d := range pairs {
		task := MQAR{VocabSize: vocabulary, SeqLen: length, Pairs: d, RandomNonQueries: new(false)}
		s.Train = append(s.Train, Segment{Task: task, Steps: steps / len(pairs)})
		s.Test = append(s.Test, task)
	}
	return s
}

// Smoke is the setting that takes seconds: 4 pairs in 64 positions, 512 tokens, 3 epochs of
// 313 steps. Attention and Based solve it, small windows and convolutions do not.
func Smoke() Setting { return recall("smoke", 512, 64, 3, 313, 4) }

// Ordering is the setting that puts mixers in their order: 4, 8 and 16 pairs in 64
// positions, 512 tokens, 8 epochs of 375 steps. Training on 16 pairs alone does not begin
// to learn in this time.
func Ordering() Setting { return recall("a3", 512, 64, 8, 375, 4, 8, 16) }

// Vocabulary is [Ordering] with 8192 tokens, 4 epochs of 750 steps.
func Vocabulary() Setting { return recall("a4", 8192, 64, 4, 750, 4, 8, 16) }

// Capacity is the setting that separates mixers by the size of their state: 4, 16 and 32
// pairs in 128 positions, 1024 tokens, 3 epochs of 750 steps.
func Capacity() Setting { return recall("a5", 1024, 128, 3, 750, 4, 16, 32) }

// BasedFigure2 is the setting of Figure 2 of Based (arXiv:2402.18668, configuration
// zoology/experiments/arxiv24_based_figure2): 100,000 sequences of 4 pairs in 64 positions
// and 20,000 each of up to 64 pairs in 256, 32 epochs; tests with up to 256 pairs in 1024
// positions. It takes many hours. The learning rate is one of 1e-3, 3.2e-3, 1e-2 and
// 3.2e-2, and the width 48, 64 or 128.
func BasedFigure2() Setting {
	s := Setting{
		Name: "based-figure-2", DModel: 64, BatchSize: 256, Epochs: 32,
		TestExamples: 1000, Rate: 3.2e-3, WeightDecay: 0.1, Dropout: 0.1, Stop: 0.99,
	}
	for _, g := range []struct{ length, pairs, examples int }{
		{64, 4, 100_000}, {128, 8, 20_000}, {256, 16, 20_000}, {256, 32, 20_000}, {256, 64, 20_000},
	} {
		s.Train = append(s.Train, Segment{MQAR{SeqLen: g.length, Pairs: g.pairs}, (g.examples + s.BatchSize - 1) / s.BatchSize})
	}
	for _, t := range [][2]int{{64, 4}, {64, 8}, {64, 16}, {128, 32}, {256, 64}, {512, 128}, {1024, 256}} {
		s.Test = append(s.Test, MQAR{SeqLen: t[0], Pairs: t[1]})
	}
	return s
}
