package ssm_test

import (
	"math"
	"math/cmplx"
	"testing"

	"github.com/seqmix/seqmix/ssm"
)

func TestDiagonalInit(t *testing.T) {
	for _, c := range []struct {
		init  ssm.Init
		n, at int
		want  complex128
	}{
		{ssm.InitLin, 16, 0, -.5}, {ssm.InitLin, 16, 1, -.5 - math.Pi*1i}, {ssm.InitLin, 16, 7, -.5 - 7*math.Pi*1i},
		{ssm.InitInv, 64, 0, complex(-.5, -64/math.Pi*63)}, {ssm.InitInv, 64, 31, complex(-.5, -64/math.Pi*(64./63-1))},
		{ssm.InitInv2, 64, 1, complex(-.5, -64/math.Pi*31)},
		{ssm.InitQuad, 8, 2, complex(-.5, -25/math.Pi)},
		{ssm.InitReal, 8, 3, -4},
	} {
		a, b, err := ssm.DiagonalInit(c.init, c.n)
		if err != nil {
			t.Fatal(err)
		}
		if len(a) != c.n/2 || len(b) != c.n/2 || cmplx.Abs(a[c.at]-c.want) > 1e-12*cmplx.Abs(c.want) || b[c.at] != 1 {
			t.Errorf("%s of %d: A[%d] is %v and B %v, want %v and 1", c.init, c.n, c.at, a[c.at], b[c.at], c.want)
		}
	}
	for _, n := range []int{-2, 0, 3, 1 << 20} {
		if _, _, err := ssm.DiagonalInit(ssm.InitLin, n); err == nil {
			t.Errorf("%d states: no error", n)
		}
	}
	if _, _, err := ssm.DiagonalInit(ssm.InitLegT, 8); err == nil {
		t.Error("legt is not diagonal: no error")
	}
}

// determinant returns det(m), by elimination.
func (m matrix) determinant() complex128 {
	n, det := len(m), complex(1, 0)
	a := newMatrix(n)
	for i := range m {
		copy(a[i], m[i])
	}
	for c := range n {
		p := c
		for r := c; r < n; r++ {
			if cmplx.Abs(a[r][c]) > cmplx.Abs(a[p][c]) {
				p = r
			}
		}
		if p != c {
			a[c], a[p], det = a[p], a[c], -det
		}
		det *= a[c][c]
		for r := c + 1; r < n; r++ {
			f := a[r][c] / a[c][c]
			for j := c; j < n; j++ {
				a[r][j] -= f * a[c][j]
			}
		}
	}
	return det
}

// The normal part of a HiPPO matrix is normal, and its diagonal form with the low rank
// has the same characteristic polynomial as the matrix itself.
func TestHiPPO(t *testing.T) {
	for _, c := range []struct {
		measure ssm.Init
		n, rank int
	}{{ssm.InitLegS, 2, 1}, {ssm.InitLegS, 12, 1}, {ssm.InitLegS, 8, 3}, {ssm.InitLegT, 10, 2}, {ssm.InitFourier, 8, 1}} {
		h, err := ssm.NewHiPPO(c.measure, c.n, c.rank)
		if err != nil {
			t.Fatal(err)
		}
		normal := newMatrix(c.n)
		full := newMatrix(c.n)
		for i := range c.n {
			for j := range c.n {
				full[i][j] = complex(h.A[i*c.n+j], 0)
				sum := h.A[i*c.n+j]
				for r := range c.rank {
					sum += h.P[r*c.n+i] * h.P[r*c.n+j]
				}
				normal[i][j] = complex(sum, 0)
			}
		}
		for i := range c.n {
			for j := range i {
				if cmplx.Abs(normal[i][j]+normal[j][i]) > 1e-12 || cmplx.Abs(normal[i][i]-normal[j][j]) > 1e-12 {
					t.Fatalf("%s of %d: A + PᵀP is not skew but for a multiple of the identity at %d, %d", c.measure, c.n, i, j)
				}
			}
		}
		lambda, b, p, err := h.NPLR()
		if err != nil || len(lambda) != c.n/2 || len(b) != c.n/2 || len(p) != c.rank {
			t.Fatalf("%s of %d: %d eigenvalues (%v)", c.measure, c.n, len(lambda), err)
		}
		for _, s := range []complex128{.3, 1 + 2i, -2 + .5i, 4i} {
			// det(sI - A) by the matrix, and by its diagonal form.
			want := full.plus(-1, identity(c.n).scaled(s)).determinant()
			small, got := identity(c.rank), complex(1, 0)
			for _, l := range lambda {
				got *= (s - l) * (s - cmplx.Conj(l))
			}
			for i := range c.rank {
				for j := range c.rank {
					for k, l := range lambda {
						z := cmplx.Conj(p[i][k]) * p[j][k]
						small[i][j] += z/(s-l) + cmplx.Conj(z)/(s-cmplx.Conj(l))
					}
				}
			}
			if got *= small.determinant(); cmplx.Abs(got-want) > 1e-9*cmplx.Abs(want) {
				t.Errorf("%s of %d, rank %d: det(%v·I-A) is %v, want %v", c.measure, c.n, c.rank, s, got, want)
			}
		}
	}
	for _, c := range []struct {
		measure ssm.Init
		n, rank int
	}{{ssm.InitLegS, 0, 1}, {ssm.InitLegS, 4, 0}, {ssm.InitLegT, 4, 1}, {ssm.InitFourier, 5, 1}, {ssm.InitLin, 4, 1}, {ssm.InitLegS, 1 << 20, 1}, {ssm.InitLegS, 4, 99}} {
		if _, err := ssm.NewHiPPO(c.measure, c.n, c.rank); err == nil {
			t.Errorf("%s of %d, rank %d: no error", c.measure, c.n, c.rank)
		}
	}
	odd, err := ssm.NewHiPPO(ssm.InitLegS, 5, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := odd.NPLR(); err == nil {
		t.Error("the conjugate pairs of 5 states: no error")
	}
}

func (m matrix) scaled(s complex128) matrix { return m.plus(s-1, m) }
