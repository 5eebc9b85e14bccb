package checkpoint

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// Load fills the parameters of m with the tensors of src, converted to the format
// of each parameter. rename, if not nil, turns the name of a parameter into that
// of its tensor in src.
//
// Loading is strict: every parameter needs a tensor of its name and of exactly its
// shape, and every tensor must be asked for. If anything does not fit, the error
// is a *[LoadError] that lists all of it, and m is unchanged. See [Loader] for
// exceptions, and [Sub] and [Without] for a part of a checkpoint.
//
// A parameter that m yields under several names, as tied weights are, needs a
// tensor under one of them; if there are several, they must be equal.
func Load(m Model, src Source, rename func(string) string) error {
	return (&Loader{Rename: rename}).Load(m, src)
}

// A Loader is [Load] with exceptions. The zero value makes none. The functions get
// names as they are in the Source.
type Loader struct {
	// Rename turns the name of a parameter into that of its tensor.
	Rename func(name string) string

	// Missing says which parameters may be missing; they keep their values.
	Missing func(name string) bool

	// Unused says which tensors may be there without a parameter.
	Unused func(name string) bool

	// Reshape says which tensors may have another shape than their parameter, as
	// long as they have as many elements; these are taken in row-major order.
	Reshape func(name string) bool

	// Finite makes a NaN or an infinity among the values an error.
	Finite bool
}

// A LoadError lists how a checkpoint and a model do not fit each other. All names
// are those in the checkpoint, sorted.
type LoadError struct {
	Source    string     // what was to be loaded
	Missing   []string   // parameters without a tensor
	Unused    []string   // tensors without a parameter
	Misshapen []Mismatch // tensors of another shape than their parameter
	Unusable  []Mismatch // tensors whose values cannot be used
}

// A Mismatch is a tensor that is there but does not fit.
type Mismatch struct {
	Name   string
	Reason string // what it is, and what was expected
}

// mostListed is the number of names of a kind that an error message lists.
const mostListed = 12

// Error lists the names, the first twelve of each kind, and all their numbers.
func (e *LoadError) Error() string {
	var b strings.Builder
	var counts []string
	count := func(n int, what string) {
		if n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, what))
		}
	}
	count(len(e.Missing), "missing")
	count(len(e.Unused), "unused")
	count(len(e.Misshapen), "misshapen")
	count(len(e.Unusable), "unusable")
	fmt.Fprintf(&b, "checkpoint: %s does not fit the model: %s", e.Source, strings.Join(counts, ", "))
	lines := func(kind string, n int, line func(i int) string) {
		for i := range min(n, mostListed) {
			fmt.Fprintf(&b, "\n\t%s %s", kind, line(i))
		}
		if n > mostListed {
			fmt.Fprintf(&b, "\n\t%s … and %d more", kind, n-mostListed)
		}
	}
	name := func(names []string) func(int) string {
		return func(i int) string { return printableName(names[i]) }
	}
	mismatch := func(m []Mismatch) func(int) string {
		return func(i int) string { return printableName(m[i].Name) + ": " + m[i].Reason }
	}
	lines("missing", len(e.Missing), name(e.Missing))
	lines("unused", len(e.Unused), name(e.Unused))
	lines("misshapen", len(e.Misshapen), mismatch(e.Misshapen))
	lines("unusable", len(e.Unusable), mismatch(e.Unusable))
	if hint := e.hint(); hint != "" {
		fmt.Fprintf(&b, "\n\t(%s)", hint)
	}
	return b.String()
}

// printableName is a name without quotes, if it is an ordinary one.
func printableName(name string) string {
	if q := short(name); len(q) != len(name)+2 {
		return q
	}
	return name
}

