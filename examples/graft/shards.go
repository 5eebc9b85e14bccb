package main

import (
	"errors"
	"iter"
	"sync"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

// maxShards is how many parts of a batch are computed side by side. The results depend on
// it, and not on the number of cores.
const maxShards = 4

// Shards compute gradients of parts of batches, each with memory of its own.
type shards struct {
	grads [maxShards]seqmix.Grads
}

// newShards returns shards for some parameters. A name that frozen is true for is left out.
func newShards(params iter.Seq2[string, *tensor.Tensor], frozen func(string) bool) *shards {
	s := new(shards)
	for i := range s.grads {
		s.grads[i] = seqmix.Grads{}
		for name, p := range params {
			if frozen == nil || !frozen(name) {
				s.grads[i][p] = tensor.New(p.Shape()...)
			}
		}
	}
	return s
}

// run calls f for the parts of a batch of so many sequences, lo to hi-1, and returns the
// sums of the gradients that it adds and of the losses that it returns.
func (s *shards) run(size int, f func(lo, hi int, grads seqmix.Grads) (float64, error)) (float64, seqmix.Grads, error) {
	n := min(size, maxShards)
	var losses [maxShards]float64
	var errs [maxShards]error
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for _, g := range s.grads[i] {
				clear(g.Data())
			}
			losses[i], errs[i] = f(i*size/n, (i+1)*size/n, s.grads[i])
		})
	}
	wg.Wait()
	loss, sum := losses[0], s.grads[0]
	for i := 1; i < n; i++ {
		loss += losses[i]
		for p, g := range sum {
			tensor.Add(g.Data(), g.Data(), s.grads[i][p].Data())
		}
	}
	return loss, sum, errors.Join(errs[:]...)
}
