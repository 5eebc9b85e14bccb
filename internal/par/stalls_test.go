package par

import (
	"testing"
	"time"
)

func TestStalls(t *testing.T) {
	const long = time.Millisecond
	var s stalls
	if s.apart() {
		t.Fatal("left alone without a stall")
	}
	now := time.Now()
	for want := growth; want <= growth*maxPenalty; want *= growth { // one after the other
		s.add(now, long)
		if want := min(want, maxPenalty); s.away != time.Duration(want)*long {
			t.Fatalf("left alone for %v, want %d times %v", s.away, want, long)
		}
		now = s.resume.Add(long)
	}
	s.add(s.resume.Add(2*calm*s.away+long), long) // quiet for long enough to be forgiven two
	if want := maxPenalty / growth * long; s.away != want {
		t.Errorf("after a quiet time left alone for %v, want %v", s.away, want)
	}
	s.add(s.resume.Add(time.Hour), long)
	if s.away != growth*long {
		t.Errorf("after an hour left alone for %v, want %v", s.away, growth*long)
	}
	if !s.inline {
		t.Error("not left alone")
	}
	s.resume = time.Now()
	for range 2 {
		if s.apart() {
			t.Error("left alone for ever")
		}
	}
}
