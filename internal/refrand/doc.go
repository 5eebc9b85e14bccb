// Package refrand holds the random number generators of the reference implementations,
// bit for bit: what NumPy's numpy.random functions and PyTorch's CPU generator draw after
// a seed. With them, data that was made in Python is made again here.
//
// Both are the Mersenne Twister, and differ in what they make of its numbers.
package refrand
