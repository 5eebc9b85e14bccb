package golden

import (
	"errors"
	"math"
	"path/filepath"
	"slices"

	"github.com/seqmix/seqmix/internal/goldentest"
	"github.com/seqmix/seqmix/internal/refrand"
	"github.com/seqmix/seqmix/tensor"
	"github.com/seqmix/seqmix/train"
	"github.com/seqmix/seqmix/zoology"
)

var _ = register(map[string]computation{
	"zoology-data/mqar":          mqarData,
	"zoology-data/compositional": taskData[zoology.CompositionalMQAR],
	"zoology-data/forgetting":    taskData[zoology.ForgettingMQAR],
	"zoology-data/continuous":    continuousData,
	"zoology-data/parity":        taskData[zoology.Parity],
	"zoology-data/majority":      taskData[zoology.Majority],
	"zoology-data/vocab":         taskData[zoology.VocabMajority],
	"zoology-data/cumulative":    cumulativeData,
})

// dataConfig is what the cases say beside the task.
type dataConfig struct {
	Task      string `json:"task"`
	Examples  int    `json:"num_examples"`
	NumPySeed uint64 `json:"numpy_seed"`
	TorchSeed uint64 `json:"torch_seed"`
}

func (c dataConfig) source() zoology.Source { return refrand.NewZoology(c.NumPySeed, c.TorchSeed) }

// taskData makes the data of a task again, whose configuration is that of the case.
func taskData[T zoology.Task](c *goldentest.Case) (results, error) {
	var task T
	var cfg dataConfig
	if err := errors.Join(c.Config(&task), c.Config(&cfg)); err != nil {
		return nil, err
	}
	return generated(task.Generate(cfg.Examples, cfg.source()))
}

func generated(b train.Batch, err error) (results, error) {
	if err != nil {
		return nil, err
	}
	return results{"out.inputs": floats(b.IDs), "out.labels": floats(b.Labels)}, nil
}

func floats(n []int) []float32 {
	v := make([]float32, len(n))
	for i, x := range n {
		v[i] = float32(x)
	}
	return v
}

func mqarData(c *goldentest.Case) (results, error) {
	var cfg dataConfig
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	switch {
	case c.Has("out.slot_freq"):
		return slotStatistics(c)
	case cfg.Examples == 0:
		return docstringExample(c)
	}
	return taskData[zoology.MQAR](c)
}

// slotStatistics counts which key is asked for in which slot, and computes the laws of the
// first two.
func slotStatistics(c *goldentest.Case) (results, error) {
	var task zoology.MQAR
	var cfg dataConfig
	if err := errors.Join(c.Config(&task), c.Config(&cfg)); err != nil {
		return nil, err
	}
	task = task.WithDefaults()
	task.RandomNonQueries = new(false) // so that queries are seen
	b, err := task.Generate(cfg.Examples, cfg.source())
	if err != nil {
		return nil, err
	}
	context := 2 * task.Pairs
	slots := (task.SeqLen - context) / 2
	count := make([]float32, task.Pairs*slots)
	for i := range cfg.Examples {
		ids := b.IDs[i*b.Len : (i+1)*b.Len]
		for k := range task.Pairs {
			count[k*slots+slices.Index(ids[context:], ids[2*k])/2]++
		}
	}
	tensor.Scale(count, 1/float32(cfg.Examples), count)
	p := slotLaw(slots, task.PowerA)
	first, second := make([]float32, slots), make([]float32, slots)
	for g := range p {
		sum := 0.0
		for other := range p {
			if other != g {
				sum += p[other] * p[g] / (1 - p[other])
			}
		}
		first[g], second[g] = float32(p[g]), float32(sum)
	}
	return results{"out.slot_freq": count, "out.slot_p": first, "out.slot_p_second": second}, nil
}

// slotLaw returns the probabilities of the slots.
func slotLaw(n int, a float64) []float64 {
	p, sum := make([]float64, n), 0.0
	for g := range p {
		p[g] = math.Pow(float64(g+1), a-1)
		sum += p[g]
	}
	for g := range p {
		p[g] /= sum
	}
	return p
}

// docstringExample makes the one example of the reference's documentation, which was not
// drawn: its keys, values and slots are read off, and everything else must follow from
// them.
func docstringExample(c *goldentest.Case) (results, error) {
	var task zoology.MQAR
	if err := c.Config(&task); err != nil {
		return nil, err
	}
	task = task.WithDefaults()
	task.RandomNonQueries = new(false)
	ids, labels := integers(c.Tensor("out.inputs")), integers(c.Tensor("out.labels"))
	context := 2 * task.Pairs
	law := slotLaw((task.SeqLen-context)/2, task.PowerA)
	var s script
	keys, values := make([]int, task.Pairs), make([]int, task.Pairs)
	for k := range task.Pairs {
		keys[k], values[k] = ids[2*k]-1, ids[2*k+1]-task.VocabSize/2
		slot := slices.Index(labels, ids[2*k+1])/2 - task.Pairs
		below := 0.0
		for _, p := range law[:slot] {
			below += p
		}
		s.numbers = append(s.numbers, below+law[slot]/2)
	}
	s.rows = [][]int{keys, values}
	return generated(task.Generate(1, &s))
}

// script is a source of what was chosen beforehand.
type script struct {
	zoology.Source // for what is not chosen: nil
	rows           [][]int
	numbers        []float64
}

func (s *script) Distinct(dst []int, _ int) {
	copy(dst, s.rows[0])
	s.rows = s.rows[1:]
}

func (s *script) Float64() float64 {
	x := s.numbers[0]
	s.numbers = s.numbers[1:]
	return x
}

// continuousData makes vectors. Their embeddings stand in one case for all.
func continuousData(c *goldentest.Case) (results, error) {
	var task zoology.ContinuousMQAR
	var cfg dataConfig
	if err := errors.Join(c.Config(&task), c.Config(&cfg)); err != nil {
		return nil, err
	}
	table, err := sharedEmbeddings(c)
	if err != nil {
		return nil, err
	}
	task.Embeddings = table
	inputs, labels, err := task.Generate(cfg.Examples, refrand.NewTorch(cfg.TorchSeed))
	return results{"out.inputs": inputs.Data, "out.labels": floats(labels)}, err
}

func sharedEmbeddings(c *goldentest.Case) (tensor.Mat, error) {
	const name = "in.embeddings"
	if c.Has(name) {
		return tensor.MatOf(c.Tensor(name), c.Shape(name)[0], c.Shape(name)[1]), nil
	}
	f, err := goldentest.Load(filepath.Clean(c.Dir()))
	if err != nil {
		return tensor.Mat{}, err
	}
	for _, other := range f.Cases {
		if other.Name == "continuous_mqar" && other.Has(name) {
			return sharedEmbeddings(other)
		}
	}
	return tensor.Mat{}, errors.New("no case with embeddings")
}

// cumulativeData makes data of the two tasks that label every bit. The reference does not
// read how much of the second is asked for, but always takes its defaults: what the case
// holds tells.
func cumulativeData(c *goldentest.Case) (results, error) {
	var cfg dataConfig
	if err := c.Config(&cfg); err != nil {
		return nil, err
	}
	if cfg.Task == "cumulative_parity" {
		return taskData[zoology.CumulativeParity](c)
	}
	shape := c.Shape("out.inputs")
	return generated(zoology.CumulativeMajority{SeqLen: shape[1]}.Generate(shape[0], cfg.source()))
}
