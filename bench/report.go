package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"
	"github.com/seqmix/seqmix/tensor"
)

// A report is all that a run found out.
type report struct {
	Date    time.Time
	Machine string
	Command string
	Load    string // of the machine before the run
	Threads int
	Rounds  int
	Prompt  int
	Tokens  int
	Limits  []limits
	Missing []string // peers that are not there, and why
	Results []result
	Kernels []kernelResult

	Convolutions []convResult
	Training     []trainResult

	Failures []string // of kernels
}

// machine describes the machine.
func machine() string {
	c := cpuid.CPU
	return fmt.Sprintf("%s (family %d, model %d), %d logical cores, %d kB of L2 a core, %d MB of L3; kernels: %s",
		c.BrandName, c.Family, c.Model, c.LogicalCores, c.Cache.L2>>10, c.Cache.L3>>20, tensor.CPU())
}

// load returns how many processes wanted a core in the last minute, or "" where the
// system does not tell.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}

// The marks between which a file is written anew: inference, and training, which can be
// measured for itself.
const (
	beginMark = "<!-- What follows is written by go run ./bench. -->\n"
	endMark   = "<!-- End of what is written by go run ./bench. -->\n"

	beginTraining = "<!-- What follows is written by go run ./bench -training. -->\n"
	endTraining   = "<!-- End of what is written by go run ./bench -training. -->\n"
)

// update writes the report to a file: in place of what is between the marks, if there is
// a file that has them. plots are the names of pictures, as the file sees them.
func (r *report) update(path string, plots []string) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := string(old)
	if text == "" {
		text = "# Benchmarks\n\n" + beginMark + endMark
	}
	if r.inference() {
		if text, err = replace(text, beginMark, endMark, func(w io.Writer) { r.write(w, plots) }); err != nil {
			return fmt.Errorf("%s %w", path, err)
		}
	}
	if len(r.Training) > 0 {
		if !strings.Contains(text, beginTraining) {
			text += "\n" + beginTraining + endTraining
		}
		if text, err = replace(text, beginTraining, endTraining, r.training); err != nil {
			return fmt.Errorf("%s %w", path, err)
		}
	}
	return os.WriteFile(path, []byte(text), 0o666)
}

// inference reports whether anything but training was measured.
func (r *report) inference() bool {
	return len(r.Training) == 0 || len(r.Results)+len(r.Convolutions)+len(r.Kernels)+len(r.Failures) > 0
}

// replace replaces what is between two marks.
func replace(text, begin, end string, write func(io.Writer)) (string, error) {
	before, rest, begun := strings.Cut(text, begin)
	_, after, ended := strings.Cut(rest, end)
	if !(begun && ended) {
		return "", fmt.Errorf("has no lines\n%s%sto write between", begin, end)
	}
	var b bytes.Buffer
	b.WriteString(before + begin)
	write(&b)
	b.WriteString(end + after)
	return b.String(), nil
}

// head writes what was measured, where, when and how.
func (r *report) head(w io.Writer) {
	fmt.Fprintf(w, "\n- Machine: %s; %d threads in use.\n- Date: %s.\n- Command: `%s`.\n", r.Machine, r.Threads, r.Date.Format("2006-01-02 15:04"), r.Command)
	if r.Load != "" {
		fmt.Fprintf(w, "- Load of the machine before the run: %s. Peers whose threads spin suffer from any.\n", r.Load)
	}
	fmt.Fprintf(w, "- Limits probed during the run: %s.\n", limitsText(r.Limits))
	for _, m := range r.Missing {
		fmt.Fprintf(w, "- Not measured: %s.\n", m)
	}
}

func (r *report) write(w io.Writer, plots []string) {
	r.head(w)
	for _, v := range versions(r.Results) {
		fmt.Fprintf(w, "- %s.\n", v)
	}
	fmt.Fprintln(w)
	for _, p := range plots {
		fmt.Fprintf(w, "![](%s)\n\n", p)
	}
	r.models(w)
	r.convolutions(w)
	r.kernels(w)
}

// limitsText returns the range of what was probed.
func limitsText(all []limits) string {
	if len(all) == 0 || all[0].FMA == 0 {
		return "none"
	}
	low, high := all[0], all[0]
	for _, l := range all {
		low, high = limits{min(low.FMA, l.FMA), min(low.Read, l.Read)}, high.max(l)
	}
	return fmt.Sprintf("%.0f to %.0f GFLOP/s of multiply-adds, %.1f to %.1f GB/s read from memory", low.FMA, high.FMA, low.Read, high.Read)
}

// models writes the table of each model.
func (r *report) models(w io.Writer) {
	if len(r.Results) == 0 {
		return
	}
	fmt.Fprintf(w, "## Mamba\n\nRandom weights, one sequence. Prefill reads %d tokens and computes the logits after the last; decode reads %d more, one by\n"+
		"one. Speeds are tokens a second, the best of all and (the median). The share of the limit is that of the matrix products of a\n"+
		"prompt in the peak of multiply-adds in float32, and that of the bytes of the weights, once for each token, in the bandwidth of\n"+
		"memory, both probed before and after each measurement: the median. There were %d rounds, in which everybody reads a prompt in\n"+
		"turn and then decodes %d times in turn; × is the speed of seqmix by that of the peer in the same turn: the median. Cold is the\n"+
		"time from the start of a process to the logits after its first token, with the file in memory. Peak is the most memory that a\n"+
		"process had; weights and state included. Deviation is that of the logits from those of the same rounded weights multiplied in\n"+
		"float32.\n", r.Prompt, r.Tokens, r.Rounds, decodesPerRound)
	var shape string
	var mine result
	for _, x := range r.Results {
		if x.Shape != shape {
			shape = x.Shape
			fmt.Fprintf(w, "\n### %s\n\n|  |  | MB | prefill | limit | × | decode | limit | × | cold, s | peak, MB | deviation |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n", shape)
		}
		if x.Who == ours {
			mine = x
		}
		fmt.Fprintln(w, row(x, mine))
	}
}

