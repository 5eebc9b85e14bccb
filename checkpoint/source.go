package checkpoint

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/seqmix/seqmix/tensor"
)

// A Source is a set of tensors with names: a [File], a part of one, or the
// parameters of a model ([FromModel]).
type Source interface {
	// Names yields the names in a fixed order.
	Names() iter.Seq[string]

	// Lookup returns the tensor of this name.
	Lookup(name string) (*Entry, bool)
}

// Sub returns the tensors of src whose names begin with prefix, under the names
// without it.
func Sub(src Source, prefix string) Source { return &sub{src, prefix} }

type sub struct {
	src    Source
	prefix string
}

func (s *sub) Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for name := range s.src.Names() {
			if rest, ok := strings.CutPrefix(name, s.prefix); ok && !yield(rest) {
				return
			}
		}
	}
}

func (s *sub) Lookup(name string) (*Entry, bool) { return s.src.Lookup(s.prefix + name) }

func (s *sub) String() string { return describe(s.src) }

// Without returns src without the tensors for whose names drop is true.
func Without(src Source, drop func(name string) bool) Source { return &without{src, drop} }

type without struct {
	src  Source
	drop func(string) bool
}

func (s *without) Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for name := range s.src.Names() {
			if !s.drop(name) && !yield(name) {
				return
			}
		}
	}
}

func (s *without) Lookup(name string) (*Entry, bool) {
	if s.drop(name) {
		return nil, false
	}
	return s.src.Lookup(name)
}

func (s *without) String() string { return describe(s.src) }

// describe names a source in messages.
func describe(src Source) string {
	if s, ok := src.(fmt.Stringer); ok {
		return s.String()
	}
	return "the checkpoint"
}

// A Model is what can be loaded and saved: anything with named parameters. Every
// seqmix.Mixer is one.
type Model interface {
	Params() iter.Seq2[string, *tensor.Tensor]
}

// FromModel returns the parameters of m as a Source that shares their memory.
// rename, if not nil, gives each its name there. A tensor that m yields more than
// once, as tied weights are, is in the Source under the first of its names. It is
// an error if two tensors have the same name.
func FromModel(m Model, rename func(string) string) (Source, error) {
	t := table{entries: map[string]*Entry{}, title: fmt.Sprintf("a %T", m)}
	seen := map[*tensor.Tensor]bool{}
	for name, p := range m.Params() {
		if rename != nil {
			name = rename(name)
		}
		if seen[p] {
			continue
		}
		seen[p] = true
		if !t.add(name, entryOf(p)) {
			return nil, fmt.Errorf("checkpoint: %s has two parameters called %s", t.title, short(name))
		}
	}
	return &t, nil
}

// A table is a Source in memory.
type table struct {
	entries map[string]*Entry
	names   []string
	title   string
}

// add adds an entry, unless there is one of this name.
func (t *table) add(name string, e *Entry) bool {
	if _, ok := t.entries[name]; ok {
		return false
	}
	t.entries[name] = e
	t.names = append(t.names, name)
	return true
}

func (t *table) Names() iter.Seq[string] { return slices.Values(t.names) }

func (t *table) Lookup(name string) (*Entry, bool) {
	e, ok := t.entries[name]
	return e, ok
}

func (t *table) String() string { return t.title }
