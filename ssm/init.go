package ssm

import (
	"fmt"
	"math"
)

// An Init says where the states of an LTI system begin: it names the matrix A, or the
// diagonal of it. A system of N states is real, so that the eigenvalues of A come in
// N/2 conjugate pairs, of which one each is kept.
type Init string

// The HiPPO matrices (arXiv:2008.07669, arXiv:2206.12037), see [HiPPO], and the
// diagonals of S4D (arXiv:2206.11893), see [DiagonalInit].
const (
	InitLegS    Init = "legs"    // Legendre polynomials, scaled: a memory of all the past
	InitLegT    Init = "legt"    // Legendre polynomials, translated: a window
	InitFourier Init = "fourier" // Fourier basis: a window
	InitLin     Init = "lin"     // -1/2 + πi·n
	InitInv     Init = "inv"     // -1/2 + i·N/π·(N/(2n+1) - 1)
	InitInv2    Init = "inv2"    // -1/2 + i·N/π·(N/(n+1) - 1)
	InitQuad    Init = "quad"    // -1/2 + i·(2n+1)²/π
	InitReal    Init = "real"    // -(n+1)
)

// DiagonalInit returns the diagonal of A and B of a diagonal system (S4D) of n states,
// one of each conjugate pair: n/2 numbers, those of A with no positive imaginary part.
// That is the half that state-spaces/s4 keeps. init is one of lin, inv, inv2, quad,
// real and legs; the latter is the diagonal part of [HiPPO.NPLR], with imaginary parts
// of B limited to ±2. B is 1 for the others.
func DiagonalInit(init Init, n int) (a, b []complex128, err error) {
	if err := checkDiagonal(init, n); err != nil {
		return nil, nil, err
	}
	if init == InitLegS {
		h, err := NewHiPPO(InitLegS, n, 1)
		if err != nil {
			return nil, nil, err
		}
		a, b, _, err := h.NPLR()
		return a, b, err
	}
	a, b = make([]complex128, n/2), make([]complex128, n/2)
	size := float64(n)
	for i := range a {
		k := float64(i)
		re, im := 0.5, 0.0
		switch init {
		case InitLin:
			im = math.Pi * k
		case InitInv:
			im = size / math.Pi * (size/(2*k+1) - 1)
		case InitInv2:
			im = size / math.Pi * (size/(k+1) - 1)
		case InitQuad:
			im = (2*k + 1) * (2*k + 1) / math.Pi
		case InitReal:
			re = k + 1
		}
		a[i], b[i] = complex(-re, -im), 1
	}
	return a, b, nil
}

// checkDiagonal checks the arguments of DiagonalInit.
func checkDiagonal(init Init, n int) error {
	switch init {
	case InitLin, InitInv, InitInv2, InitQuad, InitReal:
		return checkStates(n)
	case InitLegS:
		if err := checkStates(n); err != nil {
			return err
		}
		return checkHiPPO(InitLegS, n, 1)
	}
	return fmt.Errorf("ssm: no diagonal system is called %q (choose one of lin, inv, inv2, quad, real, legs)", init)
}

// maxStates bounds the states of a channel of an LTI system.
const maxStates = 1 << 16

func checkStates(n int) error {
	if n < 2 || n%2 != 0 || n > maxStates {
		return fmt.Errorf("ssm: a system of %d states, want an even number from 2 to %d", n, maxStates)
	}
	return nil
}
