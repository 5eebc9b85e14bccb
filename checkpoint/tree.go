package checkpoint

import (
	"errors"
	"fmt"
	"strconv"
)

// Bounds on the object of a PyTorch file when it is walked, where an object that
// is referred to twice counts twice.
const (
	maxDepth = 100
	maxNodes = 1 << 22
	maxNames = 1 << 28 // bytes in the names of all tensors
)

// children returns what an object contains, and a key by which the object is
// recognised when it is met again.
func children(v any) (key any, items [][]any) {
	switch v := v.(type) {
	case Tuple:
		if len(v) > 0 {
			return &v[0], [][]any{v}
		}
	case *List:
		return v, [][]any{v.Items}
	case *Dict:
		items = [][]any{v.values}
		if v.attrs != nil {
			items = append(items, []any{v.attrs})
		}
		return v, items
	case *Opaque:
		return v, [][]any{v.Args, {v.State}, v.Items}
	}
	return nil, nil
}

// checkTree checks that the object can be walked: it does not contain itself, is
// not too deep and, written out, not too large.
func checkTree(root any) error {
	const inProgress = -1
	sizes := map[any]int{}
	var walk func(v any, depth int) (int, error)
	walk = func(v any, depth int) (int, error) {
		if _, ok := v.(*storageRef); ok {
			return 0, errors.New("contains a storage that is not part of a tensor")
		}
		key, groups := children(v)
		if key == nil {
			return 1, nil
		}
		if n := sizes[key]; n == inProgress {
			return 0, errors.New("contains an object that contains itself")
		} else if n > 0 {
			return n, nil
		}
		if depth == maxDepth {
			return 0, fmt.Errorf("nests deeper than %d levels", maxDepth)
		}
		sizes[key] = inProgress
		size := 1
		for _, items := range groups {
			for _, item := range items {
				n, err := walk(item, depth+1)
				if err != nil {
					return 0, err
				}
				if size += n; size > maxNodes {
					return 0, fmt.Errorf("has more than %d objects in it", maxNodes)
				}
			}
		}
		sizes[key] = size
		return size, nil
	}
	_, err := walk(root, 0)
	return err
}

// flatten adds the tensors in v to t under the paths that lead to them.
func flatten(t *table, root any, prefix string) error {
	total := 0
	var walk func(v any, path string) error
	add := func(path string, step string, v any) error {
		if path != "" {
			step = path + "." + step
		}
		if total += len(step); total > maxNames {
			return fmt.Errorf("has more than %d bytes of names", maxNames)
		}
		return walk(v, step)
	}
	walk = func(v any, path string) error {
		switch v := v.(type) {
		case *Entry:
			if !t.add(path, v) {
				return fmt.Errorf("has two tensors called %s", short(path))
			}
		case *Dict:
			for i, key := range v.keys {
				if !holdsTensors(v.values[i]) {
					continue
				}
				if err := add(path, fmt.Sprint(key), v.values[i]); err != nil {
					return err
				}
			}
		case *List, Tuple:
			_, items := children(v)
			for _, items := range items {
				for i, item := range items {
					if !holdsTensors(item) {
						continue
					}
					if err := add(path, strconv.Itoa(i), item); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}
	return walk(root, prefix)
}

// holdsTensors reports whether there may be tensors in v.
func holdsTensors(v any) bool {
	switch v := v.(type) {
	case *Entry, *List, Tuple:
		return true
	case *Dict:
		return len(v.keys) > 0
	}
	return false
}
