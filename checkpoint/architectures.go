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

// architectureOf finds out what a checkpoint is.
func architectureOf(c *config, src Source) (architecture, error) {
	kind := c.stringOr("", "model_type")
	class := strings.Join(c.strings("architectures"), ", ")
	layer := c.sub("ssm_cfg").stringOr("Mamba1", "layer")
	if err := c.err(); err != nil {
		return architecture{}, err
	}
	switch {
	case kind == "mamba2", kind == "mamba" && c.has("n_groups"): // the latter is Codestral's
		return architecture{"Mamba-2", buildMamba}, nil
	case kind == "mamba":
		return architecture{"Mamba", buildMamba}, nil
	case kind == "falcon_mamba":
		return architecture{"FalconMamba", buildMamba}, nil
	case kind == "jamba":
		return architecture{"Jamba", buildJamba}, nil
	case kind == "gpt2" && c.boolOr(false, "rms_norm"):
		return architecture{"Based", buildBased}, nil
	case kind == "hyenadna":
		return architecture{"HyenaDNA", buildHyenaDNA}, nil
	case kind == "" && c.has("layer"):
		return architecture{"Hyena", buildSafari}, nil
	case kind == "stripedhyena":
		return architecture{"StripedHyena", buildStriped}, nil
	case kind == "" && c.has("hcl_layer_idxs"):
		return architecture{"Evo 2", buildStriped}, nil
	case kind == "m2_bert", kind == "bert" && c.has("long_conv_l_max"):
		return architecture{"M2-BERT", buildM2BERT}, nil
	case kind == "llama":
		return architecture{"Llama", buildLlama}, nil
	case kind == "mistral":
		return architecture{"Mistral", buildLlama}, nil
	case kind == "" && c.has("ssm_cfg") && layer == "Mamba1":
		return architecture{"Mamba", buildMamba}, nil
	case kind == "" && c.has("ssm_cfg") && layer == "Mamba2":
		return architecture{"Mamba-2", buildMamba}, nil
	case kind == "" && c.has("ssm_cfg") && layer == "Mamba3":
		return architecture{"Mamba-3", buildMamba}, nil
	}
	return architecture{}, &FormatError{File: c.file, Reason: fmt.Sprintf("has %s, want one of %s", kindOf(c, kind, class), supported)}
}

// kindOf says what an unknown configuration says that it is.
func kindOf(c *config, kind, class string) string {
	switch {
	case kind != "" && class != "":
		return fmt.Sprintf("model_type %s and architectures %s", short(kind), short(class))
	case kind != "":
		return "model_type " + short(kind)
	case class != "":
		return "architectures " + short(class)
	case c.has("ssm_cfg"):
		return "ssm_cfg with layer " + short(c.sub("ssm_cfg").stringOr("", "layer"))
	}
	return "neither model_type nor ssm_cfg"
}

// supported lists the architectures, for messages.
const supported = "mamba, mamba2, falcon_mamba, jamba, llama, mistral, gpt2 with rms_norm, hyenadna, stripedhyena, m2_bert, " +
	"or ssm_cfg with layer Mamba1, Mamba2 or Mamba3, or a layer of Hyena, or hcl_layer_idxs"
