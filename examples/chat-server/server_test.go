package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/nn"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tokenizer"
	"github.com/seqmix/seqmix/tokenizer/textmodel"
)

// newModel returns a small model of bytes with random weights.
func newModel(t testing.TB) *textmodel.Model {
	t.Helper()
	const dim = 16
	r := rand.New(rand.NewPCG(1, 2))
	e := nn.NewEmbedding(128, dim)
	e.Init(r, 0.5)
	mamba, err := ssm.NewMamba(ssm.MambaConfig{DModel: dim})
	if err != nil {
		t.Fatal(err)
	}
	mamba.Init(r)
	m := &lm.Model{Embedding: e, Head: e.Head(), Norm: nn.NewRMSNorm(dim, 1e-5), Layers: seqmix.Stack{
		&seqmix.Residual{Norm: nn.NewRMSNorm(dim, 1e-5), Mixer: mamba},
	}, MaxLen: 5000}
	return &textmodel.Model{Model: m, Architecture: "Mamba", Tokenizer: tokenizer.Bytes{Size: 128}}
}

// serve returns the address of a server with its sessions in dir.
func serve(t testing.TB, m *textmodel.Model, dir string) string {
	t.Helper()
	s, err := openStore(m, dir)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler(s))
	t.Cleanup(server.Close)
	return server.URL
}

// ask sends a request and decodes the answer.
func ask(t testing.TB, method, url string, body, answer any) int {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, url, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if answer != nil {
		if err := json.NewDecoder(r.Body).Decode(answer); err != nil {
			t.Fatal(err)
		}
	}
	return r.StatusCode
}

type event struct {
	kind string
	data map[string]any
}

// takeTurn sends a turn and returns its events.
func takeTurn(t testing.TB, url, id string, q turnRequest) []event {
	t.Helper()
	data, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.Post(url+"/api/sessions/"+id+"/turns", "application/json", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "text/event-stream" {
		b, _ := io.ReadAll(r.Body)
		t.Fatalf("status %d, %s: %s", r.StatusCode, r.Header.Get("Content-Type"), b)
	}
	var list []event
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		if kind, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			list = append(list, event{kind: kind})
		} else if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(data), &list[len(list)-1].data); err != nil {
				t.Fatal(err)
			}
		}
	}
	return list
}

// textOf joins the tokens of a turn.
func textOf(list []event) string {
	var b strings.Builder
	for _, e := range list {
		if e.kind == "token" {
			b.WriteString(e.data["text"].(string))
		}
	}
	return b.String()
}

// expected returns what the model says.
func expected(t testing.TB, m *textmodel.Model, prompts []string, n int) []string {
	t.Helper()
	s, err := m.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, p := range prompts {
		if err := s.Feed(m.Tokenizer.Encode(p)...); err != nil {
			t.Fatal(err)
		}
		var ids []int
		for id, err := range s.Generate(context.Background(), lm.Options{MaxTokens: n}) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		texts = append(texts, m.Tokenizer.Decode(ids...))
	}
	return texts
}

// TestTurns takes two turns, with the server started anew between them.
func TestTurns(t *testing.T) {
	m, dir := newModel(t), t.TempDir()
	want := expected(t, m, []string{"Hello", " again"}, 20)

	url := serve(t, m, dir)
	var created info
	if status := ask(t, "POST", url+"/api/sessions", nil, &created); status != http.StatusCreated {
		t.Fatalf("status %d", status)
	}
	first := takeTurn(t, url, created.ID, turnRequest{Text: "Hello", Tokens: 20})
	if got := textOf(first); got != want[0] {
		t.Errorf("first turn %q, want %q", got, want[0])
	}
	if first[0].kind != "prompt" || first[len(first)-1].kind != "done" || first[len(first)-1].data["tokens"].(float64) != 20 {
		t.Errorf("events begin with %v and end with %v", first[0], first[len(first)-1])
	}

	url = serve(t, newModel(t), dir)
	var list []info
	ask(t, "GET", url+"/api/sessions", nil, &list)
	if len(list) != 1 || list[0].Text != "Hello"+want[0] || list[0].Tokens != 25 || list[0].Bytes == 0 {
		t.Fatalf("after a restart: %+v", list)
	}
	if got := textOf(takeTurn(t, url, created.ID, turnRequest{Text: " again", Tokens: 20})); got != want[1] {
		t.Errorf("second turn %q, want %q", got, want[1])
	}
	if status := ask(t, "DELETE", url+"/api/sessions/"+created.ID, nil, nil); status != http.StatusNoContent {
		t.Errorf("delete: status %d", status)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) > 0 {
		t.Errorf("files are left: %v", files)
	}
}

