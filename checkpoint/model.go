package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tensor"
)

// ModelOptions say how a language model is loaded. The zero value loads weights in the
// format of the file, ready to be used.
type ModelOptions struct {
	// Weights is the format of the weights, the matrices that only matrix products
	// touch. nil stands for that of the file where package tensor has it, which is so
	// of F32, BF16 and Q8_0. The other types with blocks become int8, since the four bits
	// of tensor.Int4 stand for other numbers, and all else float32. That is exact for Q4_0
	// and rounds Q4_1 and Q6_K a little. All other parameters are float32.
	Weights *tensor.DType

	// Unpacked leaves the weights in row-major order, as for training. The default is
	// the order in which the kernels read them, see [lm.Model.Pack].
	Unpacked bool

	// Config is the path of the configuration. The default is a config.json or params.json
	// beside the weights.
	Config string

	// Finite makes a NaN or an infinity among the values an error.
	Finite bool

	// Progress, if not nil, is called again and again while weights are loaded, with the
	// bytes of the file that were read and all there are to read. Calls come one at a
	// time, from any goroutine.
	Progress func(read, all int)
}

// A ModelFile is a language model, or an encoder, that is ready to be loaded: what it is
// was read, and every tensor has found its place, but no weight was touched.
type ModelFile struct {
	// Architecture says what the model is, as in "Mamba-2".
	Architecture string

	// Encoder says that it is not a language model but an encoder, which LoadEncoder
	// loads.
	Encoder bool

	Layers     int // blocks
	Dim        int // width of the vectors between them
	Vocabulary int // tokens
	Rows       int // of the embedding, which may be more
	MaxLen     int // positions that the model can take; 0 for any
	Trained    int // positions that it was trained with, if the configuration says so
	Tied       bool

	Parameters  int // shared ones counted once
	FileBytes   int // of the tensors of the parameters in the file
	MemoryBytes int // of the parameters in memory, once they are loaded; at most, if Compact

	// Compact makes Load keep weights in float32 and bfloat16 in less memory, without loss,
	// from which tokens are generated faster: see [lm.Model.Compact]. It is set if they take
	// more than 64 MB, which caches do not hold, and may be changed before Load.
	Compact bool

	// Begin and End are the tokens that texts begin and end with, as far as the
	// configuration says so.
	Begin, End []int

	file    *File
	source  Source // the tensors of the file under the names that arch expects
	arch    architecture
	config  *config
	options ModelOptions
	network *network // until it is loaded
	pairs   []pair
	rename  func(string) string
}

// OpenModel opens a language model, to be loaded by [ModelFile.Load], or an encoder, to be
// loaded by [ModelFile.LoadEncoder]. path is a directory with a config.json, or one of the
// files of weights in such a directory. What the model is follows from model_type or, in older configurations, from the keys that are there:
//
//   - "mamba", "falcon_mamba" and "mamba2": Mamba, FalconMamba and Mamba-2 in the layout
//     of Hugging Face, and Codestral's params.json;
//   - "ssm_cfg": Mamba, Mamba-2 and Mamba-3 as state-spaces/mamba saves them, with MLPs and
//     attention layers if there are any;
//   - "jamba": Mamba and attention, without experts;
//   - "llama" and "mistral": the attention baselines;
//   - "gpt2" with "rms_norm": Based, and the attention baseline beside it;
//   - "hyenadna", and "layer" where it describes a Hyena: HyenaDNA as Hugging Face has it, and
//     the models of safari and hyena-dna as they were trained, a Lightning checkpoint included;
//   - "stripedhyena": StripedHyena and Evo;
//   - "hcl_layer_idxs": Evo 2, of which the rows of queries, keys and values are sorted while
//     they are loaded, so that a model that is saved again is not in that layout;
//   - "m2_bert", and "bert" with "long_conv_l_max": M2-BERT, an encoder.
//
// It can also be a GGUF file with a model of the architectures mamba, mamba2 or llama, or
// a file of llama2.c; these need no configuration.
//
// Sizes are those of the tensors; the configuration has to agree where it counts. If
// tensors do not fit, are missing, or are not used, the error is a *[LoadError] that lists
// all of them.
//
// Models are loaded as they are. That their numbers make sense is checked only with
// [ModelOptions.Finite].
func OpenModel(path string, o ModelOptions) (*ModelFile, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	m := &ModelFile{file: f, options: o}
	if err := m.open(path); err != nil {
		f.Close()
		return nil, err
	}
	return m, nil
}

// LoadModel opens a language model, loads it and closes it again.
func LoadModel(path string, o ModelOptions) (*lm.Model, error) {
	f, err := OpenModel(path, o)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Load()
}

// configNames are the names of the file beside the weights that says what they are.
var configNames = []string{"config.json", "params.json"}

