package ssm

import "github.com/seqmix/seqmix/tensor"

// MixBy computes whole sequences by one of the two faces of a linear time-invariant
// mixer, "recurrence" or "convolution".
func MixBy(face string, m any, dst, src tensor.Seq) {
	l := ltiOf(m)
	t := l.tables()
	switch {
	case face == "convolution":
		t.convolution(src.Len).Mix(dst, src)
	case t.backward != nil:
		l.mixBothWays(t, dst, src)
	default:
		l.recur(t.forward, dst, src)
	}
}

// Diagonal reports whether an S4 is computed in the coordinates of its modes.
func Diagonal(m any) bool {
	_, ok := ltiOf(m).tables().forward.(*modal)
	return ok
}

func ltiOf(m any) *lti {
	switch m := m.(type) {
	case *S4D:
		return &m.lti
	case *S4:
		return &m.lti
	case *Modal:
		return &m.lti
	}
	panic("not a linear time-invariant mixer")
}
