package monarch

import (
	"fmt"
	"slices"

	"github.com/seqmix/seqmix/tensor"
)

// NewOrder returns a matrix of any order, with a factor for each digit of the numbers of
// elements. The number of an element of the input is written with the digits d[0], …,
// d[p-1], the last of which changes fastest, and so is that of an element of the output. The
// last factor is applied first, and each factor replaces its own digit,
//
//	z[…e…] = Σ_d B[all other digits][e][d] · x[…d…]
//
// so that the digits after it are those of the output already, and those before it still
// those of the input. If digit i has n[i] values in the input and m[i] in the output, factor
// i has shape (n[0], …, n[i-1], m[i+1], …, m[p-1], m[i], n[i]).
//
// With two factors this is [New] with these in reverse order, with log₂ n square ones it is
// a butterfly matrix, and with factors that are the same for all other digits a Kronecker
// product. It is an error if the shapes do not fit.
func NewOrder(factors ...*tensor.Tensor) (*Matrix, error) {
	in, out, err := digits(factors)
	if err != nil {
		return nil, err
	}
	stages := make([]stage, len(factors))
	for i, w := range factors {
		if want := factorDims(in, out, i); !slices.Equal(w.Shape(), want) || w.DType() != tensor.Float32 || w.Packed() {
			return nil, fmt.Errorf("monarch: factor %d is %v, want float32%v", i, w, want)
		}
		place := digitPlaces(in, out, i)
		stages[len(factors)-1-i] = newStage(w, w.Len()/(in[i]*out[i]), out[i], in[i], place(in[i]), place(out[i]))
	}
	return newMatrix(elements(in), elements(out), false, stages...), nil
}

// digits returns how many values each digit has in the input and in the output.
func digits(factors []*tensor.Tensor) (in, out []int, err error) {
	n, m := 1, 1
	for i, w := range factors {
		if len(w.Shape()) < 2 || w.Len() == 0 {
			return nil, nil, fmt.Errorf("monarch: factor %d is %v", i, w)
		}
		in, out = append(in, w.Dim(-1)), append(out, w.Dim(-2))
		if n > maxSize/in[i] || m > maxSize/out[i] {
			return nil, nil, fmt.Errorf("monarch: vectors of more than %d elements", maxSize)
		}
		n, m = n*in[i], m*out[i]
	}
	if len(factors) == 0 {
		return nil, nil, fmt.Errorf("monarch: a matrix without factors")
	}
	return in, out, nil
}

// factorDims returns the shape of factor i.
func factorDims(in, out []int, i int) []int {
	return slices.Concat(in[:i], out[i+1:], []int{out[i], in[i]})
}

func elements(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

// digitPlaces returns, for the number of values that digit i has, the elements that belong
// to a block: those that differ in this digit only.
func digitPlaces(in, out []int, i int) func(values int) func(b, digit int) int {
	low := elements(out[i+1:])
	return func(values int) func(b, digit int) int {
		return func(b, digit int) int { return (b/low*values+digit)*low + b%low }
	}
}
