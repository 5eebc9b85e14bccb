package nn

import "github.com/seqmix/seqmix/internal/paramlist"

// weightAndBias names the two parameters of a linear layer that is called name.
func (l *Linear) weightAndBias(name string) []paramlist.Named {
	return []paramlist.Named{paramlist.Of(name+".weight", l.Weight), paramlist.Of(name+".bias", l.Bias)}
}
