package main

import (
	"math"
	"strconv"

	"gonum.org/v1/plot"
)

// powerTicks marks the powers of a base on a logarithmic axis.
type powerTicks struct{ base float64 }

// Ticks returns the powers between min and max, all of them with labels.
func (t powerTicks) Ticks(min, max float64) []plot.Tick {
	var ticks []plot.Tick
	for e := math.Ceil(math.Log(min)/math.Log(t.base) - 1e-9); ; e++ {
		v := math.Pow(t.base, e)
		if v > max*(1+1e-9) {
			return ticks
		}
		ticks = append(ticks, plot.Tick{Value: v, Label: label(v)})
	}
}

// label writes 4096 as 4k.
func label(v float64) string {
	if v >= 1024 && math.Mod(v, 1024) == 0 {
		return strconv.FormatFloat(v/1024, 'g', 4, 64) + "k"
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
