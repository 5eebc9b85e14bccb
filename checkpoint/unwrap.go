package checkpoint

// unwrap makes the tensors of the state dict in a PyTorch file those of the File:
// see Open.
func (f *File) unwrap() error {
	d, ok := f.root.(*Dict)
	if !ok {
		return nil
	}
	for range 8 {
		inner := stateDict(d)
		if inner == nil {
			break
		}
		d = inner
	}
	if d == f.root {
		return nil
	}
	t := table{entries: map[string]*Entry{}, title: f.title}
	if err := flatten(&t, d, ""); err != nil {
		return &FormatError{File: f.title, Field: "data.pkl", Reason: err.Error()}
	}
	f.table = t
	return nil
}

// stateDict returns the dict in d that is more of a state dict than d itself, or
// nil if there is none.
func stateDict(d *Dict) *Dict {
	for _, key := range []string{"state_dict", "model_state_dict"} {
		if inner := withTensors(d, key); inner != nil {
			return inner
		}
	}
	var candidates []*Dict
	for i, v := range d.values {
		switch v := v.(type) {
		case *Entry:
			return nil
		case *Dict:
			if key, ok := d.keys[i].(string); ok && withTensors(d, key) != nil {
				candidates = append(candidates, v)
			}
		}
	}
	if len(candidates) == 1 {
		return candidates[0]
	}
	for _, key := range []string{"model", "module", "state"} {
		if inner := withTensors(d, key); inner != nil {
			return inner
		}
	}
	return nil
}

// withTensors returns the dict under a key of d if tensors are in it, at any depth
// of dicts.
func withTensors(d *Dict, key string) *Dict {
	v, _ := d.Get(key)
	inner, ok := v.(*Dict)
	if !ok {
		return nil
	}
	for i, v := range inner.values {
		if _, ok := v.(*Entry); ok {
			return inner
		}
		if key, ok := inner.keys[i].(string); ok && withTensors(inner, key) != nil {
			return inner
		}
	}
	return nil
}
