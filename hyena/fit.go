package hyena

import (
	"errors"
	"fmt"
	"math"
	"math/cmplx"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// FitOptions say how [FitModal] approximates a filter. The zero value is a good choice.
type FitOptions struct {
	// Order is the number of poles, counting both of a conjugate pair. By default it is
	// the smallest for which the next singular value of the filter's Hankel matrix is
	// at most Tol times the largest, but not above MaxOrder.
	Order    int
	Tol      float64 // 1e-4 by default
	MaxOrder int     // 64 by default

	// Growth is what the power of a pole may come to at the last tap. With 1, the default
	// of FitModal, no pole lies outside of the unit circle, and the recurrence is stable
	// for ever. A filter that has not decayed by its end is approximated far better if
	// poles may grow, by 1e15 for instance; sequences must then not be longer than the
	// filter, or the output grows without bounds. Within its length growth does no harm
	// to precision: a state that grows consists of its first inputs, and so does its
	// rounding error.
	Growth float64

	// Hankel is the size of the Hankel matrix, half of the taps but at most 512 by
	// default. Filters so long that its rows and columns do not cover them are thinned
	// out for it.
	Hankel int
}

func (o FitOptions) withDefaults() FitOptions {
	fillIn(&o.Tol, 1e-4)
	fillIn(&o.MaxOrder, 64)
	fillIn(&o.Hankel, 512)
	return o
}

// A Fit is a filter approximated by a sum of exponentials: see [FitModal].
type Fit struct {
	// Distances are λ-1 for each pole λ, and Residues what the powers of the poles are
	// multiplied by. Of conjugate poles one stands for both, with twice its residue, so
	// that the filter is h[t] ≈ Re Σ Residues·λ^t for t > 0.
	Distances, Residues []complex128

	// Skip is what is left of tap 0, so that it is exact.
	Skip float64

	// Order is the number of poles, counting both of a conjugate pair.
	Order int

	// Singular holds the largest singular values of the Hankel matrix. No filter of
	// order n is closer to the given one, as an operator from past inputs to future
	// outputs, than Singular[n] (Adamyan, Arov and Krein, 1971).
	Singular []float64

	// The error e[t] of the taps: ‖e‖₂/‖h‖₂, max|e|/max|h|, and Σ|e|. The last bounds
	// that of outputs: it is at most Sum times the largest input.
	L2, Max, Sum float64
}

// FitModal approximates a filter by a sum of exponentials, whose poles are inside of the
// unit circle: a convolution of any length becomes a recurrence with a few states. This
// is what Laughing Hyena (arXiv:2310.18780) calls distillation, done without gradients.
//
// The matrix H[i][j] = h[i+j+1] of a filter that is a sum of n exponentials has rank n,
// and the columns of its left singular vectors are sums of the same exponentials. So the
// map from all their rows but the last to all but the first has the poles as eigenvalues
// (Kung, 1978; ESPRIT). The residues are those with the least squared error over all
// taps. The work is done in float64.
func FitModal(h []float64, o FitOptions) (*Fit, error) {
	o = o.withDefaults()
	if o.Order < 0 || o.MaxOrder < 1 || o.Hankel < 1 || !(o.Tol >= 0) {
		return nil, fmt.Errorf("hyena: a fit of order %d, at most %d, with tolerance %v and a Hankel matrix of size %d", o.Order, o.MaxOrder, o.Tol, o.Hankel)
	}
	for _, v := range h {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, errors.New("hyena: the taps of a filter are not all finite")
		}
	}
	f := &Fit{}
	poles, singular, err := findPoles(h, o)
	if err != nil {
		return nil, err
	}
	f.Singular = singular
	for i, p := range poles {
		poles[i] = bounded(p, o.radius(len(h)))
	}
	if err := f.setPoles(h, poles); err != nil {
		return nil, err
	}
	return f, nil
}

// radius returns the largest radius of a pole.
func (o *FitOptions) radius(taps int) float64 {
	if o.Growth <= 1 {
		return 1 - 1e-9
	}
	return math.Pow(o.Growth, 1/float64(max(taps-1, 1)))
}

