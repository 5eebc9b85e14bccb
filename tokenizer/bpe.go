package tokenizer

import "container/heap"

// A merger joins neighbouring tokens, again and again the pair that comes first in a list
// (byte-pair encoding, arXiv:1508.07909). Of equal pairs the leftmost is joined.
type merger struct {
	pairs map[pair]merge
}

type pair struct{ left, right int32 }

type merge struct {
	rank int32 // the lower, the earlier
	id   int32 // of the two together
}

// node is a token in a list that shrinks.
type node struct {
	id         int32
	prev, next int32 // -1 at the ends
}

// candidate is a pair that may be joined.
type candidate struct {
	rank  int32
	left  int32 // nodes
	right int32
	ids   pair // their tokens when this was found: if they have changed, it is void
	into  int32
}

type candidates []candidate

func (c candidates) Len() int { return len(c) }
func (c candidates) Less(i, j int) bool {
	return c[i].rank < c[j].rank || c[i].rank == c[j].rank && c[i].left < c[j].left
}
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *candidates) Push(x any)   { *c = append(*c, x.(candidate)) }
func (c *candidates) Pop() any {
	last := len(*c) - 1
	x := (*c)[last]
	*c = (*c)[:last]
	return x
}

// shortPiece is the number of tokens up to which looking at all pairs again and again is
// faster than keeping them in order.
const shortPiece = 24

// merge joins tokens and returns the rest. It overwrites ids.
func (m *merger) merge(ids []int32) []int32 {
	if len(ids) <= shortPiece {
		return m.mergeShort(ids)
	}
	return m.mergeLong(ids)
}

func (m *merger) mergeShort(ids []int32) []int32 {
	for len(ids) > 1 {
		at, best := -1, merge{}
		for i := range len(ids) - 1 {
			if p, ok := m.pairs[pair{ids[i], ids[i+1]}]; ok && (at < 0 || p.rank < best.rank) {
				at, best = i, p
			}
		}
		if at < 0 {
			break
		}
		ids[at] = best.id
		ids = append(ids[:at+1], ids[at+2:]...)
	}
	return ids
}

func (m *merger) mergeLong(ids []int32) []int32 {
	nodes := make([]node, len(ids))
	var queue candidates
	for i, id := range ids {
		nodes[i] = node{id, int32(i) - 1, int32(i) + 1}
	}
	nodes[len(ids)-1].next = -1
	consider := func(left int32) {
		right := nodes[left].next
		if right < 0 {
			return
		}
		ids := pair{nodes[left].id, nodes[right].id}
		if p, ok := m.pairs[ids]; ok {
			heap.Push(&queue, candidate{p.rank, left, right, ids, p.id})
		}
	}
	for i := range ids {
		consider(int32(i))
	}
	const gone = -2
	for queue.Len() > 0 {
		c := heap.Pop(&queue).(candidate)
		left, right := &nodes[c.left], &nodes[c.right]
		if left.id != c.ids.left || right.id != c.ids.right || left.next != c.right {
			continue
		}
		left.id, left.next = c.into, right.next
		right.id = gone
		if left.next >= 0 {
			nodes[left.next].prev = c.left
		}
		if left.prev >= 0 {
			consider(left.prev)
		}
		consider(c.left)
	}
	out := ids[:0]
	for i := int32(0); i >= 0; i = nodes[i].next {
		out = append(out, nodes[i].id)
	}
	return out
}
