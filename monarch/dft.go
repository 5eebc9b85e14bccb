package monarch

import (
	"fmt"
	"math"

	"github.com/seqmix/seqmix/tensor"
)

// DFT returns the discrete Fourier transform of n = d[0]·d[1]·…·d[p-1] elements
//
//	X[f] = Σ_t e^(-2πi·f·t/n) · x[t]
//
// as a complex Monarch matrix of order p, that is, as a fast Fourier transform of mixed
// radix, decimated in time. With two factors d[0] = I and d[1] = J,
//
//	x'[j·I + i]  = x[i·J + j]
//	W1[j][l][i] = e^(-2πi·l·i/I)
//	W2[l][s][j] = e^(-2πi·(s·j/J + l·j/n))
//
// where x' is what the matrix with these factors, see [NewComplex], is multiplied by:
// the transform is a Monarch matrix only together with this permutation. It is an
// error if a factor is below 1 or n too large.
//
// This is for composing transforms with other matrices. A convolution is computed many
// times as fast by an FFT made for it.
func DFT(d ...int) (*Matrix, error) { return fourier(-1, 1, d) }

// InverseDFT returns the inverse of [DFT]: its conjugate, divided by n.
func InverseDFT(d ...int) (*Matrix, error) {
	n := 1
	for _, f := range d {
		if f < 1 || n > maxSize/f {
			break // an error, below
		}
		n *= f
	}
	return fourier(1, 1/float64(n), d)
}

// fourier returns a transform with e^(sign·2πi·…), scaled.
func fourier(sign, scale float64, d []int) (*Matrix, error) {
	n := 1
	for _, f := range d {
		if f < 1 || n > maxSize/f {
			return nil, fmt.Errorf("monarch: a Fourier transform of the factors %v", d)
		}
		n *= f
	}
	if len(d) == 0 {
		return nil, fmt.Errorf("monarch: a Fourier transform without factors")
	}
	return newComplex(n, n, fourierStages(sign, scale, d)...), nil
}

// fourierStages returns the stages of a transform. After stage t the transforms of
// all n/size subsequences of elements n/size apart are known, one after the other, where
// size is the product of the first factors.
func fourierStages(sign, scale float64, d []int) []complexStage {
	n := 1
	for _, f := range d {
		n *= f
	}
	stages := make([]complexStage, len(d))
	size := 1
	for t, f := range d {
		stages[t] = fourierStage(sign, n, size, f)
		size *= f
	}
	for i := range stages[0].weights {
		stages[0].weights[i] *= complex(scale, 0)
	}
	return stages
}

// fourierStage joins f transforms of size elements each into one. Block g·size+l makes
// the frequencies l, l+size, … of subsequence g.
func fourierStage(sign float64, n, size, f int) complexStage {
	groups := n / (size * f)
	w := make([]complex128, groups*size*f*f)
	for i := range w {
		j, s, l := i%f, i/f%f, i/(f*f)%size
		w[i] = root(sign * (float64(s*j%f)/float64(f) + float64(l*j)/float64(size*f)))
	}
	from := func(b, j int) int { return (b/size+groups*j)*size + b%size }
	to := func(b, s int) int { return b/size*size*f + s*size + b%size }
	return newComplexStage(w, groups*size, f, f, from, to)
}

// root returns e^(2πi·turn).
func root(turn float64) complex128 {
	sin, cos := math.Sincos(2 * math.Pi * turn)
	return complex(cos, sin)
}

// DFTFactors returns the factors W1, of shape (j, i, i, 2), and W2, of shape (i, j, j, 2),
// of the transform of i·j elements as [DFT] defines them. It panics if i or j is below 1.
func DFTFactors(i, j int) (w1, w2 *tensor.Tensor) {
	w1 = tensor.FromFloat32s(pairs(fourierStage(-1, i*j, 1, i).weights), j, i, i, 2)
	w2 = tensor.FromFloat32s(pairs(fourierStage(-1, i*j, i, j).weights), i, j, j, 2)
	return w1, w2
}
