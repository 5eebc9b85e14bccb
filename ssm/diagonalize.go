package ssm

import (
	"cmp"
	"math"
	"math/cmplx"
	"slices"

	"gonum.org/v1/gonum/mat"
)

// What is asked of the modes of a system for them to take its place. The condition
// number of its eigenvectors bounds what becomes of rounding errors in float64, and
// how much larger the modes are than their sum what becomes of those in float32.
const (
	maxCondition    = 1e7
	maxCancellation = 64
)

// A diagonalized system is one channel of an S4 in the coordinates of its modes.
type diagonalized struct {
	pairs, reals []mode
	scale        []complex128 // of the states of pairs, then of real poles
	// basis has the eigenvectors as columns, in the form of realVector: for each pair
	// the real and the imaginary part of one of them, then those of real poles.
	basis *mat.Dense
}

// diagonalize returns the modes of a system, whose c is stored for the length given
// (see retune), or nil if they do not serve in its place: of a matrix that is far from
// normal, as the HiPPO matrices are that an S4 begins with, they are huge and cancel
// each other.
func (s *dplrSystem) diagonalize(length int) *diagonalized {
	m := s.dense()
	// The search for eigenvalues would not end where there is none. The squares of
	// larger numbers overflow.
	if !(mat.Max(m) < 1e150 && mat.Min(m) > -1e150) || math.IsNaN(mat.Sum(m)) {
		return nil
	}
	var e mat.Eigen
	if !e.Factorize(m, mat.EigenRight) {
		return nil
	}
	d := &diagonalized{}
	poles := d.takeVectors(&e)
	var lu mat.LU
	lu.Factorize(d.basis)
	if !(lu.Cond() < maxCondition) {
		return nil
	}
	input := d.coordinates(&lu, realVector(s.b))
	for i, pole := range poles {
		scale := inputScale(input[i])
		// What is stored is c·(I - Ā^L).
		residue := d.output(s.c, i) * scale
		if length > 0 {
			residue /= 1 - cmplx.Pow(pole, complex(float64(length), 0))
		}
		d.scale = append(d.scale, scale)
		if i < len(d.pairs) {
			d.pairs[i] = mode{pole - 1, residue}
		} else {
			d.reals[i-len(d.pairs)] = mode{pole - 1, residue}
		}
	}
	if !d.serves(len(s.g)) {
		return nil
	}
	return d
}

// takeVectors makes the basis of the eigenvectors, with pairs before real poles and
// slow ones first, and returns the poles.
func (d *diagonalized) takeVectors(e *mat.Eigen) []complex128 {
	values, vectors := e.Values(nil), new(mat.CDense)
	e.VectorsTo(vectors)
	var order []int
	for i, v := range values {
		switch {
		case imag(v) > 0:
			d.pairs = append(d.pairs, mode{})
			order = append(order, i)
		case imag(v) == 0:
			d.reals = append(d.reals, mode{})
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		single := func(v complex128) int {
			if imag(v) == 0 {
				return 1
			}
			return 0
		}
		va, vb := values[a], values[b]
		return cmp.Or(cmp.Compare(single(va), single(vb)), cmp.Compare(cmplx.Abs(vb), cmplx.Abs(va)), cmp.Compare(real(vb), real(va)))
	})
	n := len(values)
	d.basis = mat.NewDense(n, n, nil)
	poles, col := make([]complex128, len(order)), 0
	for i, k := range order {
		poles[i] = values[k]
		for row := range n {
			d.basis.Set(row, col, real(vectors.At(row, k)))
			if i < len(d.pairs) {
				d.basis.Set(row, col+1, imag(vectors.At(row, k)))
			}
		}
		col++
		if i < len(d.pairs) {
			col++
		}
	}
	return poles
}

// coordinates returns the states of the modes of x. With v for an eigenvector of a pair
// x is made of v·z + v*·z* = 2·Re(v)·Re(z) - 2·Im(v)·Im(z).
func (d *diagonalized) coordinates(lu *mat.LU, x *mat.VecDense) []complex128 {
	var z mat.VecDense
	_ = lu.SolveVecTo(&z, false, x) // the condition has been looked at
	states := make([]complex128, 0, len(d.pairs)+len(d.reals))
	for i := range d.pairs {
		states = append(states, complex(z.AtVec(2*i)/2, -z.AtVec(2*i+1)/2))
	}
	for i := range d.reals {
		states = append(states, complex(z.AtVec(2*len(d.pairs)+i), 0))
	}
	return states
}

// output returns what the state of mode i is multiplied by, if c is what those of the
// system are, whose output is 2·Re(c·h).
func (d *diagonalized) output(c []complex128, i int) complex128 {
	n := len(c)
	column := func(col int) float64 {
		sum := 0.0
		for k, v := range c {
			sum += real(v)*d.basis.At(k, col) - imag(v)*d.basis.At(n+k, col)
		}
		return 2 * sum
	}
	if i < len(d.pairs) {
		return complex(column(2*i), column(2*i+1))
	}
	return complex(column(len(d.pairs)+i), 0)
}

// serves reports whether the modes, rounded to float32, make up the system of n pairs
// of states.
func (d *diagonalized) serves(n int) bool {
	size, peak := 0.0, 0.0
	for _, p := range d.pairs {
		size += 2 * cmplx.Abs(p.residue)
	}
	for _, p := range d.reals {
		size += cmplx.Abs(p.residue)
	}
	for _, k := range response(d.pairs, d.reals, 8*n) {
		peak = max(peak, math.Abs(k))
	}
	return size <= maxCancellation*peak
}

// diagonalizedStates are the states of diagonalized systems in the basis of the DPLR
// form.
type diagonalizedStates []*diagonalized

func (d diagonalizedStates) fromModes(dst []float32, channel int, z []complex128) {
	s := d[channel]
	x := mat.NewVecDense(len(dst), nil)
	for i := range s.pairs {
		v := 2 * z[i] * s.scale[i]
		x.SetVec(2*i, real(v))
		x.SetVec(2*i+1, -imag(v))
	}
	for i := range s.reals {
		x.SetVec(2*len(s.pairs)+i, real(z[len(s.pairs)+i]*s.scale[len(s.pairs)+i]))
	}
	var h mat.VecDense
	h.MulVec(s.basis, x)
	setComplexes(dst, complexVector(&h))
}

func (d diagonalizedStates) toModes(z []complex128, channel int, src []float32) {
	s := d[channel]
	var lu mat.LU
	lu.Factorize(s.basis)
	copy(z, s.coordinates(&lu, realVector(complexes(src))))
	for i := range z {
		z[i] /= s.scale[i]
	}
}
