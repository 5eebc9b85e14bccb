package checkpoint

import (
	"fmt"
	"strings"
)

// An architecture makes a model of a configuration and the tensors that go with it.
//
// build takes from the configuration what no tensor shows. It returns errors of its own,
// or leaves them to the config. It need not check that the tensors fit: the caller
// matches all parameters and all tensors by their names.
type architecture struct {
	name  string
	build func(c *config, src Source) (*network, error)
}

// The architectures.
var (
	mambaOriginal = architecture{"Mamba", buildMambaOriginal}
	mambaHF       = architecture{"Mamba", buildMambaHF}
)

// architectureOf finds out what a checkpoint is.
func architectureOf(c *config, src Source) (architecture, error) {
	kind := c.stringOr("", "model_type")
	class := strings.Join(c.strings("architectures"), ", ")
	if err := c.err(); err != nil {
		return architecture{}, err
	}
	switch {
	case kind == "mamba":
		return mambaHF, nil
	case c.has("ssm_cfg") && kind == "":
		return mambaOriginal, nil
	}
	what := fmt.Sprintf("model_type %q", kind)
	if class != "" {
		what += fmt.Sprintf(" and architectures %q", class)
	}
	return architecture{}, &FormatError{File: c.file, Reason: fmt.Sprintf("has %s, want one of %s", what, supported)}
}

// supported lists the architectures, for messages.
const supported = "Mamba, Mamba-2 and Mamba-3 (state-spaces), mamba, mamba2, falcon_mamba, jamba, llama, mistral"
