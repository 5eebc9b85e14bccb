package checkpoint

import (
	"fmt"
	"strings"
)

// A FormatError says that a file is damaged, is not of the format it seems to be,
// or uses something that this package does not read.
type FormatError struct {
	File   string
	Tensor string // the tensor concerned, or ""
	Field  string // the part of the file or of the tensor's description, or ""
	Reason string // what is there, and what was expected
}

// Error returns the parts that are known, from the largest to the smallest.
func (e *FormatError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Tensor != "" {
		fmt.Fprintf(&b, ": tensor %s", short(e.Tensor))
	}
	if e.Field != "" {
		fmt.Fprintf(&b, ": %s", e.Field)
	}
	fmt.Fprintf(&b, ": %s", e.Reason)
	return b.String()
}

// short quotes a string that comes from a file, cut to a length fit for a message.
func short(s string) string {
	const most = 120
	if len(s) > most {
		return fmt.Sprintf("%.*q…", most, s)
	}
	return fmt.Sprintf("%q", s)
}