// findPoles returns the poles of a filter, one of each conjugate pair.
func findPoles(h []float64, o FitOptions) (poles []complex128, singular []float64, err error) {
	size := min(o.Hankel, len(h)/2)
	if size < 1 {
		return nil, nil, nil
	}
	const wide = 2 // a matrix may have so many times as many columns: far more, and poles blur
	if len(h) <= (wide+1)*size {
		return hankelPoles(h, size, o)
	}
	thin := (len(h) + 2*size - 1) / (2 * size)
	// The slow poles come from every thin-th tap, and those too fast for that from what
	// is left of the beginning.
	var few []float64
	for t := 0; t < len(h); t += thin {
		few = append(few, h[t])
	}
	slow, singular, err := hankelPoles(few, min(size, len(few)/2), o)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range slow {
		poles = append(poles, cmplx.Pow(p, complex(1/float64(thin), 0)))
	}
	f := &Fit{}
	if err := f.setPoles(h, poles); err != nil {
		return nil, nil, err
	}
	if f.L2 <= o.Tol || o.Order > 0 {
		return poles, singular, nil
	}
	rest := slices.Clone(h[:2*size])
	f.subtract(rest)
	o.Tol *= math.Sqrt(sumSquares(h) / max(sumSquares(rest), 1e-300))
	o.MaxOrder = max(o.MaxOrder-f.Order, 0)
	if o.Tol >= 1 || o.MaxOrder == 0 {
		return poles, singular, nil
	}
	fast, _, err := hankelPoles(rest, size, o)
	return append(poles, fast...), singular, err
}

func sumSquares(x []float64) float64 {
	var s float64
	for _, v := range x {
		s += v * v
	}
	return s
}

// hankelPoles returns the poles that the Hankel matrix of a filter tells.
func hankelPoles(h []float64, size int, o FitOptions) (poles []complex128, singular []float64, err error) {
	u, singular, err := hankelVectors(h, size, o)
	if err != nil || len(singular) == 0 || singular[0] == 0 {
		return nil, singular, err
	}
	order := o.Order
	if order == 0 {
		for order < len(singular) && singular[order] > o.Tol*singular[0] {
			order++
		}
		order = min(order, o.MaxOrder)
	}
	order = min(order, size-1, len(singular))
	for order > 0 && singular[order-1] <= 1e-16*singular[0] { // there is nothing more to find
		order--
	}
	if order == 0 {
		return nil, singular, nil
	}
	var qr mat.QR
	qr.Factorize(u.Slice(0, size-1, 0, order))
	var shift mat.Dense
	if err := qr.SolveTo(&shift, false, u.Slice(1, size, 0, order)); err != nil {
		var bad mat.Condition
		if !errors.As(err, &bad) || math.IsInf(float64(bad), 0) {
			return nil, nil, fmt.Errorf("hyena: singular vectors of a Hankel matrix: %w", err)
		}
	}
	var eigen mat.Eigen
	if !eigen.Factorize(&shift, mat.EigenNone) {
		return nil, nil, errors.New("hyena: the eigenvalues of a filter do not converge")
	}
	for _, p := range eigen.Values(nil) {
		if imag(p) >= 0 {
			poles = append(poles, p)
		}
	}
	return poles, singular, nil
}

// bounded returns p, or a pole of the same angle and the largest radius allowed.
func bounded(p complex128, most float64) complex128 {
	if r := cmplx.Abs(p); r > most {
		return p * complex(most/r, 0)
	}
	return p
}

// HankelSingularValues returns the singular values of the matrix H[i][j] = h[i+j+1] with
// so many rows and columns, the largest first. How fast they fall says how many poles a
// filter needs. It panics if h has less than 2·size taps.
func HankelSingularValues(h []float64, size int) ([]float64, error) {
	if size < 0 || 2*size > len(h) {
		panic(fmt.Sprintf("hyena: a Hankel matrix of size %d of %d taps", size, len(h)))
	}
	if size == 0 {
		return nil, nil
	}
	var svd mat.SVD
	if !svd.Factorize(hankel(h, size, size), mat.SVDNone) {
		return nil, errors.New("hyena: the singular values of a Hankel matrix do not converge")
	}
	return svd.Values(nil), nil
}

