package simd

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// FlushDenormals makes the processor take denormal numbers for zero. It returns where
// the setting before is kept, for LDMXCSR at the end of the function.
func FlushDenormals() Mem {
	const flush = 1<<15 | 1<<6 // of results, of operands
	local := AllocLocal(8)
	STMXCSR(local)
	r := GP32()
	MOVL(local, r)
	ORL(U32(flush), r)
	MOVL(r, local.Offset(4))
	LDMXCSR(local.Offset(4))
	return local
}
