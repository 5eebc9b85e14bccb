package main

import (
	"bytes"
	"context"
	"encoding/json"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seqmix/seqmix/zoology"
)

func TestContenders(t *testing.T) {
	list, err := contenders("attention, sliding-12,based-4,elu-3,mamba-2,mamba2-8,hyena,baseconv")
	if err != nil || len(list) != 8 || list[1].Name != "sliding-12" || list[1].Window != 12 || list[7].Name != "baseconv" {
		t.Errorf("%v, %v", list, err)
	}
	for _, bad := range []string{"", "attention-2", "sliding", "based-0", "based-x", "lstm-3", "attention,"} {
		if _, err := contenders(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParse(t *testing.T) {
	o, err := parse(strings.Fields("-setting a5 -mixers based-8 -seed 4 -widths 32,64 -rates 1e-3,0.01 -epochs 2"), io.Discard)
	if err != nil || o.sweep.Setting.Name != "a5" || o.sweep.Setting.Epochs != 2 || len(o.sweep.Trials()) != 4 || o.sweep.Seeds[0] != 4 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range []string{"-setting b7", "-mixers lstm", "-widths x", "-widths -3", "-rates 0", "-epochs -1", "more"} {
		if _, err := parse(strings.Fields(bad), io.Discard); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	for name, s := range settings {
		if _, _, err := s().Shape(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRun runs a small experiment, and looks at the table, the plot and the file.
func TestRun(t *testing.T) {
	settings["test"] = func() zoology.Setting {
		s := zoology.Smoke()
		s.Name, s.DModel, s.BatchSize, s.TestExamples, s.Epochs = "test", 16, 8, 20, 1
		s.Train[0].Steps = 3
		return s
	}
	defer delete(settings, "test")
	dir := t.TempDir()
	plot, file := filepath.Join(dir, "plot.png"), filepath.Join(dir, "results.json")
	var out, bars bytes.Buffer
	args := []string{"-setting", "test", "-mixers", "attention,sliding-8,sliding-16,based-4", "-rates", "1e-3,3e-3", "-png", plot, "-json", file}
	if err := run(t.Context(), &out, &bars, args); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"attention", "sliding-8", "based-4", "4 of 64", "ceiling", plot} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if bars.Len() > 0 {
		t.Errorf("bars without a terminal: %q", bars.String())
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var results []zoology.Result
	if err := json.Unmarshal(data, &results); err != nil || len(results) != 8 || results[2].Tests[0].Ceiling == 0 || results[0].StateBytes == 0 {
		t.Errorf("%+v, %v", results, err)
	}
	f, err := os.Open(plot)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if img, err := png.Decode(f); err != nil || img.Bounds().Dx() < 500 {
		t.Errorf("the plot: %v", err)
	}
}

// TestInterrupted checks that nothing is shown if there are no results yet.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := run(ctx, &out, io.Discard, []string{"-png", ""}); err == nil || out.Len() > 0 {
		t.Errorf("error %v, output %q", err, out.String())
	}
}
