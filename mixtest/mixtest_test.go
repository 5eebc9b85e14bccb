package mixtest

import (
	"strings"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/tensor"
)

func TestHonest(t *testing.T) {
	for _, o := range []Options{
		{}, {Seed: 3, Scale: 10}, {Len: 1}, {Batch: 1, Len: 2}, {Batch: 3, Len: 60, Tol: 1e-5}, {Len: 300, Scale: 0.01},
	} {
		for _, dim := range []int{1, 2, 7} {
			if err := Test(newMixer(dim, ""), o); err != nil {
				t.Errorf("width %d, %+v: %v", dim, o, err)
			}
		}
	}
}

func TestHonestStack(t *testing.T) {
	twice := newMixer(5, "")
	m := seqmix.Stack{twice, &seqmix.Residual{Mixer: newMixer(5, "")}, twice}
	err := Test(m, Options{})
	if err == nil || !strings.Contains(err.Error(), "Backward again") {
		return
	}
	t.Error(err)
}

// TestFaults tests that each check finds what it is there for.
func TestFaults(t *testing.T) {
	for _, f := range []struct{ fault, check string }{
		{"zero", "output"},
		{"infinite", "output"},
		{"no shape check", "shape errors"},
		{"panics with text", "shape errors"},
		{"no overlap check", "shape errors"},
		{"fails on nothing", "empty sequences"},
		{"clears dst first", "in place"},
		{"writes past the end", "memory outside dst and src"},
		{"changes src", "memory outside dst and src"},
		{"ignores the stride", "memory outside dst and src"},
		{"leaks between sequences", "batch"},
		{"goroutines share", "concurrent Mix"},
		{"counts cores", "number of cores"},
		{"one name for two", "parameters"},
		{"no name", "parameters"},
		{"order changes", "parameters"},
		{"does not stop", "parameters"},
		{"nil parameter", "parameters"},
		{"packed differs", "packing"},
		{"forgets between pieces", "cuts"},
		{"looks ahead", "causality"},
		{"multiplies what is later by zero", "causality of what is not finite"},
		{"streams share", "independent streams"},
		{"group advances one stream", "streams together"},
		{"group keeps the states", "streams together"},
		{"last output is the first", "the last output"},
		{"last output keeps the state", "the last output"},
		{"Reset keeps the state", "Reset"},
		{"clones share", "Clone"},
		{"clones begin anew", "Clone"},
		{"saves half", "save and restore"},
		{"AppendBinary begins anew", "save and restore"},
		{"no checksum", "damaged state"},
		{"changes on error", "damaged state"},
		{"reads the beginning", "damaged state"},
		{"panics on little data", "damaged state"},
		{"stream without shape check", "stream shape errors"},
		{"stream writes past the end", "memory outside dst and src of a stream"},
		{"allocates", "allocations"},
		{"stream counts cores", "number of cores of a stream"},
		{"Record differs", "Record"},
		{"Record changes a parameter", "Record"},
		{"Record changes src", "Record"},
		{"Record without shape check", "Record"},
		{"tape refers to dst", "Record"},
		{"transposed gradient", "gradients"},
		{"truncated gradient", "gradients"},
		{"one element off", "gradients"},
		{"scaled input gradient", "gradients"},
		{"NaN in a gradient", "gradients"},
		{"no gradient of decay", "gradients"},
		{"sets gradients", "Backward again"},
		{"uses up the tape", "Backward again"},
		{"Backward clears dsrc first", "Backward in place"},
		{"Backward changes ddst", "memory outside the gradient"},
		{"Backward writes past the end", "memory outside the gradient"},
		{"Backward without shape check", "memory outside the gradient"},
		{"Backward changes a parameter", "memory outside the gradient"},
		{"needs all gradients", "frozen parameters"},
		{"makes gradients", "frozen parameters"},
		{"recordings share", "concurrent Record"},
		{"gradients count cores", "number of cores of gradients"},
	} {
		t.Run(f.fault, func(t *testing.T) {
			if raceEnabled && (strings.Contains(f.fault, "share") || strings.Contains(f.fault, "changes") || f.fault == "allocates") {
				t.Skip("for the race detector, this is a race, or not to be counted")
			}
			// What goroutines do to one another shows sooner or later, not every time.
			var err error
			for range 20 {
				if err = Test(newMixer(5, f.fault), Options{}); err != nil && strings.Contains(err.Error(), ": "+f.check+": ") {
					return
				}
				if !strings.Contains(f.fault, "share") {
					break
				}
			}
			t.Errorf("not found by the check of %s: %v", f.check, err)
		})
	}
}

// bidirectional is a mixer that does not stream and cannot be trained.
type bidirectional struct{ seqmix.Mixer }

func TestOptional(t *testing.T) {
	if err := Test(bidirectional{newMixer(3, "")}, Options{}); err != nil {
		t.Error(err)
	}
	for _, fault := range []string{"does not stream", "does not train"} {
		if err := Test(newMixer(3, fault), Options{}); err != nil {
			t.Error(err)
		}
	}
	if err := TestStreamer(newMixer(3, "does not stream"), Options{}); err == nil {
		t.Error("TestStreamer of a mixer that does not stream: no error")
	}
	if err := TestTrainer(newMixer(3, "does not train"), Options{}); err == nil {
		t.Error("TestTrainer of a mixer that cannot be trained: no error")
	}
}

// TestLeavesParameters tests that the checks put back what they move.
func TestLeavesParameters(t *testing.T) {
	m := newMixer(6, "")
	m.weight.Pack()
	want := m.weight.Float32s()
	if err := Test(m, Options{}); err != nil {
		t.Fatal(err)
	}
	if !m.weight.Packed() {
		t.Error("the weight is no longer packed")
	}
	if err := sameValues(m.weight.Float32s(), want); err != nil {
		t.Error(err)
	}
}

func TestMessages(t *testing.T) {
	got, want := tensor.NewSeq(2, 3, 4), tensor.NewSeq(2, 3, 4)
	want.At(0, 0)[0] = 2
	got.At(0, 0)[0] = 2
	got.At(1, 2)[3] = 1
	const text = "sequence 1, position 2, channel 3 is 1, want 0: off by 0.5 of the largest magnitude, tolerance 0.001"
	if err := near(got, want, 1e-3); err == nil || err.Error() != text {
		t.Errorf("near: %v, want %s", err, text)
	}
	const bits = "sequence 1, position 2, channel 3 is 1, want 0 bit for bit"
	if err := same(got, want); err == nil || err.Error() != bits {
		t.Errorf("same: %v, want %s", err, bits)
	}
}
