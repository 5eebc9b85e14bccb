// Package args reads the arguments of the function that is being emitted.
package args

import (
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// At returns where an argument lies. It is the function's to change.
func At(name string) operand.Mem {
	b, err := build.Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// Load returns a register that holds an argument.
func Load(name string) reg.Register { return LoadTo(name, build.GP64()) }

// LoadTo loads an argument into r.
func LoadTo(name string, r reg.Register) reg.Register { return build.Load(build.Param(name), r) }

// LoadBytes loads a number of float32s and makes it one of bytes.
func LoadBytes(name string) reg.Register {
	r := Load(name)
	build.SHLQ(operand.U8(2), r)
	return r
}
