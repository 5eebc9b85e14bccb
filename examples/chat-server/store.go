package main

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tokenizer/textmodel"
)

// A store holds the sessions of a model, in memory and in a folder.
type store struct {
	model *textmodel.Model
	dir   string

	mu       sync.Mutex
	sessions map[string]*session
}

// A session is one text. The mutex is held while the model works on it.
type session struct {
	mu   sync.Mutex
	id   string
	text *lm.Session
	info info
}

// info is what is known of a session without its state.
type info struct {
	ID      string    `json:"id"`
	Changed time.Time `json:"changed"`
	Text    string    `json:"text"`
	Tokens  int       `json:"tokens"`
	Bytes   int       `json:"bytes"` // of the saved state
}

// The files of a session: its text, and the state of the model.
const (
	textSuffix  = ".json"
	stateSuffix = ".state"
)

var validID = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// openStore reads what is in dir, which is made if it does not exist.
func openStore(m *textmodel.Model, dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	s := &store{model: m, dir: dir, sessions: map[string]*session{}}
	files, err := filepath.Glob(filepath.Join(dir, "*"+textSuffix))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		id := strings.TrimSuffix(filepath.Base(file), textSuffix)
		if !validID.MatchString(id) {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		c := &session{id: id}
		if err := json.Unmarshal(data, &c.info); err != nil || c.info.ID != id {
			return nil, fmt.Errorf("%s: not a session: %v", file, err)
		}
		s.sessions[id] = c
	}
	return s, nil
}

// list returns all sessions, the last one changed first.
func (s *store) list() []info {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []info{}
	for _, c := range s.sessions {
		all = append(all, c.info)
	}
	slices.SortFunc(all, func(a, b info) int { return cmp.Or(b.Changed.Compare(a.Changed), cmp.Compare(a.ID, b.ID)) })
	return all
}

// create returns a new session.
func (s *store) create() (*session, error) {
	text, err := s.model.NewSession()
	if err != nil {
		return nil, err
	}
	c := &session{id: rand.Text(), text: text}
	c.info = info{ID: c.id, Changed: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[c.id] = c
	return c, nil
}

var errNoSession = errors.New("no such session")

// get returns a session.
func (s *store) get(id string) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.sessions[id]; c != nil {
		return c, nil
	}
	return nil, errNoSession
}

// wake reads the state of a session if it is not in memory. The caller holds its mutex.
func (s *store) wake(c *session) error {
	if c.text != nil {
		return nil
	}
	text, err := s.model.NewSession()
	if err != nil {
		return err
	}
	file := filepath.Join(s.dir, c.id+stateSuffix)
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := text.UnmarshalBinary(data); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	c.text = text
	return nil
}

// save writes a session to its files. The caller holds its mutex.
func (s *store) save(c *session, written string) error {
	state, err := c.text.AppendBinary(nil)
	if err != nil {
		return err
	}
	s.mu.Lock()
	c.info.Text += written
	c.info.Changed, c.info.Tokens, c.info.Bytes = time.Now(), c.text.Len(), len(state)
	text, err := json.Marshal(c.info)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	base := filepath.Join(s.dir, c.id)
	return errors.Join(replace(base+stateSuffix, state), replace(base+textSuffix, text))
}

// replace writes a file that is there whole or not at all.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// remove deletes a session and its files.
func (s *store) remove(id string) error {
	c, err := s.get(id)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.mu.Lock()
	delete(s.sessions, id)
	s.mu.Unlock()
	base := filepath.Join(s.dir, id)
	for _, file := range []string{base + textSuffix, base + stateSuffix} {
		if e := os.Remove(file); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
