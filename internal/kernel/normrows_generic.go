package kernel

import "math"

// The portable norms add up in float64 and round what they multiply by.

// normStatistics returns the mean of a row, if it is to be centred, and the root.
func normStatistics(x []float32, centred bool, inside float32) (mean float32, root float64) {
	n := float64(len(x))
	if centred {
		sum := 0.0
		for _, v := range x {
			sum += float64(v)
		}
		mean = float32(sum / n)
	}
	squares := 0.0
	for _, v := range x {
		d := float64(v - mean)
		squares += d * d
	}
	return mean, math.Sqrt(squares/n + float64(inside))
}

func layerNormRowsGeneric(dst, x, weight, bias []float32, eps float32) {
	for n := len(weight); len(x) > 0; dst, x = dst[n:], x[n:] {
		mean, root := normStatistics(x[:n], true, eps)
		scale := float32(1 / root)
		for i, v := range x[:n] {
			dst[i] = (v-mean)*scale*weight[i] + bias[i]
		}
	}
}

func rmsNormRowsGeneric(dst, x, weight []float32, inside, outside float32) {
	for n := len(weight); len(x) > 0; dst, x = dst[n:], x[n:] {
		_, root := normStatistics(x[:n], false, inside)
		scale := float32(1 / (root + float64(outside)))
		for i, v := range x[:n] {
			dst[i] = v * scale * weight[i]
		}
	}
}

func layerNormGradRowsGeneric(dx, dy, x, weight, dweight, dbias []float32, eps float32) {
	for n := len(weight); len(x) > 0; dx, dy, x = dx[n:], dy[n:], x[n:] {
		for i, v := range dy[:n] {
			dbias[i] += v
		}
		normGradRowGeneric(dx[:n], dy[:n], x[:n], weight, dweight, true, eps, 0)
	}
}

func rmsNormGradRowsGeneric(dx, dy, x, weight, dweight []float32, inside, outside float32) {
	for n := len(weight); len(x) > 0; dx, dy, x = dx[n:], dy[n:], x[n:] {
		normGradRowGeneric(dx[:n], dy[:n], x[:n], weight, dweight, false, inside, outside)
	}
}

func normGradRowGeneric(dx, dy, x, weight, dweight []float32, centred bool, inside, outside float32) {
	mean, root := normStatistics(x, centred, inside)
	scale := float32(1 / (root + float64(outside)))
	sum, along := 0.0, 0.0
	for i, w := range weight {
		g := float64(w) * float64(dy[i])
		sum += g
		along += g * float64(x[i]-mean)
	}
	n := float64(len(x))
	if !centred {
		sum = 0
	}
	shift := scale * float32(sum/n)
	// If the row is 0, so is the sum along it, whatever it is divided by.
	slope := float32(along / max(root, math.SmallestNonzeroFloat32) * float64(scale) * float64(scale) / n)
	for i, v := range dy {
		d := x[i] - mean
		dx[i] = scale*(weight[i]*v) - shift - d*slope
		dweight[i] += v * (d * scale)
	}
}
