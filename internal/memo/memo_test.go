package memo

import (
	"sync"
	"testing"

	"github.com/seqmix/seqmix/tensor"
)

func TestMemo(t *testing.T) {
	p, q := tensor.New(3), tensor.New(2)
	var m Memo[float32]
	derived := 0
	get := func() float32 {
		return m.Get(func() float32 { derived++; return p.Data()[0] + q.Data()[1] }, p, nil, q)
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			get()
		}()
	}
	wait.Wait()
	if derived != 1 {
		t.Errorf("derived %d times, want once", derived)
	}
	p.Data()[0] = 5
	if got := get(); got != 5 || derived != 2 {
		t.Errorf("after a change: %v, derived %d times", got, derived)
	}
	q.Data()[1] = 2
	if got := get(); got != 7 {
		t.Errorf("after another change: %v", got)
	}
	if n := testing.AllocsPerRun(10, func() { get() }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
