package zoology

import (
	"context"
	"slices"
)

// A Sweep is all combinations of contenders, widths, learning rates and seeds in one
// setting. Empty lists of the latter three stand for the values of the setting, and for
// the seed 1.
type Sweep struct {
	Setting    Setting
	Contenders []Contender
	Widths     []int
	Rates      []float64
	Seeds      []uint64
}

// Trials returns the trials: those of one contender and width side by side.
func (s Sweep) Trials() []Trial {
	widths, rates, seeds := s.Widths, s.Rates, s.Seeds
	if len(widths) == 0 {
		widths = []int{s.Setting.DModel}
	}
	if len(rates) == 0 {
		rates = []float64{s.Setting.Rate}
	}
	if len(seeds) == 0 {
		seeds = []uint64{1}
	}
	var list []Trial
	for _, c := range s.Contenders {
		for _, w := range widths {
			for _, lr := range rates {
				for _, seed := range seeds {
					t := Trial{Setting: s.Setting, Contender: c, Seed: seed}
					t.Setting.DModel, t.Setting.Rate = w, lr
					list = append(list, t)
				}
			}
		}
	}
	return list
}

// Run runs all trials, one after the other. If it ends with an error, the results so far
// are returned with it.
func (s Sweep) Run(ctx context.Context, report func(Trial, Progress) error) ([]Result, error) {
	var results []Result
	for _, t := range s.Trials() {
		var each func(Progress) error
		if report != nil {
			each = func(p Progress) error { return report(t, p) }
		}
		r, err := t.Run(ctx, each)
		if err != nil {
			return results, err
		}
		results = append(results, r)
	}
	return results, nil
}

// Best returns, of the results of each contender and width, the one of the highest mean
// accuracy, in the order in which they first occur: as papers report sweeps of learning
// rates.
func Best(results []Result) []Result {
	var best []Result
	for _, r := range results {
		i := slices.IndexFunc(best, func(b Result) bool {
			return b.Setting == r.Setting && b.Contender == r.Contender && b.DModel == r.DModel
		})
		switch {
		case i < 0:
			best = append(best, r)
		case r.Accuracy() > best[i].Accuracy():
			best[i] = r
		}
	}
	return best
}