// hankel returns the matrix h[i+j+1].
func hankel(h []float64, rows, cols int) *mat.Dense {
	m := mat.NewDense(rows, cols, nil)
	for i := range rows {
		m.SetRow(i, h[i+1:i+1+cols])
	}
	return m
}

// exactSize is up to which size of a Hankel matrix all singular vectors are computed. Of
// larger ones only the first ones are, from products with random vectors (Halko,
// Martinsson and Tropp, arXiv:0909.4061).
const exactSize = 96

// hankelVectors returns left singular vectors, as columns, and singular values.
func hankelVectors(h []float64, size int, o FitOptions) (*mat.Dense, []float64, error) {
	m := hankel(h, size, len(h)-size)
	sketch := max(o.Order, o.MaxOrder) + 16
	u, svd := new(mat.Dense), mat.SVD{}
	if size <= exactSize || sketch >= size {
		if !svd.Factorize(m, mat.SVDThinU) {
			return nil, nil, errors.New("hyena: the singular values of a Hankel matrix do not converge")
		}
		svd.UTo(u)
		return u, svd.Values(nil), nil
	}
	r := rand.New(rand.NewPCG(1, 2))
	y := mat.NewDense(len(h)-size, sketch, nil)
	for i := range y.RawMatrix().Data {
		y.RawMatrix().Data[i] = r.NormFloat64()
	}
	q := orthonormal(times(m, y))
	const powers = 1 // each sets what is wanted off from the rest by two more products with the matrix
	for range powers {
		q = orthonormal(times(m, orthonormal(times(m.T(), q))))
	}
	if !svd.Factorize(times(q.T(), m), mat.SVDThinU) {
		return nil, nil, errors.New("hyena: the singular values of a Hankel matrix do not converge")
	}
	svd.UTo(u)
	return times(q, u), svd.Values(nil), nil
}

func times(a, b mat.Matrix) *mat.Dense {
	var c mat.Dense
	c.Mul(a, b)
	return &c
}

// orthonormal makes the columns of m orthonormal and returns m, by the method of Gram
// and Schmidt, twice, which is as good as any.
func orthonormal(m *mat.Dense) *mat.Dense {
	t := mat.DenseCopyOf(m.T()) // columns as rows
	n, _ := t.Dims()
	for i := range n {
		v := t.RawRowView(i)
		before := floats.Norm(v, 2)
		for range 2 {
			for j := range i {
				u := t.RawRowView(j)
				floats.AddScaled(v, -floats.Dot(u, v), u)
			}
		}
		const least = 1e-14 // what is less than that is rounding
		if norm := floats.Norm(v, 2); norm > least*before {
			floats.Scale(1/norm, v)
		} else {
			clear(v)
		}
	}
	return mat.DenseCopyOf(t.T())
}

// fitRows bounds the taps that residues are fitted to. Of longer filters all of the
// first half as many are used, and of the others as many at equal distances, which count
// for those between.
const fitRows = 1 << 13

// setPoles finds the residues for poles, one of each conjugate pair, and the error.
func (f *Fit) setPoles(h []float64, poles []complex128) error {
	f.Distances, f.Residues, f.Order, f.Skip = nil, nil, 0, 0
	for _, p := range poles {
		f.Distances = append(f.Distances, p-1)
		if f.Order++; imag(p) != 0 {
			f.Order++
		}
	}
	if f.Order > 0 && len(h) > f.Order {
		if err := f.setResidues(h, poles); err != nil {
			return err
		}
	} else {
		f.Distances, f.Order = nil, 0
	}
	rest := slices.Clone(h)
	f.subtract(rest)
	if len(h) > 0 {
		f.Skip = rest[0]
		rest[0] = 0
	}
	f.measure(h, rest)
	return nil
}

