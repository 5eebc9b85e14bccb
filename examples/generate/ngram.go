package main

import (
	"math"
	"sync"
)

// An ngram predicts the next byte by how often it came after the bytes before it, with
// contexts of all lengths below n interpolated as Witten and Bell do (method C of
// doi:10.1109/18.87000): where a context occurred N times, before T different bytes,
//
//	p(b | context) = (count(b | context) + T·p(b | context without its first byte)) / (N + T)
//
// and the shortest context, of no byte, falls back on all bytes being as likely.
type ngram struct {
	followers []table // by the length of the context; the key is the context and the byte
	contexts  []table // n is N, kinds is T
}

// newNgram counts; n is at most 7.
func newNgram(text []byte, n int) *ngram {
	g := &ngram{followers: make([]table, n), contexts: make([]table, n)}
	var all sync.WaitGroup
	for length := range n {
		all.Go(func() { g.count(text, length) })
	}
	all.Wait()
	return g
}

func (g *ngram) count(text []byte, length int) {
	followers, contexts := &g.followers[length], &g.contexts[length]
	for i := length; i < len(text); i++ {
		context := key(text[i-length : i])
		f := followers.at(context<<8 | uint64(text[i]))
		c := contexts.at(context)
		c.n++
		if f.n++; f.n == 1 {
			c.kinds++
		}
	}
}

// bits returns the information of texts, each after a zero byte.
func (g *ngram) bits(texts [][]byte) float64 {
	sum := 0.0
	for _, text := range texts {
		text = append([]byte{0}, text...)
		for i := 1; i < len(text); i++ {
			sum -= math.Log2(g.probability(text[max(0, i-len(g.contexts)+1):i], text[i]))
		}
	}
	return sum
}

func (g *ngram) probability(context []byte, b byte) float64 {
	p := 1.0 / 256
	for length := range len(context) + 1 {
		k := key(context[len(context)-length:])
		c := g.contexts[length].find(k)
		if c == nil {
			break // nor do longer ones occur
		}
		n, kinds, count := float64(c.n), float64(c.kinds), 0.0
		if f := g.followers[length].find(k<<8 | uint64(b)); f != nil {
			count = float64(f.n)
		}
		p = (count + kinds*p) / (n + kinds)
	}
	return p
}

// key packs up to 7 bytes.
func key(b []byte) uint64 {
	var k uint64
	for _, v := range b {
		k = k<<8 | uint64(v)
	}
	return k
}

// A table counts what belongs to keys: a hash table with open addressing, of whose entries
// a third and more is free. Go's maps take thrice as long for the hundreds of millions of
// counts that a corpus has.
type table struct {
	entries []entry // as many as a power of two
	used    int
}

type entry struct {
	key      uint64 // and 1, as 0 is for a free entry
	n, kinds uint32
}

// at returns the entry of a key, which is made if there is none. It is valid until the next
// call.
func (t *table) at(key uint64) *entry {
	if 3*t.used >= 2*len(t.entries) {
		t.grow()
	}
	e := t.slot(key + 1)
	if e.key == 0 {
		e.key = key + 1
		t.used++
	}
	return e
}

// find returns the entry of a key, or nil.
func (t *table) find(key uint64) *entry {
	if t.used == 0 {
		return nil
	}
	if e := t.slot(key + 1); e.key != 0 {
		return e
	}
	return nil
}

// slot returns the entry with a key, or the free one where it belongs.
func (t *table) slot(key uint64) *entry {
	mask := uint64(len(t.entries) - 1)
	for i := (key * 0x9e3779b97f4a7c15) >> 20 & mask; ; i = (i + 1) & mask {
		if e := &t.entries[i]; e.key == key || e.key == 0 {
			return e
		}
	}
}

func (t *table) grow() {
	old := t.entries
	t.entries = make([]entry, max(64, 2*len(old)))
	for _, e := range old {
		if e.key != 0 {
			*t.slot(e.key) = e
		}
	}
}
