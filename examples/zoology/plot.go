package main

import (
	"fmt"
	"image/color"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/seqmix/seqmix/zoology"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// windowCurve returns what windows of attention can recall in the hardest test, without
// guesses, against the size of their state: nothing is trained for it.
func windowCurve(s zoology.Setting, results []zoology.Result) (plotter.XYs, error) {
	hardest := s.Test[len(s.Test)-1].WithDefaults()
	s.DModel = results[0].DModel
	var curve plotter.XYs
	for left := 1; left <= hardest.SeqLen; left = max(left+1, left*9/8) {
		share, err := hardest.WindowCeiling(left, 2000, zoology.Rand(rand.New(rand.NewPCG(1, 2))))
		if err != nil {
			return nil, err
		}
		m, err := zoology.Trial{Setting: s, Contender: zoology.Sliding(left), Seed: 1}.NewModel()
		if err != nil {
			return nil, err
		}
		size, err := zoology.StateBytes(m, hardest.SeqLen)
		if err != nil {
			return nil, err
		}
		curve = append(curve, plotter.XY{X: float64(size), Y: share})
	}
	return curve, nil
}

// draw plots the accuracies of the hardest test against the sizes of states. Mixers of one
// kind are connected.
func draw(path string, s zoology.Setting, results []zoology.Result, windows plotter.XYs) error {
	p := plot.New()
	hardest := results[0].Hardest()
	p.Title.Text = fmt.Sprintf("Recall of %d pairs in %d positions, setting %s", hardest.Pairs, hardest.SeqLen, s.Name)
	p.X.Label.Text, p.Y.Label.Text = "bytes of state", "accuracy"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.TickerFunc(doublings)
	p.Y.Min, p.Y.Max = 0, 1.05
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	ceiling, err := plotter.NewLine(windows)
	if err != nil {
		return err
	}
	ceiling.Color, ceiling.Dashes = color.Gray{128}, plotutil.Dashes(1)
	p.Add(ceiling)
	p.Legend.Add("windows, computed", ceiling)
	for i, k := range kinds(bySize(results)) {
		line, points, err := plotter.NewLinePoints(k.points)
		if err != nil {
			return err
		}
		line.Color, points.Color, points.Shape = plotutil.Color(i), plotutil.Color(i), plotutil.Shape(i)
		labels, err := plotter.NewLabels(plotter.XYLabels{XYs: k.points, Labels: k.labels})
		if err != nil {
			return err
		}
		labels.Offset.X, labels.Offset.Y = vg.Points(4), vg.Points(-10)
		p.Add(line, points, labels)
		p.Legend.Add(k.name, line, points)
	}
	p.X.Min, p.X.Max = p.X.Min/1.3, p.X.Max*1.3
	return p.Save(9*vg.Inch, 6*vg.Inch, path)
}

// doublings marks powers of two.
func doublings(least, most float64) []plot.Tick {
	var ticks []plot.Tick
	for v := math.Exp2(math.Ceil(math.Log2(least))); v <= most; v *= 2 {
		ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'f', -1, 64)})
	}
	return ticks
}

// A kind is the results of mixers that differ in a number only.
type kind struct {
	name   string
	points plotter.XYs
	labels []string
}

func kinds(results []zoology.Result) []*kind {
	var list []*kind
	byName := map[string]*kind{}
	for _, r := range results {
		if r.StateBytes == 0 {
			continue // not known: there is no place for it
		}
		name, _, _ := strings.Cut(r.Contender, "-")
		k := byName[name]
		if k == nil {
			k = &kind{name: name}
			byName[name] = k
			list = append(list, k)
		}
		k.points = append(k.points, plotter.XY{X: float64(r.StateBytes), Y: r.Hardest().Accuracy})
		k.labels = append(k.labels, r.Contender)
	}
	return list
}