// hint says so if all missing names are there under a prefix, or the other way
// round.
func (e *LoadError) hint() string {
	if prefix := commonPrefix(e.Missing, e.Unused); prefix != "" {
		return fmt.Sprintf("the missing names are there with %q before them", prefix)
	}
	if prefix := commonPrefix(e.Unused, e.Missing); prefix != "" {
		return fmt.Sprintf("the unused names are wanted with %q before them", prefix)
	}
	return ""
}

// commonPrefix returns a string that makes names in long of all names in short
// when put before them, or "". Both are sorted.
func commonPrefix(short, long []string) string {
	if len(short) == 0 {
		return ""
	}
	for _, name := range long {
		prefix, ok := strings.CutSuffix(name, short[0])
		if !ok || prefix == "" {
			continue
		}
		if !slices.ContainsFunc(short, func(name string) bool {
			_, found := slices.BinarySearch(long, prefix+name)
			return !found
		}) {
			return prefix
		}
	}
	return ""
}

// A pair is a parameter and the tensor that it is loaded from.
type pair struct {
	param *tensor.Tensor
	name  string
	entry *Entry
}

// Load loads the parameters of m from src.
func (l *Loader) Load(m Model, src Source) error {
	pairs, errs := l.match(m, src)
	for i, err := range each(pairs, l.check) {
		if err != nil {
			errs.Unusable = append(errs.Unusable, Mismatch{pairs[i].name, err.Error()})
		}
	}
	if errs.sorted() {
		return errs
	}
	for i, err := range each(pairs, pair.load) {
		if err != nil {
			return fmt.Errorf("checkpoint: %s: tensor %s: %w", describe(src), short(pairs[i].name), err)
		}
	}
	return nil
}

// each calls f for all pairs, on all cores.
func each(pairs []pair, f func(pair) error) []error {
	errs := make([]error, len(pairs))
	par.Do(len(pairs), 1, par.Func(func(lo, hi int) {
		for i := lo; i < hi; i++ {
			errs[i] = f(pairs[i])
		}
	}))
	return errs
}

// sorted sorts the lists and reports whether there is anything in them.
func (e *LoadError) sorted() bool {
	byName := func(a, b Mismatch) int { return cmp.Compare(a.Name, b.Name) }
	slices.Sort(e.Missing)
	slices.Sort(e.Unused)
	slices.SortFunc(e.Misshapen, byName)
	slices.SortFunc(e.Unusable, byName)
	return len(e.Missing)+len(e.Unused)+len(e.Misshapen)+len(e.Unusable) > 0
}

// match finds the tensor of every parameter.
func (l *Loader) match(m Model, src Source) ([]pair, *LoadError) {
	errs := &LoadError{Source: describe(src)}
	names := map[*tensor.Tensor][]string{}
	var params []*tensor.Tensor
	used := map[string]bool{}
	for name, p := range m.Params() {
		if l.Rename != nil {
			name = l.Rename(name)
		}
		if names[p] == nil {
			params = append(params, p)
		}
		names[p] = append(names[p], name)
		used[name] = true
	}
	var pairs []pair
	for _, p := range params {
		pairs = append(pairs, l.find(p, names[p], src, errs)...)
	}
	for name := range src.Names() {
		if !used[name] && !allows(l.Unused, name) {
			errs.Unused = append(errs.Unused, name)
		}
	}
	return pairs, errs
}

// allows reports whether an exception is made for a name.
func allows(exception func(string) bool, name string) bool {
	return exception != nil && exception(name)
}

