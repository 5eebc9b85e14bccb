package main

import (
	"math"
	"path/filepath"
	"testing"
)

// published are SI-SDRs in dB of the reference code in float32, with the level of the
// whole clip.
var published = []struct {
	clip  string
	noisy float64
	clean map[string]float64
}{
	{"p232_005", 1.86, map[string]float64{"mamba": 13.05, "mamba2": 12.42, "s4": 10.54, "mha": 10.25, "pruned-e8-200k": 11.53, "pruned-e6-1m": 13.98}},
	{"p232_013", 6.80, map[string]float64{"mamba": 13.15, "mamba2": 11.56, "s4": 11.75, "mha": 11.54, "pruned-e8-200k": 12.41, "pruned-e6-1m": 12.21}},
	{"p232_095", 7.41, map[string]float64{"mamba": 12.65, "mamba2": 11.82, "s4": 11.94, "mha": 11.61, "pruned-e8-200k": 11.55, "pruned-e6-1m": 12.76}},
	{"p232_121", 1.48, map[string]float64{"mamba": 14.86, "mamba2": 14.73, "s4": 13.90, "mha": 14.37, "pruned-e8-200k": 13.61, "pruned-e6-1m": 17.08}},
	{"p232_151", 1.32, map[string]float64{"mamba": 15.85, "mamba2": 15.93, "s4": 15.05, "mha": 15.15, "pruned-e8-200k": 14.62, "pruned-e6-1m": 16.67}},
	{"p232_162", 10.20, map[string]float64{"mamba": 18.72, "mamba2": 17.32, "s4": 14.05, "mha": 13.79, "pruned-e8-200k": 16.00, "pruned-e6-1m": 20.56}},
	{"p232_186", 0.21, map[string]float64{"mamba": 11.55, "mamba2": 11.05, "s4": 10.65, "mha": 10.82, "pruned-e8-200k": 10.79, "pruned-e6-1m": 12.24}},
	{"p232_369", 1.65, map[string]float64{"mamba": 12.02, "mamba2": 12.26, "s4": 11.67, "mha": 11.68, "pruned-e8-200k": 11.94, "pruned-e6-1m": 13.70}},
}

// TestSpeech reproduces the published figures, streaming hop by hop.
func TestSpeech(t *testing.T) {
	eachNetwork(t, func(t *testing.T, name string, n *network) {
		var before, after []float32
		for i, p := range published {
			if testing.Short() && i%4 != 2 {
				continue
			}
			noisy, clean := speech(t, "noisy", p.clip), speech(t, "clean", p.clip)
			in := siSDR(noisy, clean)
			if !near(in, p.noisy) {
				t.Errorf("%s: noisy clip at %.3f dB, want %.2f", p.clip, in, p.noisy)
			}
			out := siSDR(inPieces(t, n, noisy, measureLevel(noisy), n.hop), clean)
			if !near(out, p.clean[name]) {
				t.Errorf("%s at %.3f dB, want %.2f", p.clip, out, p.clean[name])
			}
			before, after = append(before, float32(in)), append(after, float32(out))
		}
		t.Logf("mean of %d clips %.2f dB in, %.2f dB out", len(before), mean(before), mean(after))
	})
}

// TestFixedLevel checks what the -level flag promises: that a constant does as well.
func TestFixedLevel(t *testing.T) {
	if testing.Short() {
		t.Skip("runs all clips")
	}
	want := map[string]float64{"mamba": 13.99, "mamba2": 13.39, "s4": 12.47, "mha": 12.46, "pruned-e8-200k": 12.88, "pruned-e6-1m": 14.89}
	eachNetwork(t, func(t *testing.T, name string, n *network) {
		var mean float64
		for _, p := range published {
			out := inPieces(t, n, speech(t, "noisy", p.clip), 0.1, n.hop)
			mean += siSDR(out, speech(t, "clean", p.clip)) / float64(len(published))
		}
		t.Logf("mean %.2f dB", mean)
		if !near(mean, want[name]) {
			t.Errorf("mean %.3f dB at level 0.1, want %.2f", mean, want[name])
		}
	})
}

func near(got, want float64) bool { return math.Abs(got-want) <= 0.02 }

func speech(t testing.TB, kind, clip string) []float32 {
	t.Helper()
	x, err := readWAV(filepath.Join(testData(t, "data", "voicebank", kind), clip+".wav"))
	if err != nil {
		t.Fatal(err)
	}
	return x
}
