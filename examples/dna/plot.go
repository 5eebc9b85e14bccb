package main

import (
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

const (
	mostCurves = 8   // sequences that are drawn
	mostPoints = 400 // of each
)

// draw draws the loss along the sequences, the first ones if there are many, as PNG.
func draw(path string, records []*record) error {
	p := plot.New()
	p.Title.Text = "loss along the sequence"
	p.X.Label.Text, p.Y.Label.Text = "position (bases)", "nats per base"
	p.Y.Min, p.Y.Max = 0, 1.5
	p.Add(plotter.NewGrid())
	longest := 1.0
	for i, r := range records[:min(len(records), mostCurves)] {
		line, err := plotter.NewLine(points(r))
		if err != nil {
			return err
		}
		line.Color, line.Width = plotutil.Color(i), vg.Points(1)
		p.Add(line)
		p.Legend.Add(shortened(r.Name), line)
		longest = max(longest, float64(r.Bases))
	}
	chance, err := plotter.NewLine(plotter.XYs{{X: 0, Y: math.Log(4)}, {X: longest, Y: math.Log(4)}})
	if err != nil {
		return err
	}
	chance.Color, chance.Dashes = color.Gray{Y: 100}, []vg.Length{vg.Points(4), vg.Points(3)}
	p.Add(chance)
	p.Legend.Add("chance, ln 4", chance)
	return p.Save(11*vg.Inch, 5*vg.Inch, path)
}

// points returns means over pieces of a sequence. A piece that was not judged is left out.
func points(r *record) plotter.XYs {
	t := r.trace.coarse(mostPoints)
	xy := plotter.XYs{}
	for i, b := range t.bins {
		if b.count > 0 {
			xy = append(xy, plotter.XY{X: (float64(i) + 0.5) * float64(t.step), Y: b.sum / float64(b.count)})
		}
	}
	if len(xy) == 0 {
		xy = plotter.XYs{{X: 0, Y: math.Log(4)}} // a curve needs a point
	}
	return xy
}

// shortened returns a name that fits a legend.
func shortened(name string) string {
	if r := []rune(name); len(r) > 32 {
		return string(r[:31]) + "…"
	}
	return name
}
