package refrand

// Zoology draws as the tasks of HazyResearch/zoology do: by numpy.random, but for the
// tokens between queries, which are PyTorch's.
type Zoology struct {
	*NumPy
	Torch *Torch
}

// NewZoology returns the two generators, each after its seed.
func NewZoology(numpy, torch uint64) Zoology {
	return Zoology{NewNumPy(numpy), NewTorch(torch)}
}

// Filler is an element of torch.randint(n).
func (z Zoology) Filler(n int) int { return z.Torch.IntN(n) }

// Filler is IntN.
func (r *Torch) Filler(n int) int { return r.IntN(n) }
