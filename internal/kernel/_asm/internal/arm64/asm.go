// Package arm64 writes Go assembly for arm64 with NEON. Functions are written with as
// many registers as it takes; the package finds out which of them live at the same time
// and gives them numbers. Instructions that Go's assembler does not know become WORDs.
package arm64

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/types"
	"slices"
	"strings"
)

// A File is a file of assembly and the Go declarations that belong to it.
type File struct {
	funcs     []*Func
	constants [][Lanes]uint32 // vectors in the data section
}

// A Func is a function that is being written. Its methods append instructions.
type Func struct {
	file   *File
	name   string
	doc    string
	params []param
	source string // the Go signature, without the name
	args   int    // bytes of arguments
	frame  int    // bytes of local memory
	flags  string
	code   []inst

	vectors, generals int // registers in use
	constBase         R
	consts            map[uint32]V
}

type param struct {
	name   string
	offset int
	size   int
}

// Func begins a function with a signature in Go, for which it makes the declaration
// with doc as comment. A result is set as ret.
func (file *File) Func(name, signature, doc string) *Func {
	f := &Func{file: file, name: name, doc: doc, source: signature, flags: "NOSPLIT"}
	expr, err := parser.ParseExpr(signature)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", name, err))
	}
	t := expr.(*ast.FuncType)
	for _, field := range t.Params.List {
		for _, id := range field.Names {
			f.add(id.Name, sizeof(field.Type))
		}
	}
	if t.Results != nil {
		f.args = (f.args + 7) / 8 * 8 // where results begin
		f.add("ret", sizeof(t.Results.List[0].Type))
	}
	file.funcs = append(file.funcs, f)
	return f
}

func (f *Func) add(name string, size int) {
	f.args = (f.args + size - 1) / size * size
	f.params = append(f.params, param{name, f.args, size})
	f.args += size
}

func sizeof(t ast.Expr) int {
	if _, pointer := t.(*ast.StarExpr); pointer {
		return 8
	}
	switch name := types.ExprString(t); name {
	case "int":
		return 8
	case "float32", "uint32":
		return 4
	case "bool", "byte":
		return 1
	default:
		panic("argument of type " + name)
	}
}

// Split lets the stack grow before the function, which it must if it needs much of it.
func (f *Func) Split() { f.flags = "0" }

// Local reserves memory in the frame and returns a register that points to it.
func (f *Func) Local(bytes int) R {
	r := f.R()
	f.frame += bytes
	f.emit(fmt.Sprintf("MOVD $local%d-%d(SP), R%%d", len(f.code), f.frame), def(r))
	return r
}

func (f *Func) param(name string) param {
	i := slices.IndexFunc(f.params, func(p param) bool { return p.name == name })
	if i < 0 {
		panic(fmt.Sprintf("%s has no argument %s", f.name, name))
	}
	return f.params[i]
}

// Load returns a register that holds an argument.
func (f *Func) Load(name string) R {
	r, p := f.R(), f.param(name)
	op := map[int]string{8: "MOVD", 4: "MOVWU", 1: "MOVBU"}[p.size]
	f.emit(fmt.Sprintf("%s %s+%d(FP), R%%d", op, p.name, p.offset), def(r))
	return r
}

// LoadBytes loads a number of float32s and makes it one of bytes.
func (f *Func) LoadBytes(name string) R {
	r := f.Load(name)
	f.LSL(2, r)
	return r
}

// Set changes an argument of 8 bytes, or sets the result.
func (f *Func) Set(name string, r R) {
	p := f.param(name)
	f.emit(fmt.Sprintf("MOVD R%%d, %s+%d(FP)", p.name, p.offset), use(r))
}

// LoadScalar returns a vector whose first lane is a float32 argument.
func (f *Func) LoadScalar(name string) V {
	r, p := f.V(), f.param(name)
	f.emit(fmt.Sprintf("FMOVS %s+%d(FP), F%%d", p.name, p.offset), def(r))
	return r
}

// Interleave writes two pieces of code without branches that have nothing to do with
// each other, one instruction of each in turn, so that they run side by side.
func (f *Func) Interleave(a, b func()) {
	start := len(f.code)
	a()
	middle := len(f.code)
	b()
	first, second := slices.Clone(f.code[start:middle]), slices.Clone(f.code[middle:])
	f.code = f.code[:start]
	for len(first) > 0 || len(second) > 0 {
		for _, s := range []*[]inst{&first, &second} {
			if len(*s) > 0 {
				f.code = append(f.code, (*s)[0])
				*s = (*s)[1:]
			}
		}
	}
}

// Assembly returns the text of the .s file.
func (file *File) Assembly(header string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n//go:build !purego\n\n#include \"textflag.h\"\n", header)
	for _, f := range file.funcs {
		fmt.Fprintf(&b, "\n// func %s%s\n", f.name, strings.TrimPrefix(f.source, "func"))
		fmt.Fprintf(&b, "TEXT ·%s(SB), %s, $%d-%d\n", f.name, f.flags, f.frame, f.args)
		numbers := f.allocate()
		for _, in := range f.code {
			b.WriteString(in.text(numbers))
		}
	}
	if len(file.constants) > 0 {
		b.WriteByte('\n')
		for i, c := range file.constants {
			for half := range 2 {
				fmt.Fprintf(&b, "DATA consts<>+%d(SB)/8, $0x%08x%08x\n", vectorBytes*i+8*half, c[2*half+1], c[2*half])
			}
		}
		fmt.Fprintf(&b, "GLOBL consts<>(SB), RODATA|NOPTR, $%d\n", vectorBytes*len(file.constants))
	}
	return b.String()
}

// Stubs returns the text of the .go file with the declarations.
func (file *File) Stubs(header, pkg string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n//go:build !purego\n\npackage %s\n", header, pkg)
	for _, f := range file.funcs {
		fmt.Fprintf(&b, "\n// %s %s\n", f.name, f.doc)
		if strings.Contains(f.source, "*") {
			b.WriteString("//\n//go:noescape\n")
		}
		fmt.Fprintf(&b, "func %s%s\n", f.name, strings.TrimPrefix(f.source, "func"))
	}
	return b.String()
}