// subtract subtracts the exponentials from taps.
func (f *Fit) subtract(h []float64) {
	for i, d := range f.Distances {
		addExponential(h, 1+d, -f.Residues[i])
	}
}

// measure computes the errors.
func (f *Fit) measure(h, e []float64) {
	var most, largest float64
	f.Sum = 0
	for t, v := range e {
		f.Sum += math.Abs(v)
		most, largest = max(most, math.Abs(v)), max(largest, math.Abs(h[t]))
	}
	f.L2 = math.Sqrt(sumSquares(e) / max(sumSquares(h), 1e-300))
	f.Max = most / max(largest, 1e-300)
}

// setResidues solves for the residues by least squares. The unknowns are the real and
// imaginary parts of those of complex poles, and those of real ones.
func (f *Fit) setResidues(h []float64, poles []complex128) error {
	rows := fitPositions(len(h))
	a, b := mat.NewDense(len(rows), f.Order, nil), mat.NewVecDense(len(rows), nil)
	col, scales, powers := 0, []float64{}, make([]complex128, len(rows))
	for _, p := range poles {
		powersAt(powers, p, rows)
		parts := 1
		if imag(p) != 0 {
			parts = 2
		}
		for part := range parts {
			norm := 0.0
			for i, v := range powers {
				x := rows[i].weight * []float64{real(v), -imag(v)}[part]
				a.Set(i, col, x)
				norm += x * x
			}
			norm = math.Sqrt(max(norm, 1e-300))
			for i := range rows {
				a.Set(i, col, a.At(i, col)/norm)
			}
			scales = append(scales, norm)
			col++
		}
	}
	for i, r := range rows {
		b.SetVec(i, r.weight*h[r.tap])
	}
	x, err := leastSquares(a, b)
	if err != nil {
		return err
	}
	col = 0
	for _, p := range poles {
		r := complex(x[col]/scales[col], 0)
		if col++; imag(p) != 0 {
			r += complex(0, x[col]/scales[col])
			col++
		}
		f.Residues = append(f.Residues, r)
	}
	return nil
}

// powersAt computes p^t for each tap. A product of many factors gathers an error with
// each, so it begins anew now and then.
func powersAt(dst []complex128, p complex128, rows []fitPosition) {
	const restart = 64
	for i, r := range rows {
		if i%restart == 0 || r.tap != rows[i-1].tap+1 {
			dst[i] = cmplx.Pow(p, complex(float64(r.tap), 0))
		} else {
			dst[i] = dst[i-1] * p
		}
	}
}

// leastSquares solves a·x = b. Poles that almost coincide make columns that almost do:
// what the smallest singular values would contribute is left out.
func leastSquares(a *mat.Dense, b *mat.VecDense) ([]float64, error) {
	var qr mat.QR
	qr.Factorize(a)
	var x mat.VecDense
	err := qr.SolveVecTo(&x, false, b)
	var bad mat.Condition
	if err == nil || errors.As(err, &bad) && float64(bad) < 1e13 {
		return x.RawVector().Data, nil
	}
	var svd mat.SVD
	if !svd.Factorize(a, mat.SVDThin) {
		return nil, errors.New("hyena: the residues of a filter do not converge")
	}
	const least = 1e-13
	rank, values := 0, svd.Values(nil)
	for rank < len(values) && values[rank] > least*values[0] {
		rank++
	}
	if rank == 0 {
		return make([]float64, len(values)), nil
	}
	var y mat.Dense
	svd.SolveTo(&y, b, rank)
	return mat.Col(nil, 0, &y), nil
}

// A fitPosition is a tap that residues are fitted to.
type fitPosition struct {
	tap    int
	weight float64 // root of the number of taps that it stands for
}

func fitPositions(taps int) []fitPosition {
	var rows []fitPosition
	for t := 1; t < taps; {
		step := 1
		if taps > fitRows && t >= fitRows/2 {
			step = max(1, (taps-fitRows/2)/(fitRows/2))
		}
		rows = append(rows, fitPosition{t, math.Sqrt(float64(step))})
		t += step
	}
	return rows
}
