package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/lm"
	"github.com/seqmix/seqmix/tensor"
)

// A server answers commands with seqmix.
type server struct {
	session *lm.Session
	at      int // tokens so far
}

// serve loads a model and answers the commands of in. With exact, weights that were rounded
// to their format are multiplied as float32s.
func serve(path string, weights tensor.DType, exact bool, in io.Reader, out io.Writer) error {
	switch path {
	case "conv":
		return answer(new(convolver).do, in, out)
	case "training":
		return answer(new(trainee).do, in, out)
	}
	m, err := checkpoint.LoadModel(path, checkpoint.ModelOptions{Weights: &weights})
	if err != nil {
		return err
	}
	if exact {
		m.Quantize(tensor.Float32)
	}
	session, err := m.NewSession()
	if err != nil {
		return err
	}
	return answer((&server{session: session}).do, in, out)
}

// answer answers each command with what do makes of it.
func answer(do func(line string) (reply, error), in io.Reader, out io.Writer) error {
	answers := json.NewEncoder(out)
	if err := answers.Encode(reply{Version: tensor.CPU()}); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		r, err := do(lines.Text())
		if err != nil {
			r.Error = err.Error()
		}
		if err := answers.Encode(r); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (s *server) do(line string) (reply, error) {
	var command string
	var n int
	fmt.Sscan(line, &command, &n)
	switch {
	case command == "prefill" && n > 0:
		s.session.Reset()
		s.at = 0
		return s.timed(func() error { return s.session.Feed(s.next(n)...) })
	case command == "decode" && n > 0:
		return s.timed(func() error {
			for range n {
				if err := s.session.Feed(s.next(1)...); err != nil {
					return err
				}
				s.session.Logits()
			}
			return nil
		})
	case command == "logits":
		var r reply
		for _, v := range s.session.Logits() {
			r.Logits = append(r.Logits, float64(v))
		}
		return r, nil
	}
	return reply{}, fmt.Errorf("unknown command %q", line)
}

func (s *server) next(n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = tokenAt(s.at, s.session.Model().Embedding.Vocabulary())
		s.at++
	}
	return ids
}

func (s *server) timed(f func() error) (reply, error) {
	begin := time.Now()
	err := f()
	s.session.Logits()
	return reply{Seconds: time.Since(begin).Seconds()}, err
}
