package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tokenizer"
)

//go:embed page.html
var page []byte

// handler serves the page and the sessions:
//
//	GET    /                       the page
//	GET    /api/sessions           all sessions
//	POST   /api/sessions           a new one
//	GET    /api/sessions/ID        one
//	DELETE /api/sessions/ID        delete it
//	POST   /api/sessions/ID/turns  append text and continue it: server-sent events
func handler(s *store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(page)
	})
	mux.HandleFunc("GET /api/sessions", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.list()) })
	mux.HandleFunc("POST /api/sessions", func(w http.ResponseWriter, _ *http.Request) {
		c, err := s.create()
		if err != nil {
			fail(w, err)
			return
		}
		reply(w, http.StatusCreated, c.info)
	})
	mux.HandleFunc("GET /api/sessions/{id}", func(w http.ResponseWriter, r *http.Request) {
		c, err := s.get(r.PathValue("id"))
		if err != nil {
			fail(w, err)
			return
		}
		s.mu.Lock()
		i := c.info
		s.mu.Unlock()
		reply(w, http.StatusOK, i)
	})
	mux.HandleFunc("DELETE /api/sessions/{id}", func(w http.ResponseWriter, r *http.Request) {
		if err := s.remove(r.PathValue("id")); err != nil {
			fail(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /api/sessions/{id}/turns", s.turn)
	return mux
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// fail says what went wrong.
func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var bad badRequest
	switch {
	case errors.Is(err, errNoSession):
		status = http.StatusNotFound
	case errors.As(err, &bad):
		status = http.StatusBadRequest
	case errors.Is(err, lm.ErrTooLong):
		status = http.StatusRequestEntityTooLarge
	}
	reply(w, status, map[string]string{"error": err.Error()})
}

// badRequest is an error of whoever asked.
type badRequest struct{ error }

// turnRequest is what a turn is asked for.
type turnRequest struct {
	Text        string  `json:"text"`   // to append first
	Tokens      int     `json:"tokens"` // to write at most; 0 for 200
	Temperature float64 `json:"temperature"`
	TopP        float64 `json:"top_p"`
	Seed        uint64  `json:"seed"`
}

const (
	maxBody     = 1 << 20 // bytes of a request
	mostTokens  = 4096    // of a turn
	usualTokens = 200
	readTokens  = 512 // of a prompt between two looks at whether anybody still waits
)

// turn appends text to a session and continues it.
func (s *store) turn(w http.ResponseWriter, r *http.Request) {
	c, err := s.get(r.PathValue("id"))
	if err != nil {
		fail(w, err)
		return
	}
	var q turnRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&q); err != nil {
		fail(w, badRequest{fmt.Errorf("the request: %w", err)})
		return
	}
	if q.Tokens == 0 {
		q.Tokens = usualTokens
	}
	o := lm.Options{MaxTokens: q.Tokens, Stop: s.model.End, Sampler: lm.Sampler{Temperature: q.Temperature, TopP: q.TopP, Seed: q.Seed}}
	if err := o.Sampler.Check(); err != nil || q.Tokens < 1 || q.Tokens > mostTokens {
		fail(w, badRequest{errors.Join(err, fmt.Errorf("tokens: %d, want 1 to %d", q.Tokens, mostTokens))})
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &turn{store: s, session: c, events: &events{w: w}}
	if err := t.prompt(r.Context(), q.Text); err != nil {
		if !t.events.started {
			fail(w, err)
		}
		return
	}
	t.write(r.Context(), o)
}

// A turn is one exchange. written is what it adds to the text.
type turn struct {
	store   *store
	session *session
	events  *events
	written string
}

// prompt reads the new text.
func (t *turn) prompt(ctx context.Context, text string) error {
	if err := t.store.wake(t.session); err != nil {
		return err
	}
	m, s := t.store.model, t.session.text
	ids := m.Tokenizer.Encode(text)
	if s.Len() == 0 {
		ids = m.Encode(text)
	}
	if s.Len()+len(ids) == 0 {
		return badRequest{errors.New("the text is empty, and the model has no token that begins one")}
	}
	if m.MaxLen > 0 && s.Len()+len(ids) > m.MaxLen {
		return fmt.Errorf("the text would have %d tokens, the model takes %d: %w", s.Len()+len(ids), m.MaxLen, lm.ErrTooLong)
	}
	begin := time.Now()
	for i := 0; i < len(ids); i += readTokens {
		if err := ctx.Err(); err != nil {
			// What was read of the text is part of the session now.
			t.written = m.Tokenizer.Decode(ids[:i]...)
			return errors.Join(err, t.store.save(t.session, t.written))
		}
		if err := s.Feed(ids[i:min(i+readTokens, len(ids))]...); err != nil {
			return err
		}
	}
	s.Logits()
	t.written = text
	t.events.send("prompt", map[string]any{"tokens": len(ids), "seconds": time.Since(begin).Seconds()})
	return nil
}

// write continues the text until it ends or nobody waits for it any more, and saves it.
func (t *turn) write(ctx context.Context, o lm.Options) {
	text := tokenizer.NewDecoder(t.store.model.Tokenizer, t.session.info.Text+t.written == "")
	begin, n := time.Now(), 0
	var failed error
	for id, err := range t.session.text.Generate(ctx, o) {
		if err != nil {
			failed = err
			break
		}
		n++
		part := text.Next(id)
		t.written += part
		t.events.send("token", map[string]any{"text": part, "tokens": n, "per_second": float64(n) / time.Since(begin).Seconds()})
	}
	t.written += text.Flush()
	if err := t.store.save(t.session, t.written); err != nil {
		failed = errors.Join(failed, err)
	}
	if failed != nil {
		t.events.send("failed", map[string]string{"error": failed.Error()})
		return
	}
	i := t.session.info
	t.events.send("done", map[string]any{"tokens": n, "per_second": float64(n) / time.Since(begin).Seconds(), "total": i.Tokens, "bytes": i.Bytes})
}

// events writes server-sent events.
type events struct {
	w       http.ResponseWriter
	started bool
}

func (e *events) send(kind string, v any) {
	if !e.started {
		e.started = true
		e.w.Header().Set("Content-Type", "text/event-stream")
		e.w.Header().Set("Cache-Control", "no-store")
	}
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(e.w, "event: %s\ndata: %s\n\n", kind, data)
	http.NewResponseController(e.w).Flush()
}