// findConfig reads the configuration in a directory, or beside a file.
func findConfig(path string) (*config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	dir := path
	if !info.IsDir() {
		dir = filepath.Dir(path)
	}
	for _, name := range configNames {
		c, err := readConfig(filepath.Join(dir, name))
		if !errors.Is(err, os.ErrNotExist) {
			return c, err
		}
	}
	return nil, &FormatError{File: dir, Reason: fmt.Sprintf("a directory without a configuration, want %s", strings.Join(configNames, " or "))}
}

// open finds out what the file is and how it is loaded.
func (m *ModelFile) open(path string) error {
	if err := m.identify(path); err != nil {
		return err
	}
	m.Architecture = m.arch.name
	if err := m.prepare(); err != nil {
		return err
	}
	m.describe()
	m.Trained = m.config.intOr(0, "n_positions", "max_position_embeddings", "max_seq_len", "max_seqlen")
	if err := m.config.err(); err != nil {
		return err
	}
	return m.readGeneration()
}

// readGeneration takes from a generation_config.json, if there is one beside the
// configuration, the tokens that end a text: models that were taught to converse have
// more of them than their configuration says.
func (m *ModelFile) readGeneration() error {
	dir, name := filepath.Split(m.config.file)
	if name != configNames[0] {
		return nil
	}
	c, err := readConfig(filepath.Join(dir, "generation_config.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if end := c.ints("eos_token_id"); end != nil {
		m.End = end
	}
	return c.err()
}

// identify finds out what the model is. Some files say it themselves.
func (m *ModelFile) identify(path string) (err error) {
	f := m.file
	switch {
	case f.values != nil:
		m.arch, m.config, m.source, err = ggufModel(f)
		return err
	case f.llama2c != nil:
		m.arch, m.config, m.source = architecture{"Llama", buildLlamaInterleaved}, f.llama2c, f
		return nil
	}
	if m.options.Config != "" {
		m.config, err = readConfig(m.options.Config)
	} else {
		m.config, err = findConfig(path)
	}
	if err != nil {
		return err
	}
	m.source = f
	m.arch, err = architectureOf(m.config, f)
	return err
}

// prepare makes the model, without memory for its weights, and finds the tensor of every
// parameter.
func (m *ModelFile) prepare() error {
	n, err := m.arch.build(m.config, m.source)
	if err := errors.Join(m.config.err(), err); err != nil {
		return m.explain(err)
	}
	if err := n.whole().Check(); err != nil {
		return m.explain(err)
	}
	pairs, errs := n.loader.match(n.whole(), n.tensors)
	for _, p := range pairs {
		if err := p.entry.check(); err != nil {
			errs.Unusable = append(errs.Unusable, Mismatch{p.name, err.Error()})
		}
	}
	if errs.sorted() {
		return errs
	}
	m.network, m.pairs, m.rename = n, pairs, n.loader.Rename
	if m.rename == nil {
		m.rename = func(param string) string { return param }
	}
	return nil
}

// explain adds what was being read to an error that does not say so.
func (m *ModelFile) explain(err error) error {
	if _, ok := errors.AsType[*FormatError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*LoadError](err); ok {
		return err
	}
	return fmt.Errorf("checkpoint: %v as %s: %w", m.file, m.Architecture, err)
}

// describe fills in the fields that say what the model is.
func (m *ModelFile) describe() {
	floats := 0
	if e := m.network.encoder; e != nil {
		m.describeEncoder(e)
	} else {
		m.describeModel(m.network.model)
	}
	m.Parameters, _ = m.network.whole().Size()
	m.Begin, m.End = m.network.begin, m.network.end
	for _, p := range m.pairs {
		size, _ := byteSize(p.entry.dtype, p.entry.n)
		m.FileBytes += size
		if !p.param.IsWeight() {
			m.MemoryBytes += p.param.Bytes()
			continue
		}
		d := m.options.format(p.entry)
		size = p.param.BytesAs(d, !m.options.Unpacked)
		m.MemoryBytes += size
		if d == tensor.Float32 || d == tensor.BFloat16 {
			floats += size
		}
	}
	m.Compact = floats > compactFrom && !m.options.Unpacked
}

// compactFrom is the size of weights in float32 and bfloat16 from which they become compact:
// more than caches hold.
const compactFrom = 64 << 20

func (m *ModelFile) describeModel(model *lm.Model) {
	m.Layers, m.Dim, m.MaxLen = len(model.Layers), model.Dim(), model.MaxLen
	m.Rows = model.Embedding.Vocabulary()
	m.Vocabulary = model.Vocabulary
	if m.Vocabulary == 0 {
		m.Vocabulary = min(m.Rows, model.Head.Out())
	}
	m.Tied = model.Head.Weight == model.Embedding.Weight
}

// format returns the format of the weight that an entry becomes.
func (o *ModelOptions) format(e *Entry) tensor.DType {
	switch {
	case o.Weights != nil:
		return *o.Weights
	case e.dtype == BF16:
		return tensor.BFloat16
	case e.dtype.blocks():
		return tensor.Int8
	}
	return tensor.Float32
}

// String says in a line what the model is, what loading it does, and how much memory it
// takes.
func (m *ModelFile) String() string {
	vocabulary := fmt.Sprint(m.Vocabulary, " tokens")
	if m.Rows != m.Vocabulary {
		vocabulary += fmt.Sprintf(" in %d rows", m.Rows)
	}
	most := ""
	if m.Compact {
		most = "at most "
	}
	return fmt.Sprintf("%s of %d layers, %d wide, %s: %s parameters, %s as %s in %v, %s%s as %s in memory",
		m.Architecture, m.Layers, m.Dim, vocabulary, decimal(m.Parameters, ""),
		decimal(m.FileBytes, "B"), m.formats(func(p pair) string { return string(p.entry.dtype) }), m.file,
		most, decimal(m.MemoryBytes, "B"), m.formats(func(p pair) string {
			if !p.param.IsWeight() {
				return p.param.DType().String()
			}
			d := m.options.format(p.entry)
			if m.Compact && (d == tensor.Float32 || d == tensor.BFloat16) {
				return "compact " + d.String()
			}
			return d.String()
		}))
}

// formats lists the formats that the parameters have, that of the most elements first.
func (m *ModelFile) formats(of func(pair) string) string {
	count := map[string]int{}
	var names []string
	for _, p := range m.pairs {
		name := of(p)
		if count[name] == 0 {
			names = append(names, name)
		}
		count[name] += p.entry.n
	}
	slices.SortStableFunc(names, func(a, b string) int { return count[b] - count[a] })
	return strings.Join(names, " and ")
}

// decimal writes a number with the prefix of a thousand, a million or a billion.
func decimal(n int, unit string) string {
	v, prefixes := float64(n), []string{"", "k", "M", "G", "T"}
	for v >= 1000 && len(prefixes) > 1 {
		v, prefixes = v/1000, prefixes[1:]
	}
	text := fmt.Sprintf("%.3g", v)
	if v >= 100 {
		text = fmt.Sprintf("%.0f", v)
	}
	return strings.TrimSpace(text + " " + prefixes[0] + unit)
}

// Source returns the tensors of the file, under the names that they have there.
func (m *ModelFile) Source() Source { return m.file }

// Rename returns the name that a parameter of the model has in a checkpoint of this
// architecture, as in "backbone.layers.0.norm.weight" for "layers.0.norm.weight". With it
// as the last argument, [Save] writes a model under the names that it was loaded by.
func (m *ModelFile) Rename(param string) string { return m.rename(param) }

// Load loads the model. The model owns its memory, and the file can be closed.
//
// Weights are converted and packed piece by piece: at no time is there more in memory
// than MemoryBytes and a few pieces. A model is loaded anew by every call.
func (m *ModelFile) Load() (*lm.Model, error) {
	if m.Encoder {
		return nil, m.explain(errors.New("it is an encoder, not a language model"))
	}
	n, err := m.load()
	if err != nil {
		return nil, err
	}
	return n.model, nil
}

// load fills the network.
func (m *ModelFile) load() (*network, error) {
	if m.network == nil {
		if err := m.prepare(); err != nil {
			return nil, err
		}
	}
	n := m.network
	m.network = nil
	f := filler{format: m.options.format, packed: !m.options.Unpacked, compact: m.Compact, finite: m.options.Finite, progress: m.progress()}
	if err := f.fill(n.tensors, m.pairs); err != nil {
		return nil, err
	}
	if n.finish != nil {
		if err := n.finish(); err != nil {
			return nil, m.explain(err)
		}
	}
	return n, nil
}

// progress returns what the filler calls with the bytes of each piece.
func (m *ModelFile) progress() func(int) {
	if m.options.Progress == nil {
		return nil
	}
	read := 0
	return func(n int) {
		read += n
		m.options.Progress(read, m.FileBytes)
	}
}

// Close closes the file.
func (m *ModelFile) Close() error { return m.file.Close() }

// A network is what an architecture makes of a checkpoint: a model whose weights are
// still to be loaded, and how.
type network struct {
	model   *lm.Model
	encoder *lm.Encoder // in place of model
	tensors Source      // mostly the file itself, or Sub or Without of it
	loader  Loader

	// finish, if not nil, is called when the weights are loaded.
	finish func() error

	begin, end []int // tokens
}
