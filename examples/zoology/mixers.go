package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/seqmix/seqmix/zoology"
)

var settings = map[string]func() zoology.Setting{
	"smoke":          zoology.Smoke,
	"a3":             zoology.Ordering,
	"a4":             zoology.Vocabulary,
	"a5":             zoology.Capacity,
	"based-figure-2": zoology.BasedFigure2,
}

func settingNames() []string { return slices.Sorted(maps.Keys(settings)) }

const mixerUsage = "attention, sliding-KEYS, based-FEATURES, elu-FEATURES, mamba-STATES, mamba2-STATES, hyena, baseconv"

// Mixers by name, without and with a number.
var (
	plain = map[string]func() zoology.Contender{
		"attention": zoology.Attention,
		"baseconv":  zoology.BaseConv,
		"hyena":     zoology.Hyena,
	}
	sized = map[string]func(int) zoology.Contender{
		"sliding": zoology.Sliding,
		"based":   zoology.Based,
		"elu":     zoology.ELU,
		"mamba":   zoology.Mamba,
		"mamba2":  zoology.Mamba2,
	}
)

// contenders returns the mixers of a comma-separated list.
func contenders(names string) ([]zoology.Contender, error) {
	var list []zoology.Contender
	for name := range strings.SplitSeq(names, ",") {
		name = strings.TrimSpace(name)
		kind, size, _ := strings.Cut(name, "-")
		if f := plain[name]; f != nil {
			list = append(list, f())
			continue
		}
		n, err := strconv.Atoi(size)
		if sized[kind] == nil || err != nil || n < 1 {
			return nil, fmt.Errorf("%q: want %s", name, mixerUsage)
		}
		list = append(list, sized[kind](n))
	}
	return list, nil
}
