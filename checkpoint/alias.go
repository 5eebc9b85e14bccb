package checkpoint

// canonical returns the tensors of src under the names that rename gives them; those that
// it calls "" are left out. A tensor that is there under several names that become one,
// as shared parameters are in files of PyTorch, must be the same under all of them.
func canonical(src Source, rename func(name string) string) (Source, error) {
	t := &table{entries: map[string]*Entry{}, title: describe(src)}
	for name := range src.Names() {
		to := rename(name)
		e, ok := src.Lookup(name)
		if to == "" || !ok || t.add(to, e) {
			continue
		}
		if !equal(t.entries[to], e) {
			return nil, &LoadError{Source: t.title, Unusable: []Mismatch{{fullName(src, name), "differs from " + printableName(fullName(src, to)) + ", of which it should be a copy"}}}
		}
	}
	return t, nil
}
