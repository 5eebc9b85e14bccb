package zoology

// WindowCeiling returns the share of the queries of a task whose value is no more than
// left positions before them: what a mixer that sees so many positions before its own can
// answer at the most, but for guesses. There is nothing to train: it follows from where
// the generator puts queries, which are drawn for so many sequences. The query for key k,
// from 0, in slot g is 2·(D-k)+2g-1 positions after the value. The standard error is at
// most 1/(2·√sequences).
//
// The published accuracies of sliding windows in Figure 2 of Based (arXiv:2402.18668) are
// these ceilings, as far as they can be read off.
func (t MQAR) WindowCeiling(left, sequences int, src Source) (float64, error) {
	t = t.WithDefaults()
	if _, _, err := t.Shape(); err != nil {
		return 0, err
	}
	context := 2 * t.Pairs * t.Passes
	seen := 0
	for _, row := range slotRows(sequences, t.Pairs, (t.SeqLen-context)/2, t.PowerA, src) {
		for k, g := range row {
			value := context - 2*t.Pairs + 2*k + 1
			if context+2*g-value <= left {
				seen++
			}
		}
	}
	return float64(seen) / float64(sequences*t.Pairs), nil
}
