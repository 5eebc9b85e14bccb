package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"path/filepath"

	"github.com/seqmix/seqmix/examples/internal/corpus"
	"github.com/seqmix/seqmix/lm"
)

// mostTokens is how long a text that a teacher writes becomes, at most.
const mostTokens = 512

// findText returns the text to learn from: that of -data; or what the teacher writes, if it
// is one of tokens; or the source of Go's standard library.
func (g *grafter) findText(ctx context.Context) (*corpus.Corpus, error) {
	switch {
	case g.data != "":
		return corpus.Read(g.data, g.extensions)
	case g.source == nil || g.source.config.Vocabulary == 0:
		path, err := corpus.StandardLibrary()
		if err != nil {
			return nil, fmt.Errorf("%w (-data names other text)", err)
		}
		return corpus.Read(path, g.extensions)
	}
	folder, err := g.write(ctx)
	if err != nil {
		return nil, err
	}
	return g.written(folder)
}

// heldOneIn is how many texts that a teacher writes there are for each that is held out.
const heldOneIn = 10

// written reads what the teacher wrote.
func (g *grafter) written(folder string) (*corpus.Corpus, error) {
	c := new(corpus.Corpus)
	for i := range g.samples {
		text, err := os.ReadFile(g.sample(folder, i))
		if err != nil {
			return nil, err
		}
		c.Add(text, i%heldOneIn == 0)
	}
	return c, c.Check(folder)
}

// write lets the teacher write the texts that are not there yet, one to a file, and returns
// their folder. Which text a file gets depends on the teacher, the seed and its number only.
func (g *grafter) write(ctx context.Context) (string, error) {
	if len(g.source.Begin) == 0 {
		return "", fmt.Errorf("%s has no token that begins a text, so that it cannot write any to learn from: -data names text", g.model)
	}
	folder := filepath.Join(g.dir, fmt.Sprintf("samples-%08x", g.mark))
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return "", err
	}
	var missing []int
	for i := range g.samples {
		if !isFile(g.sample(folder, i)) {
			missing = append(missing, i)
		}
	}
	fmt.Fprintf(g.out, "text     %d texts that the teacher writes itself, kept in %s; %d are still to be written\n", g.samples, folder, len(missing))
	p := newCourse(g.out, "texts", "", len(missing))
	defer p.finish()
	const together = 16
	for done := 0; done < len(missing); {
		texts := missing[done:min(done+together, len(missing))]
		if err := g.writeTogether(ctx, folder, texts); err != nil {
			return "", err
		}
		done += len(texts)
		p.set(done)
	}
	return folder, nil
}

func (g *grafter) sample(folder string, i int) string {
	return filepath.Join(folder, fmt.Sprintf("%05d.txt", i))
}

// fingerprint tells teachers, and seeds, apart.
func (s *source) fingerprint(seed uint64) uint32 {
	h := fnv.New32a()
	fmt.Fprintln(h, seed)
	for _, p := range s.Params() {
		for _, v := range p.Float32s() {
			b := math.Float32bits(v)
			h.Write([]byte{byte(b), byte(b >> 8), byte(b >> 16), byte(b >> 24)})
		}
	}
	return h.Sum32()
}

// writeTogether writes the texts of some numbers.
func (g *grafter) writeTogether(ctx context.Context, folder string, numbers []int) error {
	sessions, options := make([]*lm.Session, len(numbers)), make([]lm.Options, len(numbers))
	for k, i := range numbers {
		s, err := g.source.NewSession()
		if err != nil {
			return err
		}
		if err := s.Feed(g.source.Begin...); err != nil {
			return err
		}
		sessions[k] = s
		options[k] = lm.Options{MaxTokens: mostTokens, Stop: g.source.End, Sampler: lm.Sampler{Temperature: 1, Seed: g.seed<<32 + uint64(i)}}
	}
	ids := make([][]int, len(numbers))
	for token, err := range lm.GenerateEach(ctx, sessions, options) {
		if err != nil {
			return err
		}
		ids[token.Session] = append(ids[token.Session], token.ID)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for k, i := range numbers {
		if err := os.WriteFile(g.sample(folder, i), []byte(g.source.Tokenizer.Decode(ids[k]...)), 0o666); err != nil {
			return err
		}
	}
	return nil
}