// find returns the tensor for a parameter that is known under the given names, or
// adds to errs that there is none.
func (l *Loader) find(p *tensor.Tensor, names []string, src Source, errs *LoadError) []pair {
	var found []pair
	for _, name := range names {
		e, ok := src.Lookup(name)
		if !ok {
			continue
		}
		if !slices.Equal(e.shape, p.Shape()) && !(e.n == p.Len() && allows(l.Reshape, name)) {
			errs.Misshapen = append(errs.Misshapen, Mismatch{name, fmt.Sprintf("%v, want %v", e.shape, p.Shape())})
			return nil
		}
		if len(found) > 0 && !equal(found[0].entry, e) {
			errs.Unusable = append(errs.Unusable, Mismatch{name, fmt.Sprintf("differs from %s, of which it should be a copy", printableName(found[0].name))})
			return nil
		}
		found = append(found, pair{p, name, e})
	}
	if len(found) == 0 {
		if !slices.ContainsFunc(names, func(name string) bool { return allows(l.Missing, name) }) {
			errs.Missing = append(errs.Missing, names[0])
		}
		return nil
	}
	return found[:1]
}

// check returns an error if the values of a tensor cannot be used.
func (l *Loader) check(p pair) error {
	err := p.entry.check()
	if err == nil && l.Finite {
		err = finite(p.entry)
	}
	return err
}

// load copies the values. After check, it only fails if the file breaks under it.
func (p pair) load() error {
	if plain(p.param) {
		return p.entry.ReadFloat32s(p.param.Data(), 0)
	}
	values, err := p.entry.Float32s()
	if err != nil {
		return err
	}
	return guard(func() { p.param.SetFloat32s(values) })
}

// equal reports whether two entries have the same shape and the same bits. Errors
// count as different.
func equal(a, b *Entry) bool {
	if a.dtype != b.dtype || !slices.Equal(a.shape, b.shape) {
		return false
	}
	if a.store != nil && a.store == b.store && a.offset == b.offset && slices.Equal(a.strides, b.strides) {
		return true
	}
	x, err1 := a.Bytes()
	y, err2 := b.Bytes()
	if err1 != nil || err2 != nil {
		return false
	}
	same := true
	err := guard(func() {
		for from := 0; same && from < len(x); from += comparedAtOnce {
			to := min(from+comparedAtOnce, len(x))
			same = bytes.Equal(x[from:to], y[from:to])
			a.discard(x[from:to])
			b.discard(y[from:to])
		}
	})
	return err == nil && same
}

// comparedAtOnce is the number of bytes that are compared before the memory of the file is
// given back.
const comparedAtOnce = 4 << 20

// Finite returns an error that names the first element of src, in the order of the
// names, that is NaN or infinite, and nil if there is none. Tensors of types that
// have no such values are passed over.
func Finite(src Source) error {
	for name := range src.Names() {
		e, ok := src.Lookup(name)
		if !ok {
			continue
		}
		if err := finite(e); err != nil {
			return fmt.Errorf("checkpoint: %s: tensor %s: %w", describe(src), short(name), err)
		}
	}
	return nil
}

// finite returns an error for the first element that is NaN or infinite.
func finite(e *Entry) error {
	switch e.dtype {
	case F64, F32, F16, BF16, F8E5M2, F8E4M3, F8E8M0, F8E4M3FNUZ, F8E5M2FNUZ, Q8_0, Q4_0, Q4_1, Q6_K:
	default:
		return nil
	}
	buf := make([]float32, min(e.n, 1<<14))
	for from := 0; from < e.n; from += len(buf) {
		buf = buf[:min(len(buf), e.n-from)]
		if err := e.ReadFloat32s(buf, from); err != nil {
			return err
		}
		if err := checkFinite(e, from, buf); err != nil {
			return err
		}
	}
	return nil
}

// checkFinite returns an error for the first of values, which begin at the given element
// of e, that is NaN or infinite.
func checkFinite(e *Entry, from int, values []float32) error {
	for i, v := range values {
		if d := v - v; d != 0 {
			return fmt.Errorf("element %v is %v, want finite numbers", position(e.shape, from+i), v)
		}
	}
	return nil
}

// position returns the indices of element i in the row-major order.
func position(shape []int, i int) []int {
	index := make([]int, len(shape))
	for d := len(shape) - 1; d >= 0; d-- {
		index[d] = i % shape[d]
		i /= shape[d]
	}
	return index
}
