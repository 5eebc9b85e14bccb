package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
)

// report prints what was found.
func report(w io.Writer, m *model, records []*record, o options) error {
	all := total(records)
	if o.json {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(struct {
			Model   string    `json:"model"`
			Window  int       `json:"window"`
			Overlap int       `json:"overlap"`
			Records []*record `json:"records"`
			Total   *record   `json:"total"`
		}{m.summary, m.window, m.overlap, records, all})
	}
	fmt.Fprintf(w, "model    %s\nwindows  of %d bases, %d of them context\n\n", m.summary, m.window, m.overlap)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "sequence\tbases\twindows\tjudged\tnats per base\tright\t")
	if len(records) > 1 {
		records = append(records[:len(records):len(records)], all)
	}
	for _, r := range records {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t", r.Name, r.Bases, r.Windows, r.Judged)
		if r.Judged == 0 {
			fmt.Fprint(t, "-\t-\t\n")
			continue
		}
		fmt.Fprintf(t, "%.5f\t%.1f %%\t\n", r.Nats, 100*r.Accuracy)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, f := range []struct{ what, file string }{{"plot", o.out}, {"bases", o.bases}} {
		if f.file != "" {
			fmt.Fprintf(w, "\n%s: %s", f.what, f.file)
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

// total adds up records.
func total(records []*record) *record {
	all := &record{Name: "all"}
	for _, r := range records {
		n := float64(r.Judged)
		all.Bases += r.Bases
		all.Windows += r.Windows
		all.Judged += r.Judged
		all.Nats += n * r.Nats
		all.Accuracy += n * r.Accuracy
	}
	if all.Judged > 0 {
		all.Nats /= float64(all.Judged)
		all.Accuracy /= float64(all.Judged)
	}
	return all
}

// A table is a file with a line for each base. nil writes nothing.
type table struct {
	f *os.File
	w *bufio.Writer
}

// createTable creates a file, unless it has no name.
func createTable(path string) (*table, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	t := &table{f, bufio.NewWriter(f)}
	_, err = fmt.Fprintln(t.w, "sequence\tposition\tbase\tnats\tright")
	return t, err
}

// write adds a base. Positions count from 1, as is usual for sequences.
func (t *table) write(name string, at int, base byte, j judgement) error {
	if t == nil {
		return nil
	}
	_, err := fmt.Fprintf(t.w, "%s\t%d\t%c\t%.5f\t%t\n", name, at+1, base, j.nats, j.right)
	return err
}

func (t *table) close() error {
	if t == nil {
		return nil
	}
	return errors.Join(t.w.Flush(), t.f.Close())
}
