package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// A contestant is a process that is measured; see reply for what it understands.
type contestant struct {
	name    string
	version string
	how     string // it decoded, if there are several ways
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	log     bytes.Buffer
	started time.Time
}

// start starts a process and waits until it has loaded its model.
func start(name string, argv, env []string) (*contestant, error) {
	c := &contestant{name: name, cmd: exec.Command(argv[0], argv[1:]...), started: time.Now()}
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stderr = &c.log
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReaderSize(out, 1<<20)
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r, err := c.reply()
	if err != nil {
		c.stop()
		return nil, err
	}
	c.version = r.Version
	return c, nil
}

// do sends a command and returns the answer.
func (c *contestant) do(command string) (reply, error) {
	if _, err := fmt.Fprintln(c.in, command); err != nil {
		return reply{}, fmt.Errorf("%s: %w%s", c.name, err, c.lastWords())
	}
	return c.reply()
}

func (c *contestant) reply() (reply, error) {
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		c.cmd.Wait() // for its last words
		return reply{}, fmt.Errorf("%s ended: %w%s", c.name, err, c.lastWords())
	}
	r, err := parseReply(line)
	if err != nil {
		err = fmt.Errorf("%s: %w", c.name, err)
	}
	return r, err
}

func parseReply(line []byte) (reply, error) {
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("answered %.100q: %w", line, err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// lastWords returns the end of what the process wrote to standard error.
func (c *contestant) lastWords() string {
	lines := strings.Split(strings.TrimSpace(c.log.String()), "\n")
	last := strings.Join(lines[max(0, len(lines)-5):], "\n")
	return strings.TrimRight("\n"+last, "\n")
}

// stop ends the process.
func (c *contestant) stop() error {
	c.in.Close()
	done := make(chan error, 1)
	go func() { done <- c.cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(10 * time.Second):
		c.cmd.Process.Kill()
		return cmp.Or(<-done, fmt.Errorf("%s: did not end", c.name))
	}
}

// peakMemory returns the largest memory that the process has had, in bytes, or 0 where
// the system does not tell.
func (c *contestant) peakMemory() int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	return parsePeak(string(status))
}

// parsePeak finds the high-water mark in /proc/PID/status.
func parsePeak(status string) int {
	for line := range strings.Lines(status) {
		var kilobytes int
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); n == 1 {
			return kilobytes << 10
		}
	}
	return 0
}