func row(x, mine result) string {
	if x.Failed != "" {
		return fmt.Sprintf("| %s | %s | %.0f | failed: %s |", x.Format, x.Who, float64(x.Bytes)/1e6, strings.ReplaceAll(x.Failed, "\n", " "))
	}
	times := func(mine, peer samples) string {
		if x.Who == ours {
			return ""
		}
		return fmt.Sprintf("%.2f", mine.times(peer))
	}
	who := x.Who
	if x.How != "" {
		who += ", " + x.How
	}
	return fmt.Sprintf("| %s | %s | %.0f | %s | %s | %s | %s | %s | %s | %.2f | %.0f | %.1e |", x.Format, who, float64(x.Bytes)/1e6,
		speeds(x.Prefill), percent(x.Prefill.share()), times(mine.Prefill, x.Prefill),
		speeds(x.Decode), percent(x.Decode.share()), times(mine.Decode, x.Decode),
		x.Cold.Seconds(), float64(x.Peak)/1e6, x.Deviation)
}

func speeds(s samples) string { return fmt.Sprintf("%.4g (%.4g)", s.best(), s.median()) }

// percent returns a share, or nothing if it is not known.
func percent(share float64) string {
	if share == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}

// convolutions writes the table of long convolutions.
func (r *report) convolutions(w io.Writer) {
	if len(r.Convolutions) == 0 {
		return
	}
	fmt.Fprintf(w, "\n## Long convolutions\n\nCausal, %d channels, with filters as long as the sequence, of which the spectra are kept: milliseconds, the best and (the\n"+
		"median) of %d rounds, each the best of five. The share of the limit is that of the textbook count of operations, 10·n·log₂n + 6n for\n"+
		"each channel, in the peak of multiply-adds, which a transform, mostly additions, cannot reach. × compares the best.\n\n"+
		"| length |  | ms | limit | × | deviation |\n|--:|---|--:|--:|--:|--:|\n", convChannels, r.Rounds)
	var mine samples
	for _, c := range r.Convolutions {
		times := ""
		if c.Who == ours {
			mine = c.Times
		} else {
			times = fmt.Sprintf("%.2f", ratio(mine.best(), c.Times.best()))
		}
		fmt.Fprintf(w, "| %d | %s (%s) | %.3g (%.3g) | %s | %s | %.1e |\n", c.Length, c.Who, c.Version, ratio(1e3, c.Times.best()), ratio(1e3, c.Times.median()),
			percent(c.Times.share()), times, c.Deviation)
	}
}

// training writes the table of training.
func (r *report) training(w io.Writer) {
	fmt.Fprint(w, "\n## Training\n")
	r.head(w)
	fmt.Fprintf(w, "\nWhole steps, AdamW included, of models that begin with the same weights and read the same batches; the losses of the first %d\n"+
		"steps agree within the deviation. The models of recall are those of the setting a3 of zoology, of two layers 64 wide, and have a\n"+
		"label at every seventh position; hybrids of bytes are %d wide and have one everywhere. PyTorch runs eagerly, with operations on\n"+
		"whole tensors, but for the scan of Mamba, which is a loop over positions; bench/peers/train.py says what was done to make it\n"+
		"fast. Speeds are tokens a second, the best of all and (the median) of %d rounds, in which everybody has a turn. The share of the\n"+
		"limit is that of the products with weights alone, one on the way forth and two on the way back, in the peak of multiply-adds\n"+
		"that was probed before and after each measurement: the median. × compares the best.\n\n"+
		"| model | parameters | batch |  | tokens/s | limit | × | deviation |\n|---|--:|--:|---|--:|--:|--:|--:|\n", trainCheck, hybridDim, r.Rounds)
	var mine samples
	for _, t := range r.Training {
		times := ""
		if t.Who == ours {
			mine = t.Speed
		} else {
			times = fmt.Sprintf("%.2f", ratio(mine.best(), t.Speed.best()))
		}
		who := t.Who + " " + t.Version
		if t.How != "" {
			who += ", " + t.How
		}
		fmt.Fprintf(w, "| %s | %d | %s | %s | %s | %s | %s | %.1e |\n", t.Model, t.Parameters, t.Batch, who, speeds(t.Speed), percent(t.Speed.share()), times, t.Deviation)
	}
}

// kernels writes the table of kernels.
func (r *report) kernels(w io.Writer) {
	if len(r.Kernels) == 0 && len(r.Failures) == 0 {
		return
	}
	fmt.Fprint(w, "\n## Kernels\n\nThe best of many windows of the benchmarks in the packages, and its share of the limit that the benchmark itself measures in\n"+
		"turn: multiply-adds in float32, memory, or for a scan its exponentials.\n")
	set := ""
	for _, k := range r.Kernels {
		if k.Set != set {
			set = k.Set
			fmt.Fprintf(w, "\n%s:\n\n|  | rate | limit |\n|---|--:|--:|\n", set)
		}
		m := k.rate()
		fmt.Fprintf(w, "| %s | %.4g %s | %s |\n", k.Name, m.Value, m.Unit, percent(k.share()))
	}
	for _, f := range r.Failures {
		fmt.Fprintf(w, "\nFailed: %s\n", f)
	}
}
