// Package golden computes golden vectors again. Each computation builds the mixer,
// layer or function of a case from the configuration and the parameters that stand
// in the case, so that a case of any size and seed can be run.
package golden

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seqmix/seqmix/internal/goldentest"
)

// A computation returns what the case asks for: tensors by name, as in "out.y",
// "state.final" or "grad.x".
type computation func(*goldentest.Case) (results, error)

type results map[string][]float32

// computations lists what this package can compute, by the field "op" of the
// configuration or, where that is absent, by the part of the case's name before the
// first underscore. Where families mean different things by a name, it has that of the
// family in front, as in "monarch/mlp".
var computations = map[string]computation{}

// register adds computations. Each file of this package registers its own.
func register(c map[string]computation) bool {
	for op, f := range c {
		if computations[op] != nil {
			panic("golden: two computations for " + op)
		}
		computations[op] = f
	}
	return true
}

// An Outcome is the result of one case, or of the gradients of one.
type Outcome struct {
	Name      string
	Tensor    string  // the worst tensor
	Error     float64 // of it
	Tolerance float64 // of it
	Err       error   // what failed
	Skipped   string  // why it was not run
}

// Run runs a case. The forward pass (outputs and states) and the gradients are two
// outcomes, since a mixer may have the one without the other.
func Run(c *goldentest.Case) []Outcome {
	forward := slices.Concat(c.Names("out."), c.Names("state."))
	grads := c.Names("grad.")
	op, f := computationOf(c)
	if f == nil {
		return outcomes(c, forward, grads, func(o *Outcome, _ []string) { o.Skipped = "no computation of " + op + " yet" })
	}
	got, err := compute(f, c)
	if errors.Is(err, errors.ErrUnsupported) {
		return outcomes(c, forward, grads, func(o *Outcome, _ []string) { o.Skipped = err.Error() })
	}
	return outcomes(c, forward, grads, func(o *Outcome, names []string) {
		if o.Err = err; err == nil {
			o.compare(c, names, got)
		}
	})
}

// computationOf returns what a case asks for, and the computation of it, if there is one.
func computationOf(c *goldentest.Case) (op string, f computation) {
	op = c.Op()
	if op == "" {
		op, _, _ = strings.Cut(c.Name, "_")
	}
	if f := computations[c.Family+"/"+op]; f != nil {
		return op, f
	}
	return op, computations[op]
}

// outcomes makes the outcomes of a case and fills each in with f.
func outcomes(c *goldentest.Case, forward, grads []string, f func(*Outcome, []string)) []Outcome {
	list := []Outcome{{Name: c.Name}}
	f(&list[0], forward)
	if len(grads) > 0 {
		list = append(list, Outcome{Name: c.Name + " gradients"})
		f(&list[1], grads)
	}
	return list
}

// compute runs f, taking a panic for a failure of the case.
func compute(f computation, c *goldentest.Case) (r results, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f(c)
}

// compare compares the tensors that the case expects with those computed. All of
// them must be there, or, of gradients, none.
func (o *Outcome) compare(c *goldentest.Case, names []string, got results) {
	worst := -1.0
	var missing []string
	for _, name := range names {
		values, ok := got[name]
		if !ok {
			missing = append(missing, name)
			continue
		}
		e, err := c.Error(name, values)
		if err != nil {
			o.Err = err
			return
		}
		tol := c.Tolerance(name)
		// The worst is the one that uses up most of its tolerance.
		if ratio := e / max(tol, 1e-300); ratio > worst {
			worst, o.Tensor, o.Error, o.Tolerance = ratio, name, e, tol
		}
		if e > tol && o.Err == nil {
			o.Err = c.Compare(name, values)
		}
	}
	switch {
	case len(missing) == 0 || o.Err != nil:
	case len(missing) == len(names) && strings.HasPrefix(names[0], "grad."):
		o.Skipped = "no gradients yet"
	default:
		o.Err = fmt.Errorf("not computed: %s", strings.Join(missing, ", "))
	}
}
