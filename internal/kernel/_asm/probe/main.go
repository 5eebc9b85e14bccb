// Command probe generates the loops that measure what the machine can do.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("!purego")
	fma("probeFMAAVX512", func() reg.VecVirtual { return ZMM() })
	fma("probeFMAAVX2", func() reg.VecVirtual { return YMM() })
	read("probeReadAVX512", 64, func() reg.VecVirtual { return ZMM() })
	read("probeReadAVX2", 32, func() reg.VecVirtual { return YMM() })
	Generate()
}

// fma emits a loop of 48 independent multiply-adds.
func fma(name string, vector func() reg.VecVirtual) {
	TEXT(name, NOSPLIT, "func(n int)")
	Doc(name + " runs n rounds of 48 vector multiply-adds.")
	n := Load(Param("n"), GP64())
	x := vector()
	zero(x)
	acc := make([]reg.VecVirtual, 12)
	for i := range acc {
		acc[i] = vector()
		zero(acc[i])
	}
	Label("loop")
	for u := 0; u < 4; u++ {
		for _, a := range acc {
			VFMADD231PS(x, x, a)
		}
	}
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// read emits a loop that loads every byte, 8 vectors a round.
func read(name string, width int, vector func() reg.VecVirtual) {
	TEXT(name, NOSPLIT, "func(p *float32, rounds int)")
	Pragma("noescape")
	Doc(name + " loads rounds times 8 vectors from p on.")
	p := Load(Param("p"), GP64())
	n := Load(Param("rounds"), GP64())
	acc := make([]reg.VecVirtual, 8)
	for i := range acc {
		acc[i] = vector()
		zero(acc[i])
	}
	Label("loop")
	for i, a := range acc {
		VMAXPS(Mem{Base: p, Disp: i * width}, a, a)
		if width == 64 || i%2 == 0 {
			PREFETCHT0(Mem{Base: p, Disp: i*width + 4096})
		}
	}
	ADDQ(I32(int32(8*width)), p)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func zero(x reg.VecVirtual) {
	if x.Size() == 64 {
		VPXORD(x, x, x)
	} else {
		VXORPS(x, x, x)
	}
}