// TestManyTexts continues several texts at once.
func TestManyTexts(t *testing.T) {
	m := newModel(t)
	url := serve(t, m, t.TempDir())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			var created info
			ask(t, "POST", url+"/api/sessions", nil, &created)
			prompt := fmt.Sprintf("text %d", i)
			want := expected(t, m, []string{prompt}, 15)[0]
			if got := textOf(takeTurn(t, url, created.ID, turnRequest{Text: prompt, Tokens: 15})); got != want {
				t.Errorf("%s: %q, want %q", prompt, got, want)
			}
		})
	}
	wg.Wait()
}

// TestStop breaks a turn off: what was written until then is kept.
func TestStop(t *testing.T) {
	m := newModel(t)
	url := serve(t, m, t.TempDir())
	var created info
	ask(t, "POST", url+"/api/sessions", nil, &created)
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "POST", url+"/api/sessions/"+created.ID+"/turns", strings.NewReader(`{"text": "Hello", "tokens": 4000}`))
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	bufio.NewReader(r.Body).ReadString('\n')
	cancel()
	r.Body.Close()
	for range 500 {
		var i info
		ask(t, "GET", url+"/api/sessions/"+created.ID, nil, &i)
		if i.Tokens > 0 {
			if i.Tokens >= 4005 || !strings.HasPrefix(i.Text, "Hello") || len(i.Text) != i.Tokens {
				t.Errorf("%d tokens, %d bytes of text", i.Tokens, len(i.Text))
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the session was not saved")
}

func TestBadRequests(t *testing.T) {
	m := newModel(t)
	m.MaxLen = 10
	url := serve(t, m, t.TempDir())
	var created info
	ask(t, "POST", url+"/api/sessions", nil, &created)
	turns := "/api/sessions/" + created.ID + "/turns"
	for _, c := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"GET", "/nothing", nil, http.StatusNotFound},
		{"GET", "/api/sessions/none", nil, http.StatusNotFound},
		{"POST", "/api/sessions/../turns", nil, http.StatusNotFound},
		{"POST", turns, "no object", http.StatusBadRequest},
		{"POST", turns, turnRequest{}, http.StatusBadRequest},
		{"POST", turns, turnRequest{Text: "x", Tokens: -1}, http.StatusBadRequest},
		{"POST", turns, turnRequest{Text: "x", Temperature: -1}, http.StatusBadRequest},
		{"POST", turns, turnRequest{Text: "far too long"}, http.StatusRequestEntityTooLarge},
		{"POST", turns, turnRequest{Text: strings.Repeat("x", maxBody)}, http.StatusBadRequest},
	} {
		if status := ask(t, c.method, url+c.path, c.body, nil); status != c.status {
			t.Errorf("%s %s: status %d, want %d", c.method, c.path, status, c.status)
		}
	}
}

// TestDamaged opens folders with files that are no sessions.
func TestDamaged(t *testing.T) {
	m, dir := newModel(t), t.TempDir()
	url := serve(t, m, dir)
	var created info
	ask(t, "POST", url+"/api/sessions", nil, &created)
	takeTurn(t, url, created.ID, turnRequest{Text: "Hello", Tokens: 3})
	if err := os.WriteFile(filepath.Join(dir, created.ID+stateSuffix), []byte("nothing"), 0o666); err != nil {
		t.Fatal(err)
	}
	url = serve(t, m, dir)
	if status := ask(t, "POST", url+"/api/sessions/"+created.ID+"/turns", turnRequest{Text: "x"}, nil); status != http.StatusInternalServerError {
		t.Errorf("a damaged state: status %d", status)
	}
	if err := os.WriteFile(filepath.Join(dir, created.ID+textSuffix), []byte("{"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := openStore(m, dir); err == nil {
		t.Error("a damaged session: no error")
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{}, {"-model", "nowhere"}, {"-unknown"}, {"-model", "x", "y"}} {
		if err := run(context.Background(), args, func(string) {}); err == nil {
			t.Errorf("%q gave no error", args)
		}
	}
}
