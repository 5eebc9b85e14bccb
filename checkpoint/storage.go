package checkpoint

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// maxRepeated is the largest number of elements of a tensor that shows some
// elements of its storage more than once, as torch.Tensor.expand makes them.
const maxRepeated = 1 << 24

// A storageRef is a storage as a pickle refers to it: with the type that the
// reference gives to its bytes.
type storageRef struct {
	store *storage
	dtype DType
	n     int // elements
}

// entry returns the tensor with the given type, place and shape in the storage.
func (r *storageRef) entry(d DType, offset int64, shape, strides []int) (*Entry, error) {
	size := d.Bits() / 8
	if len(shape) != len(strides) {
		return nil, fmt.Errorf("shape %v and strides %v differ in length", shape, strides)
	}
	n, ok := elements(shape)
	if !ok {
		return nil, fmt.Errorf("shape %v has more elements than there are numbers", shape)
	}
	have := r.store.size / size
	last, ok := lastElement(offset, shape, strides)
	if !ok || n > 0 && last >= uint64(have) || uint64(offset) > uint64(have) {
		return nil, fmt.Errorf("offset %d, shape %v and strides %v reach beyond the storage of %d elements", offset, shape, strides, have)
	}
	e := &Entry{dtype: d, shape: shape, n: n, store: r.store, offset: int(offset) * size}
	if n > 1 && !contiguous(shape, strides) {
		if n > max(have, maxRepeated) {
			return nil, fmt.Errorf("shape %v and strides %v make %d elements of a storage of %d", shape, strides, n, have)
		}
		e.strides = strides
	}
	return e, nil
}

// lastElement returns the index in its storage of the last element of a tensor
// that has one, or false if that overflows or the offset is negative.
func lastElement(offset int64, shape, strides []int) (uint64, bool) {
	if offset < 0 {
		return 0, false
	}
	last := uint64(offset)
	for i, d := range shape {
		if d == 0 {
			return uint64(offset), true
		}
		hi, lo := bits.Mul64(uint64(d-1), uint64(strides[i]))
		sum, carry := bits.Add64(last, lo, 0)
		if hi != 0 || carry != 0 {
			return 0, false
		}
		last = sum
	}
	return last, true
}

// contiguous reports whether elements follow each other in row-major order.
func contiguous(shape, strides []int) bool {
	next := 1
	for i := len(shape) - 1; i >= 0; i-- {
		if shape[i] != 1 && strides[i] != next {
			return false
		}
		next *= shape[i]
	}
	return true
}

// storages resolves the persistent ids of a PyTorch file, which name a storage:
//
//	("storage", class, key, location, number of elements)
type storages struct {
	member func(key string) (*storage, error)
	byKey  map[string]*storage
}

func (s *storages) resolve(id any) (any, error) {
	t, ok := id.(Tuple)
	if !ok || len(t) != 5 || t[0] != any("storage") {
		return nil, errors.New(`the persistent id is not ("storage", class, key, location, size)`)
	}
	class, ok1 := t[1].(*Global)
	key, ok2 := t[2].(string)
	n, ok3 := t[4].(int64)
	if !ok1 || !ok2 || !ok3 {
		return nil, fmt.Errorf("the persistent id has %s, %s and %s for class, key and size", kind(t[1]), kind(t[2]), kind(t[4]))
	}
	d, ok := storageTypes[class.Name]
	if class.Name == "UntypedStorage" {
		d, ok = U8, true
	}
	if !ok || !slices.Contains([]string{"torch", "torch.storage"}, class.Module) {
		return nil, fmt.Errorf("%s is not a class of storages", class)
	}
	store, err := s.storage(key)
	if err != nil {
		return nil, err
	}
	size := uint64(d.Bits() / 8)
	if n < 0 || uint64(n) > maxInt/size || uint64(n)*size != uint64(store.size) {
		return nil, fmt.Errorf("storage %s is said to have %d elements of %s, but its data has %d bytes", short(key), n, d, store.size)
	}
	return &storageRef{store, d, int(n)}, nil
}

func (s *storages) storage(key string) (*storage, error) {
	if store, ok := s.byKey[key]; ok {
		return store, nil
	}
	store, err := s.member(key)
	if err != nil {
		return nil, err
	}
	s.byKey[key] = store
	return store, nil
}
