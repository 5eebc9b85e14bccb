package main

import (
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// drawCurves draws the curves, a panel for each quantity, with logarithmic axes, as PNG.
func drawCurves(path string, curves []curve) (err error) {
	panels := make([]*plot.Plot, 0, len(quantities))
	for _, q := range quantities {
		p, err := panel(q, curves)
		if err != nil {
			return err
		}
		panels = append(panels, p)
	}
	const width, height = 13 * vg.Inch, 9 * vg.Inch
	img := vgimg.New(width, height)
	tiles := draw.Tiles{Rows: 2, Cols: 2, PadX: 5 * vg.Millimeter, PadTop: 3 * vg.Millimeter,
		PadBottom: 3 * vg.Millimeter, PadLeft: 3 * vg.Millimeter, PadRight: 3 * vg.Millimeter}
	canvases := plot.Align([][]*plot.Plot{panels[:2], panels[2:]}, tiles, draw.New(img))
	for i, p := range panels {
		p.Draw(canvases[i/2][i%2])
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	_, err = vgimg.PngCanvas{Canvas: img}.WriteTo(f)
	return err
}

func panel(q quantity, curves []curve) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = q.axis
	p.X.Label.Text = "length of the sequence"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = powerTicks{base: 4}, powerTicks{base: 10}
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	for i, c := range curves {
		var xy plotter.XYs
		for _, pt := range c.points {
			if v := q.of(pt); v > 0 {
				xy = append(xy, plotter.XY{X: float64(pt.length), Y: v})
			}
		}
		if len(xy) == 0 {
			continue
		}
		line, points, err := plotter.NewLinePoints(xy)
		if err != nil {
			return nil, err
		}
		line.Color, points.Color, points.Shape = plotutil.Color(i), plotutil.Color(i), plotutil.Shape(i)
		line.Width = vg.Points(1.5)
		p.Add(line, points)
		p.Legend.Add(c.name, line, points)
	}
	return p, nil
}
