package monarch

import (
	"fmt"

	"gonum.org/v1/gonum/mat"

	"github.com/seqmix/seqmix/tensor"
)

// NewMultivariateConvolution returns the convolution of n = h[0]·h[1]·…·h[p-1] positions by
// Monarch matrices of order p. The digits of a position are the exponents of p variables: for
// the basis with the matrices Φ[0], …, Φ[p-1], polynomial j is
//
//	q_j(X) = Π_a Σ_{d≥j[a]} Φ[a][j[a]][d]·X[a]^d
//
// where j[a] is digit a of j, the last of which changes fastest, and Φ[a] has shape (h[a],
// h[a]). What is below the diagonals of Φ is not used. nil stands for powers. The points
// are roots of unity in each variable, 2·h[a]-1 of them.
//
// f[i] depends on k[j] and u[j] only if no digit of j is above that of i, and so only on
// earlier positions, but not on all of them. With powers it is the causal convolution
// in p dimensions, of images for instance,
//
//	f[i] = Σ_j k[i-j]·u[j]    i[a] ≥ j[a] for every digit a
//
// It is an error if a matrix does not fit, or that of output has no inverse: see
// [ErrSingular].
func NewMultivariateConvolution(h []int, output, kernel, input []*tensor.Tensor) (*Convolution, error) {
	n := 1
	for _, d := range h {
		if d < 1 || d > 1<<10 || n > maxSize/(2*d) {
			return nil, fmt.Errorf("monarch: a convolution of %v positions", h)
		}
		n *= 2*d - 1
	}
	if len(h) == 0 {
		return nil, fmt.Errorf("monarch: a convolution without digits")
	}
	for _, basis := range [][]*tensor.Tensor{output, kernel, input} {
		if err := checkMultivariate(h, basis); err != nil {
			return nil, err
		}
	}
	chain := func(factors [][]complex128, in, out []int) []complexStage {
		stages := make([]complexStage, len(h))
		for i := range h {
			stages[len(h)-1-i] = kroneckerStage(factors[i], in, out, i)
		}
		return stages
	}
	points := make([]int, len(h))
	var values [2][][]complex128
	var inverse [][]complex128
	for a, d := range h {
		points[a] = 2*d - 1
		for i, basis := range [][]*tensor.Tensor{kernel, input} {
			values[i] = append(values[i], evaluateDigit(digitBasis(basis, a, d), d))
		}
		w, err := interpolateDigit(digitBasis(output, a, d), d)
		if err != nil {
			return nil, err
		}
		inverse = append(inverse, w)
	}
	return newComplexConvolution(elements(h), n, chain(inverse, points, h), chain(values[0], h, points), chain(values[1], h, points)), nil
}

func checkMultivariate(h []int, basis []*tensor.Tensor) error {
	if basis == nil {
		return nil
	}
	if len(basis) != len(h) {
		return fmt.Errorf("monarch: a basis of %d matrices for %d digits", len(basis), len(h))
	}
	for a, w := range basis {
		if len(w.Shape()) != 2 || w.Dim(0) != h[a] || w.Dim(1) != h[a] {
			return fmt.Errorf("monarch: a basis %v for digit %d of %v", w, a, h)
		}
	}
	return nil
}

// digitBasis returns Φ[a], with zeros below the diagonal.
func digitBasis(basis []*tensor.Tensor, a, h int) []float64 {
	phi := make([]float64, h*h)
	for j := range h {
		phi[j*h+j] = 1
		if basis != nil {
			for d, v := range basis[a].Float32s()[j*h : (j+1)*h] {
				if d >= j {
					phi[j*h+d] = float64(v)
				}
			}
		}
	}
	return phi
}

// evaluateDigit returns the values of the h polynomials of a digit at its 2h-1 points.
func evaluateDigit(phi []float64, h int) []complex128 {
	points := 2*h - 1
	w := make([]complex128, points*h)
	for i := range points {
		for j := range h {
			for d := j; d < h; d++ {
				w[i*h+j] += complex(phi[j*h+d], 0) * root(-float64(i*d%points)/float64(points))
			}
		}
	}
	return w
}

// interpolateDigit returns what makes the coefficients of the h polynomials of a digit from
// values at its 2h-1 points: powers by a Fourier transform, then polynomials by solving for
// the lowest first, which the higher powers have no part in.
func interpolateDigit(phi []float64, h int) ([]complex128, error) {
	points := 2*h - 1
	var inverse mat.Dense
	if err := inverse.Inverse(mat.NewDense(h, h, phi).T()); err != nil {
		return nil, fmt.Errorf("%w: a basis of %d polynomials: %v", ErrSingular, h, err)
	}
	w := make([]complex128, h*points)
	for j := range h {
		for i := range points {
			for d := range j + 1 {
				w[j*points+i] += complex(inverse.At(j, d)/float64(points), 0) * root(float64(i*d%points)/float64(points))
			}
		}
	}
	return w, nil
}

// kroneckerStage returns the stage that replaces digit i by the same matrix for all other
// digits.
func kroneckerStage(w []complex128, in, out []int, i int) complexStage {
	blocks := elements(factorDims(in, out, i)) / (in[i] * out[i])
	all := make([]complex128, 0, blocks*len(w))
	for range blocks {
		all = append(all, w...)
	}
	place := digitPlaces(in, out, i)
	return newComplexStage(all, blocks, out[i], in[i], place(in[i]), place(out[i]))
}
