package arm64

import (
	"fmt"
	"strings"
	"testing"
)

// TestEncodings compares one WORD of each kind with what llvm-mc 14 makes of its
// comment.
func TestEncodings(t *testing.T) {
	var file File
	f := file.Func("f", "func()", "")
	r := []V{f.V(), f.V(), f.V()}
	a, b := r[1], r[2]
	for want, emit := range map[string]func(){
		"0x4e3fd643 // fadd v3.4s, v18.4s, v31.4s":   func() { f.Add(a, b) },
		"0x6e3fd643 // faddp v3.4s, v18.4s, v31.4s":  func() { f.AddPairs(a, b) },
		"0x4ebfd643 // fsub v3.4s, v18.4s, v31.4s":   func() { f.Sub(a, b) },
		"0x6e3fde43 // fmul v3.4s, v18.4s, v31.4s":   func() { f.Mul(a, b) },
		"0x6e3ffe43 // fdiv v3.4s, v18.4s, v31.4s":   func() { f.Div(a, b) },
		"0x4e3ff643 // fmax v3.4s, v18.4s, v31.4s":   func() { f.Max(a, b) },
		"0x4ebff643 // fmin v3.4s, v18.4s, v31.4s":   func() { f.Min(a, b) },
		"0x6ebfe643 // fcmgt v3.4s, v18.4s, v31.4s":  func() { f.Greater(a, b) },
		"0x6ebfee43 // facgt v3.4s, v18.4s, v31.4s":  func() { f.AbsGreater(a, b) },
		"0x4ea0fa43 // fabs v3.4s, v18.4s":           func() { f.Abs(a) },
		"0x6ea0fa43 // fneg v3.4s, v18.4s":           func() { f.Neg(a) },
		"0x6ea1fa43 // fsqrt v3.4s, v18.4s":          func() { f.Sqrt(a) },
		"0x4e21da43 // scvtf v3.4s, v18.4s":          func() { f.FromInt(a) },
		"0x6e30fa43 // fmaxv s3, v18.4s":             func() { f.MaxAcross(a) },
		"0x0f08a643 // sxtl v3.8h, v18.8b":           func() { f.WidenLow8(a) },
		"0x4f08a643 // sxtl2 v3.8h, v18.16b":         func() { f.WidenHigh8(a) },
		"0x0f10a643 // sxtl v3.4s, v18.4h":           func() { f.WidenLow16(a) },
		"0x4f10a643 // sxtl2 v3.4s, v18.8h":          func() { f.WidenHigh16(a) },
		"0x4f3f0643 // sshr v3.4s, v18.4s, #1":       func() { f.ShiftRight(a, 1) },
		"0x4f210643 // sshr v3.4s, v18.4s, #31":      func() { f.ShiftRight(a, 31) },
		"0x6ebf4643 // ushl v3.4s, v18.4s, v31.4s":   func() { f.ShiftLeftBy(a, b) },
		"0x4f9f1243 // fmla v3.4s, v18.4s, v31.s[0]": func() { f.MulAddLane(a, b, 0, f.V()) },
		"0x4fbf1243 // fmla v3.4s, v18.4s, v31.s[1]": func() { f.MulAddLane(a, b, 1, f.V()) },
		"0x4f9f5a43 // fmls v3.4s, v18.4s, v31.s[2]": func() { f.MulSubLane(a, b, 2, f.V()) },
		"0x4fbf9a43 // fmul v3.4s, v18.4s, v31.s[3]": func() { f.MulLane(a, b, 3) },
	} {
		emit()
		in := f.code[len(f.code)-1]
		got := in.text(func(id int) int {
			switch id {
			case a.id:
				return 18
			case b.id:
				return 31
			}
			return 3
		})
		if got != "\tWORD $"+want+"\n" {
			t.Errorf("%q, want %s", got, want)
		}
	}
}

// numbers returns the registers that f gets for vectors.
func numbers(f *Func, vectors ...V) []int {
	number := f.allocate()
	var n []int
	for _, v := range vectors {
		n = append(n, number(v.id))
	}
	return n
}

func TestAllocate(t *testing.T) {
	var file File
	f := file.Func("f", "func(n int, p *float32)", "")
	n, p := f.Load("n"), f.Load("p")
	kept := f.Zero() // read in the last round, so that it lives through all of them
	var first, second V
	f.Loop("loop", n, func() {
		first = f.Add(kept, kept)
		second = f.Add(first, kept)
		f.Write(second, Mem{Base: p})
	})
	f.RET()
	got := numbers(f, kept, first, second)
	if got[0] == got[1] || got[0] == got[2] {
		t.Errorf("a register that lives through a loop shares its number with another: %v", got)
	}
	if got[1] != got[2] {
		t.Errorf("a register that is read for the last time is not used again: %v", got)
	}
}

func TestAllocateRefuses(t *testing.T) {
	for want, write := range map[string]func(f *Func){
		"not enough registers": func(f *Func) {
			var all []V
			for range 33 {
				all = append(all, f.Zero())
			}
			for _, v := range all {
				f.Add(v, v)
			}
		},
		"read before it is written": func(f *Func) { f.Abs(f.V()) },
		"no label":                  func(f *Func) { f.B("nowhere") },
		"twice":                     func(f *Func) { f.Label("x"); f.Label("x") },
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
					t.Errorf("panic %q, want one about %q", got, want)
				}
			}()
			var file File
			f := file.Func("f", "func()", "")
			write(f)
			f.RET()
			f.allocate()
		}()
	}
}

func TestArguments(t *testing.T) {
	var file File
	f := file.Func("f", "func(a *float32, s float32, n int, add bool)", "does nothing.")
	f.Load("add")
	f.LoadScalar("s")
	f.RET()
	got := file.Assembly("// x")
	for _, want := range []string{"TEXT ·f(SB), NOSPLIT, $0-25", "MOVBU add+24(FP), R0", "FMOVS s+8(FP), F0"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}
