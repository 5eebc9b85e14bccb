package checkpoint

import (
	"fmt"
	"iter"
)

// The objects of a PyTorch file, other than nil, bool, int64, *big.Int, float64,
// complex128, string, []byte, *Entry for tensors and DType for the likes of
// torch.float32.
type (
	// A Tuple is a Python tuple or a torch.Size.
	Tuple []any

	// A List is a Python list, or a set in the order in which it was written.
	List struct{ Items []any }

	// A Dict is a Python dict or OrderedDict.
	Dict struct {
		keys   []any
		values []any
		index  map[any]int
		attrs  *Dict
	}

	// An Opaque is an object of a class that this package does not build. It holds
	// what the file says about it; nothing of that was executed.
	Opaque struct {
		Class string // as in "_io.BytesIO"
		Args  Tuple  // of the constructor
		State any    // what would be set after the construction
		Items []any  // what would be added: elements, or keys and values in turn
	}

	// A Global is a class or function that is an object itself, saved by its name.
	Global struct {
		Module, Name string
		construct    func(u *unpickler, args Tuple) (any, error)
	}
)

// Len returns the number of items.
func (d *Dict) Len() int { return len(d.keys) }

// Get returns the value of a key, which is a string, an int64, a float64, a bool or
// nil.
func (d *Dict) Get(key any) (value any, ok bool) {
	if !hashable(key) {
		return nil, false
	}
	i, ok := d.index[key]
	if !ok {
		return nil, false
	}
	return d.values[i], true
}

// All yields the items in the order in which they were added.
func (d *Dict) All() iter.Seq2[any, any] {
	return func(yield func(any, any) bool) {
		for i, key := range d.keys {
			if !yield(key, d.values[i]) {
				return
			}
		}
	}
}

// Attr returns an attribute of the object, as the _metadata of a state dict.
func (d *Dict) Attr(name string) (value any, ok bool) {
	if d.attrs == nil {
		return nil, false
	}
	return d.attrs.Get(name)
}

// set adds an item or replaces its value.
func (d *Dict) set(key, value any) error {
	if !hashable(key) {
		return fmt.Errorf("a dict with a key of type %T, want a string or a number", key)
	}
	if i, ok := d.index[key]; ok {
		d.values[i] = value
		return nil
	}
	if d.index == nil {
		d.index = map[any]int{}
	}
	d.index[key] = len(d.keys)
	d.keys, d.values = append(d.keys, key), append(d.values, value)
	return nil
}

func hashable(key any) bool {
	switch key.(type) {
	case nil, bool, int64, float64, string:
		return true
	}
	return false
}
