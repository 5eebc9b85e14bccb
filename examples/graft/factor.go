package main

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// factor returns matrices A and B of rank rows for which
//
//	(A·x)·(B·y) ≈ xᵀ·M·y
//
// is as near as can be in the mean square over independent x and y whose second moments are
// L·Lᵀ: the leading singular directions of Lᵀ·M·L. Both have the same share of each
// singular value.
func factor(form *mat.Dense, root *mat.TriDense, rank int) (a, b *mat.Dense, err error) {
	d, _ := form.Dims()
	var white mat.Dense
	white.Product(root.T(), form, root)
	var svd mat.SVD
	if !svd.Factorize(&white, mat.SVDThin) {
		return nil, nil, fmt.Errorf("the singular values of the scores were not found")
	}
	var u, v mat.Dense
	svd.UTo(&u)
	svd.VTo(&v)
	values := svd.Values(nil)
	a, b = mat.NewDense(rank, d, nil), mat.NewDense(rank, d, nil)
	for r := range min(rank, d) {
		share := math.Sqrt(values[r])
		for c := range d {
			a.Set(r, c, share*u.At(c, r))
			b.Set(r, c, share*v.At(c, r))
		}
	}
	// A = √S·Uᵀ·L⁻¹ solves A·L = √S·Uᵀ.
	for _, m := range []*mat.Dense{a, b} {
		var solved mat.Dense
		if err := solved.Solve(root.T(), m.T()); err != nil {
			return nil, nil, fmt.Errorf("the covariance of inputs: %w", err)
		}
		m.Copy(solved.T())
	}
	return a, b, nil
}

// offset returns -A·ū, which centres A·u.
func (p *profile) offset(a *mat.Dense) []float64 {
	var v mat.VecDense
	v.MulVec(a, mat.NewVecDense(len(p.mean), p.mean))
	v.ScaleVec(-1, &v)
	return v.RawVector().Data
}

// meanForm returns the mean of the forms of all heads.
func (p *profile) meanForm() *mat.Dense {
	var m mat.Dense
	m.CloneFrom(p.heads[0].form)
	for _, h := range p.heads[1:] {
		m.Add(&m, h.form)
	}
	m.Scale(1/float64(len(p.heads)), &m)
	return &m
}
