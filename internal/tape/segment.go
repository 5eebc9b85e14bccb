package tape

import "github.com/seqmix/seqmix"

// Part returns part i of a state, which may be nil.
func Part(s *seqmix.State, i int) *seqmix.State {
	if s == nil {
		return nil
	}
	return s.Parts[i]
}
