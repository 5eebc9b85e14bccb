package main

import (
	"fmt"

	"github.com/seqmix/seqmix/internal/kernel/_asm/internal/arm64"
)

const (
	keyBlock = 8            // elements of a key and of a query that lie together
	keyRows  = keyBlock / 2 // of the state that the registers hold
)

// linattn emits linear attention: a block of channels goes through all positions with
// four elements of the key at a time, while that part of the state is in registers.
func linattn(file *arm64.File) {
	f := file.Func("linattnNEON", "func(l, parts int, y, v *float32, ldy, ldv int, keys *float32, ldk int, state, keep *float32)",
		"is linearGeneric for one block of channels.")
	l, parts := f.Load("l"), f.Load("parts")
	y, v, ldy, ldv := f.Load("y"), f.Load("v"), f.LoadBytes("ldy"), f.LoadBytes("ldv")
	keys, ldk, state, keep := f.Load("keys"), f.LoadBytes("ldk"), f.Load("state"), f.Load("keep")
	f.Loop("part", parts, func() {
		for first := 0; first < keyBlock; first += keyRows {
			var s [keyRows][blockVectors]vec
			at := func(n, i int) mem { return mem{Base: state, Off: (first+n)*blockBytes + i*vector} }
			for n := range s {
				for i := range s[n] {
					s[n][i] = f.Mul(f.Read(at(n, i)), f.Read(mem{Base: keep, Off: i * vector}))
				}
			}
			py, pv, key := copyOf(f, y), copyOf(f, v), copyOf(f, keys)
			f.Loop(fmt.Sprintf("position%d", first), copyOf(f, l), func() {
				k := f.Read(mem{Base: key, Off: 4 * first})
				q := f.Read(mem{Base: key, Off: 4 * (keyBlock + first)})
				var in, out [blockVectors]vec
				for i := range in {
					in[i], out[i] = f.Read(mem{Base: pv, Off: i * vector}), f.Read(mem{Base: py, Off: i * vector})
				}
				for n := range s {
					for i := range in {
						f.MulAddLane(in[i], k, n, s[n][i])
					}
					for i := range out {
						f.MulAddLane(s[n][i], q, n, out[i])
					}
				}
				for i, o := range out {
					f.Write(o, mem{Base: py, Off: i * vector})
				}
				f.ADD(ldy, py)
				f.ADD(ldv, pv)
				f.ADDI(2*4*keyBlock, key)
			})
			for n := range s {
				for i, x := range s[n] {
					f.Write(x, at(n, i))
				}
			}
		}
		f.ADD(ldk, keys)
		f.ADDI(keyBlock*blockBytes, state)
	})
	f.RET()
}
