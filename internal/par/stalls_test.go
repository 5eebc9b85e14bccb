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
	for want := 1; want <= 2*maxPenalty; want *= 2 { // one after the other
		s.add(now, long)
		if want := min(want, maxPenalty); s.away != time.Duration(want)*long {
			t.Fatalf("left alone for %v, want %d times %v", s.away, want, long)
		}
		now = s.resume.Add(long)
	}
	s.add(s.resume.Add(3*s.away+long), long) // three times without, and one with
	if want := maxPenalty / 4 * long; s.away != want {
		t.Errorf("after a quiet time left alone for %v, want %v", s.away, want)
	}
	s.add(s.resume.Add(time.Hour), long)
	if s.away != long {
		t.Errorf("after an hour left alone for %v, want %v", s.away, long)
	}
	if !s.inline {
		t.Error("not left alone")
	}
	s.resume = time.Now()
	if s.apart() || s.apart() {
		t.Error("left alone for ever")
	}
}
