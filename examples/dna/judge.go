package main

import (
	"fmt"
	"io"
)

// A record is what the model thinks of a sequence.
type record struct {
	Name     string  `json:"name"`
	Bases    int     `json:"bases"`
	Windows  int     `json:"windows"`
	Judged   int     `json:"judged"` // bases that were: not the first of a window without overlap, and none that is unknown
	Nats     float64 `json:"nats_per_base"`
	Accuracy float64 `json:"accuracy"` // of the base that the model finds most probable

	trace trace
}

// judge reads all records, window by window.
func (m *model) judge(f *fasta, t *table) ([]*record, error) {
	var records []*record
	for {
		name, err := f.next()
		if err == io.EOF {
			return records, nil
		}
		if err != nil {
			return nil, err
		}
		r := &record{Name: name}
		if err := m.judgeRecord(f, r, t); err != nil {
			return nil, err
		}
		if r.Bases == 0 {
			return nil, f.fail("the sequence %s has no bases", name)
		}
		records = append(records, r)
	}
}

// judgeRecord reads a record.
func (m *model) judgeRecord(f *fasta, r *record, t *table) error {
	window := make([]byte, m.window)
	sum, right := 0.0, 0
	context := 0 // bases of the window that were judged
	for {
		n, err := f.read(window[context:])
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		text := window[:context+n]
		list, err := m.judgeWindow(text)
		if err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
		r.Windows++
		for i := max(context, 1); i < len(text); i++ {
			at, j := r.Bases+i-context, list[i-1]
			if text[i] == 'N' {
				continue
			}
			sum += j.nats
			r.Judged++
			if j.right {
				right++
			}
			r.trace.add(at, j.nats)
			if err := t.write(r.Name, at, text[i], j); err != nil {
				return err
			}
		}
		r.Bases += n
		if len(text) < len(window) {
			break
		}
		context = m.overlap
		copy(window, text[len(text)-context:])
	}
	if r.Judged > 0 {
		r.Nats, r.Accuracy = sum/float64(r.Judged), float64(right)/float64(r.Judged)
	}
	return nil
}

// A trace is the mean loss along a sequence of unknown length, in so few steps that it can
// be drawn: whenever there are too many, steps become twice as long.
type trace struct {
	step int
	bins []bin
}

type bin struct {
	sum   float64
	count int
}

const mostBins = 1024

// add adds the loss of the base at a position, which is not before those added.
func (t *trace) add(at int, nats float64) {
	if t.step == 0 {
		t.step = 1
	}
	for at/t.step >= mostBins {
		t.step *= 2
		for i := range t.bins {
			b := t.bins[i]
			t.bins[i] = bin{}
			t.bins[i/2].sum += b.sum
			t.bins[i/2].count += b.count
		}
		t.bins = t.bins[:(len(t.bins)+1)/2]
	}
	for len(t.bins) <= at/t.step {
		t.bins = append(t.bins, bin{})
	}
	b := &t.bins[at/t.step]
	b.sum += nats
	b.count++
}

// coarse returns the trace in at most n steps.
func (t *trace) coarse(n int) trace {
	group := max((len(t.bins)+n-1)/max(n, 1), 1)
	c := trace{step: t.step * group}
	for i, b := range t.bins {
		if i%group == 0 {
			c.bins = append(c.bins, bin{})
		}
		c.bins[i/group].sum += b.sum
		c.bins[i/group].count += b.count
	}
	return c
}
