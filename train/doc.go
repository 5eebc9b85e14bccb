// Package train trains language models made of mixers.
//
// A [Run] takes steps of [AdamW] with the gradients of batches of tokens:
//
//	run, err := train.NewRun(model, train.Config{
//		Steps: 1000,
//		Batch: func(step int) ([]train.Batch, error) { … },
//		Rate:  train.WarmupCosine(0, 3e-3, 3e-4, 50, 1000),
//		Clip:  1,
//		AdamW: train.AdamWConfig{Beta2: 0.95, WeightDecay: 0.1, NoDecay: train.DecayMatrices},
//	})
//	if err != nil {
//		return err
//	}
//	err = run.Run(ctx, func(s train.Step) error {
//		fmt.Println(s.Step, s.Score.Mean())
//		return nil
//	})
//
// [Run.Save] and [Run.Load] interrupt a run and go on, to the same bits. For other loops,
// the parts are there on their own: [Gradient], [CrossEntropy], [AdamW], [Clip] and the
// schedules.
//
// Sequences that are too long for the memory are divided into [Segments], between which the
// state of the model is carried: with gradients that go back to the beginning, or that are
// truncated.
//
// Results depend on the number of shards of a batch, and not on that of cores.
package train
