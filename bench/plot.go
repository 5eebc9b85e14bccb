package main

import (
	"image/color"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// colours are those of the contestants, seqmix first.
var colours = []color.Color{
	color.RGBA{0x1b, 0x6c, 0xa8, 0xff}, color.RGBA{0xd9, 0x82, 0x2b, 0xff}, color.RGBA{0x6b, 0x9e, 0x4a, 0xff},
	color.RGBA{0x9b, 0x59, 0x8f, 0xff}, color.RGBA{0x80, 0x80, 0x80, 0xff},
}

// family returns what bars of one colour have in common: a contestant, whatever format it
// holds weights in.
func family(who string) string {
	for _, k := range []string{" " + f32.String(), " " + f16.String(), " " + bf16.String(), " " + q8.String(), " " + q4.String(), " float32", " bfloat16"} {
		who = strings.TrimSuffix(who, k)
	}
	return who
}

// drawModels draws speeds in one way to use a model as bars: a group for each format, and a
// bar for each family, the best of it.
func drawModels(path, title string, results []result, of func(result) samples) error {
	var groups, families []string
	best, highest := map[[2]string]float64{}, 0.0
	for _, r := range results {
		group, f := r.Format, family(r.Who)
		if !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
		if !slices.Contains(families, f) {
			families = append(families, f)
		}
		best[[2]string{group, f}] = max(best[[2]string{group, f}], of(r).best())
		highest = max(highest, of(r).best())
	}
	p := plot.New()
	p.Title.Text = title
	p.Y.Label.Text = "tokens/s"
	p.Y.Min, p.Y.Max = 0, 1.3*highest // the rest is for the legend
	p.Legend.Top = true
	width := vg.Points(64) / vg.Length(len(families))
	for i, f := range families {
		var heights plotter.Values
		for _, g := range groups {
			heights = append(heights, best[[2]string{g, f}])
		}
		bars, err := plotter.NewBarChart(heights, width)
		if err != nil {
			return err
		}
		bars.Color = colours[i%len(colours)]
		bars.LineStyle.Width = 0
		bars.Offset = width * (vg.Length(i) - vg.Length(len(families)-1)/2)
		p.Add(bars)
		p.Legend.Add(f, bars)
	}
	p.Add(plotter.NewGrid())
	p.NominalX(groups...)
	p.X.Min, p.X.Max = -0.6, float64(len(groups))-0.4
	return p.Save(vg.Points(100+100*float64(len(groups))), 4*vg.Inch, path)
}

// drawKernels draws the shares of limits as bars that lie one below the other.
func drawKernels(path string, kernels []kernelResult) error {
	var names []string
	var shares plotter.Values
	for _, k := range slices.Backward(kernels) {
		if s := k.share(); s > 0 {
			names, shares = append(names, k.Name), append(shares, 100*s)
		}
	}
	if len(shares) == 0 {
		return nil
	}
	p := plot.New()
	p.Title.Text = "Kernels"
	p.X.Label.Text = "% of the limit of the machine"
	p.X.Min = 0
	bars, err := plotter.NewBarChart(shares, vg.Points(8))
	if err != nil {
		return err
	}
	bars.Horizontal = true
	bars.Color = colours[0]
	bars.LineStyle.Width = 0
	p.Add(plotter.NewGrid(), bars)
	p.NominalY(names...)
	return p.Save(8*vg.Inch, vg.Points(80+14*float64(len(names))), path)
}
