package lm

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// Options say how text is generated.
type Options struct {
	// MaxTokens is the number of tokens at most; 0 for any, up to what the model can
	// take.
	MaxTokens int

	// Stop lists tokens that end the text. They are neither returned nor fed to the
	// session.
	Stop []int

	// StopSequences lists sequences of tokens that end the text, and are its end.
	StopSequences [][]int

	// Sampler chooses the tokens.
	Sampler Sampler
}

// errNoPrompt is for sessions that nothing was fed to.
var errNoPrompt = errors.New("lm: nothing to continue: feed a session at least one token, such as that of the beginning of a text")

// Generate continues the text of s: it chooses a token, feeds it to s and yields it,
// again and again. It ends after MaxTokens, before a token of Stop, after a stop sequence,
// when the model can take no more, when the context ends, or when the loop does; s is
// then a session like any other, and can be continued, forked or saved. The error, which
// comes last, is that of the context, of bad options, or of a damaged model.
func (s *Session) Generate(ctx context.Context, o Options) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		if s.Len() == 0 {
			yield(0, errNoPrompt)
			return
		}
		start := s.Len()
		for o.MaxTokens == 0 || s.Len()-start < o.MaxTokens {
			if err := ctx.Err(); err != nil {
				yield(0, err)
				return
			}
			if s.full() {
				return
			}
			id, err := o.Sampler.Sample(s.Logits(), s.tokens)
			if err == nil && !slices.Contains(o.Stop, id) {
				err = s.Feed(id)
			} else if err == nil {
				return
			}
			if !yield(id, err) || err != nil || o.ends(s.tokens[start:]) {
				return
			}
		}
	}
}

// full reports whether the model can take no more tokens.
func (s *Session) full() bool { return s.model.MaxLen > 0 && s.Len() >= s.model.MaxLen }

// ends reports whether a stop sequence is the end of what was generated.
func (o *Options) ends(tokens []int) bool {
	for _, stop := range o.StopSequences {
		if n := len(stop); n > 0 && len(tokens) >= n && slices.Equal(tokens[len(tokens)-n:], stop) {
			return true
		}
	}
	return false
}

// A Token is one that was generated for one of several sessions.
type Token struct {
	Session int // its index
	ID      int
}

// GenerateEach continues the texts of several sessions of one model together, as
// [Session.Generate] does each of them alone: the weights are read once for all of them,
// see [Step]. The sessions may be of different lengths and end at different times. Each
// has the options, and the sampler, of its index.
func GenerateEach(ctx context.Context, sessions []*Session, options []Options) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		if len(options) != len(sessions) {
			yield(Token{}, fmt.Errorf("lm: options for %d sessions, want %d", len(options), len(sessions)))
			return
		}
		g := &group{sessions: sessions, options: options}
		for i, s := range sessions {
			if s.Len() == 0 {
				yield(Token{Session: i}, errNoPrompt)
				return
			}
			g.start = append(g.start, s.Len())
			g.active = append(g.active, i)
		}
		for g.choose(); len(g.active) > 0 && g.err == nil; g.choose() {
			if err := ctx.Err(); err != nil {
				yield(Token{}, err)
				return
			}
			if !g.step(yield) {
				return
			}
		}
		if g.err != nil {
			yield(Token{}, g.err)
		}
	}
}

// group is a set of sessions that are continued together.
type group struct {
	sessions []*Session
	options  []Options
	start    []int // lengths at the beginning
	active   []int // indices of those that go on
	ids      []int // what was chosen for them
	err      error
}

// choose samples a token for each session that goes on, and drops those that end.
func (g *group) choose() {
	g.ids = g.ids[:0]
	g.active = slices.DeleteFunc(g.active, func(i int) bool {
		s, o := g.sessions[i], &g.options[i]
		done := s.Len() - g.start[i]
		if g.err != nil || s.full() || o.MaxTokens > 0 && done >= o.MaxTokens || o.ends(s.tokens[g.start[i]:]) {
			return true
		}
		id, err := o.Sampler.Sample(s.Logits(), s.tokens)
		if err != nil {
			g.err = fmt.Errorf("session %d: %w", i, err)
			return true
		}
		if slices.Contains(o.Stop, id) {
			return true
		}
		g.ids = append(g.ids, id)
		return false
	})
}

// step feeds the chosen tokens and yields them.
func (g *group) step(yield func(Token, error) bool) bool {
	list := make([]*Session, len(g.active))
	for k, i := range g.active {
		list[k] = g.sessions[i]
	}
	if err := Step(list, g.ids); err != nil {
		yield(Token{}, err)
		return false
	}
	for k, i := range g.active {
		if !yield(Token{Session: i, ID: g.ids[k]}, nil) {
			return false
		}
	}
	return true
}
