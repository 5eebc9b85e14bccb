package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"unicode/utf8"
)

// Bounds on what a pickle may make the unpickler do. A checkpoint of 100,000
// tensors stays an order of magnitude below each.
const (
	maxPickle  = 64 << 20 // bytes
	maxOps     = 1 << 24
	maxStack   = 1 << 20
	maxMemo    = 1 << 22
	maxCells   = 1 << 23 // objects and their elements
	maxDecoded = maxPickle
)

// An unpickler runs the program that a pickle is. It has the opcodes of protocols
// 2 to 5 that build data; those that name a class or call a function build or call
// only what knownGlobals lists.
type unpickler struct {
	data    []byte
	pos     int
	stack   []any
	marks   []int // heights of the stack
	memo    map[uint32]any
	cells   int
	decoded int
	globals globals

	// persistent builds the object of a persistent id, as storages are.
	persistent func(id any) (any, error)
}

// Opcodes, named as in Python's pickle.py.
const (
	opMark           = '('
	opStop           = '.'
	opPop            = '0'
	opPopMark        = '1'
	opDup            = '2'
	opBinFloat       = 'G'
	opBinInt         = 'J'
	opBinInt1        = 'K'
	opBinInt2        = 'M'
	opNone           = 'N'
	opBinPersID      = 'Q'
	opReduce         = 'R'
	opBinString      = 'T'
	opShortBinString = 'U'
	opBinUnicode     = 'X'
	opAppend         = 'a'
	opBuild          = 'b'
	opGlobal         = 'c'
	opAppends        = 'e'
	opBinGet         = 'h'
	opLongBinGet     = 'j'
	opEmptyList      = ']'
	opBinPut         = 'q'
	opLongBinPut     = 'r'
	opSetItem        = 's'
	opTuple          = 't'
	opEmptyTuple     = ')'
	opSetItems       = 'u'
	opEmptyDict      = '}'

	opProto    = 0x80
	opNewObj   = 0x81
	opTuple1   = 0x85
	opTuple2   = 0x86
	opTuple3   = 0x87
	opNewTrue  = 0x88
	opNewFalse = 0x89
	opLong1    = 0x8a
	opLong4    = 0x8b

	opBinBytes      = 'B'
	opShortBinBytes = 'C'

	opShortBinUnicode = 0x8c
	opBinUnicode8     = 0x8d
	opBinBytes8       = 0x8e
	opEmptySet        = 0x8f
	opAddItems        = 0x90
	opFrozenSet       = 0x91
	opNewObjEx        = 0x92
	opStackGlobal     = 0x93
	opMemoize         = 0x94
	opFrame           = 0x95
	opByteArray8      = 0x96
)

// unpickle runs a pickle and returns the object it builds. The error says at which
// byte the trouble is.
func unpickle(data []byte, inert []string, persistent func(id any) (any, error)) (any, error) {
	if len(data) > maxPickle {
		return nil, fmt.Errorf("a pickle of %d bytes, want at most %d", len(data), maxPickle)
	}
	u := &unpickler{data: data, memo: map[uint32]any{}, globals: globals{inert}, persistent: persistent}
	if len(data) < 2 || data[0] != opProto || data[1] < 2 || data[1] > 5 {
		return nil, errors.New("does not begin like a pickle of protocol 2 to 5")
	}
	for ops := 0; ; ops++ {
		at := u.pos
		op, err := u.byte()
		if err == nil && op == opStop {
			return u.stop()
		}
		if err == nil && ops == maxOps {
			err = fmt.Errorf("more than %d opcodes", maxOps)
		}
		if err == nil {
			err = u.step(op)
		}
		if err != nil {
			return nil, fmt.Errorf("at byte %d (opcode %#02x): %w", at, op, err)
		}
	}
}

func (u *unpickler) stop() (any, error) {
	if len(u.stack) != 1 || len(u.marks) != 0 {
		return nil, fmt.Errorf("ends with %d objects on the stack, want 1", len(u.stack))
	}
	if u.pos != len(u.data) {
		return nil, fmt.Errorf("goes on for %d bytes after its end", len(u.data)-u.pos)
	}
	return u.stack[0], nil
}

// step executes one opcode.
func (u *unpickler) step(op byte) error {
	switch op {
	case opProto:
		v, err := u.byte()
		if err == nil && v > 5 {
			err = fmt.Errorf("protocol %d, want 2 to 5", v)
		}
		return err
	case opFrame:
		_, err := u.take(8)
		return err
	case opNone:
		return u.push(nil)
	case opNewTrue:
		return u.push(true)
	case opNewFalse:
		return u.push(false)
	case opBinInt, opBinInt1, opBinInt2, opLong1, opLong4, opBinFloat:
		return u.number(op)
	case opBinString, opShortBinString, opBinUnicode, opShortBinUnicode, opBinUnicode8:
		return u.text(op)
	case opBinBytes, opShortBinBytes, opBinBytes8, opByteArray8:
		return u.binary(op)
	case opMark, opPop, opPopMark, opDup:
		return u.stackOp(op)
	case opBinPut, opLongBinPut, opMemoize, opBinGet, opLongBinGet:
		return u.memoOp(op)
	case opEmptyTuple, opTuple, opTuple1, opTuple2, opTuple3:
		return u.tuple(op)
	case opEmptyList, opEmptySet, opAppend, opAppends, opAddItems, opFrozenSet:
		return u.list(op)
	case opEmptyDict, opSetItem, opSetItems:
		return u.dict(op)
	case opGlobal, opStackGlobal:
		return u.global(op)
	case opReduce, opNewObj, opNewObjEx, opBuild, opBinPersID:
		return u.object(op)
	}
	return errors.New("an opcode that PyTorch does not write")
}

// take returns the next n bytes.
func (u *unpickler) take(n uint64) ([]byte, error) {
	if n > uint64(len(u.data)-u.pos) {
		return nil, fmt.Errorf("cut off: wants %d more bytes, there are %d", n, len(u.data)-u.pos)
	}
	b := u.data[u.pos : u.pos+int(n)]
	u.pos += int(n)
	return b, nil
}

func (u *unpickler) byte() (byte, error) {
	b, err := u.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// width returns the number of bytes of the number that follows an opcode: a value,
// a length or an index of the memo.
func width(op byte) int {
	switch op {
	case opBinInt1, opLong1, opShortBinString, opShortBinUnicode, opShortBinBytes, opBinPut, opBinGet:
		return 1
	case opBinInt2:
		return 2
	case opBinInt, opLong4, opBinString, opBinUnicode, opBinBytes, opLongBinPut, opLongBinGet:
		return 4
	case opBinUnicode8, opBinBytes8, opByteArray8:
		return 8
	}
	return 0
}

// uint returns an unsigned number of so many bytes.
func (u *unpickler) uint(size int) (uint64, error) {
	b, err := u.take(uint64(size))
	var v uint64
	for i := len(b) - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v, err
}

// counted returns as many bytes as a number of so many bytes before them says.
func (u *unpickler) counted(size int) ([]byte, error) {
	n, err := u.uint(size)
	if err != nil {
		return nil, err
	}
	return u.take(n)
}

func (u *unpickler) push(v any) error {
	if len(u.stack) >= maxStack {
		return fmt.Errorf("more than %d objects on the stack", maxStack)
	}
	u.stack = append(u.stack, v)
	return nil
}

// floor is the height of the stack below which the current mark does not let go.
func (u *unpickler) floor() int {
	if len(u.marks) == 0 {
		return 0
	}
	return u.marks[len(u.marks)-1]
}

// pop removes n objects from the stack. They stay valid until the next push.
func (u *unpickler) pop(n int) ([]any, error) {
	if len(u.stack)-u.floor() < n {
		return nil, errors.New("takes more objects from the stack than there are")
	}
	top := u.stack[len(u.stack)-n:]
	u.stack = u.stack[:len(u.stack)-n]
	return top, nil
}

// popMark removes the objects above the last mark, and the mark.
func (u *unpickler) popMark() ([]any, error) {
	if len(u.marks) == 0 {
		return nil, errors.New("no mark on the stack")
	}
	items, err := u.pop(len(u.stack) - u.floor())
	u.marks = u.marks[:len(u.marks)-1]
	return items, err
}

func (u *unpickler) top() (any, error) {
	if len(u.stack) <= u.floor() {
		return nil, errors.New("takes more objects from the stack than there are")
	}
	return u.stack[len(u.stack)-1], nil
}

// charge accounts for memory that is not in proportion to the bytes read.
func (u *unpickler) charge(cells int) error {
	u.cells += 4 + cells
	if u.cells > maxCells {
		return fmt.Errorf("builds more than %d objects", maxCells)
	}
	return nil
}

func (u *unpickler) number(op byte) error {
	switch op {
	case opBinInt, opBinInt1, opBinInt2:
		v, err := u.uint(width(op))
		if err != nil {
			return err
		}
		if op == opBinInt {
			return u.push(int64(int32(v)))
		}
		return u.push(int64(v))
	case opBinFloat:
		b, err := u.take(8)
		if err != nil {
			return err
		}
		return u.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
	}
	b, err := u.counted(width(op))
	if err != nil {
		return err
	}
	return u.push(decodeLong(b))
}

// decodeLong returns a number in little-endian two's complement: an int64 if it
// fits, a *big.Int if not.
func decodeLong(b []byte) any {
	if len(b) == 0 {
		return int64(0)
	}
	reversed := slices.Clone(b)
	slices.Reverse(reversed)
	v := new(big.Int).SetBytes(reversed)
	if reversed[0]&0x80 != 0 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	if v.IsInt64() {
		return v.Int64()
	}
	return v
}

func (u *unpickler) text(op byte) error {
	b, err := u.counted(width(op))
	if err != nil {
		return err
	}
	if !utf8.Valid(b) {
		return errors.New("a string that is not UTF-8")
	}
	return u.push(string(b))
}

func (u *unpickler) binary(op byte) error {
	b, err := u.counted(width(op))
	if err != nil {
		return err
	}
	return u.push(slices.Clone(b))
}

func (u *unpickler) stackOp(op byte) error {
	switch op {
	case opMark:
		if len(u.marks) >= maxStack {
			return fmt.Errorf("more than %d marks", maxStack)
		}
		u.marks = append(u.marks, len(u.stack))
		return nil
	case opPop:
		if len(u.marks) > 0 && u.floor() == len(u.stack) {
			u.marks = u.marks[:len(u.marks)-1]
			return nil
		}
		_, err := u.pop(1)
		return err
	case opPopMark:
		_, err := u.popMark()
		return err
	}
	v, err := u.top()
	if err != nil {
		return err
	}
	return u.push(v)
}

func (u *unpickler) memoOp(op byte) error {
	n, err := u.uint(width(op))
	if err != nil {
		return err
	}
	if op == opBinGet || op == opLongBinGet {
		v, ok := u.memo[uint32(n)]
		if !ok {
			return fmt.Errorf("object %d was not stored before", n)
		}
		return u.push(v)
	}
	if op == opMemoize {
		n = uint64(len(u.memo))
	}
	v, err := u.top()
	if err != nil {
		return err
	}
	if len(u.memo) >= maxMemo {
		return fmt.Errorf("stores more than %d objects", maxMemo)
	}
	u.memo[uint32(n)] = v
	return nil
}

func (u *unpickler) tuple(op byte) error {
	var items []any
	var err error
	switch op {
	case opEmptyTuple:
	case opTuple:
		items, err = u.popMark()
	default:
		items, err = u.pop(int(op-opTuple1) + 1)
	}
	if err == nil {
		err = u.charge(len(items))
	}
	if err != nil {
		return err
	}
	return u.push(append(Tuple{}, items...))
}

func (u *unpickler) list(op byte) error {
	var items []any
	var err error
	switch op {
	case opEmptyList, opEmptySet:
		return errors.Join(u.charge(0), u.push(&List{}))
	case opFrozenSet:
		if items, err = u.popMark(); err != nil {
			return err
		}
		return errors.Join(u.charge(len(items)), u.push(&List{slices.Clone(items)}))
	case opAppend:
		items, err = u.pop(1)
	default:
		items, err = u.popMark()
	}
	if err != nil {
		return err
	}
	v, err := u.top()
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case *List:
		v.Items = append(v.Items, items...)
	case *Opaque:
		v.Items = append(v.Items, items...)
	default:
		return fmt.Errorf("appends to %s, want a list", kind(v))
	}
	return nil
}

func (u *unpickler) dict(op byte) error {
	var items []any
	var err error
	switch op {
	case opEmptyDict:
		return errors.Join(u.charge(0), u.push(&Dict{}))
	case opSetItem:
		items, err = u.pop(2)
	default:
		items, err = u.popMark()
	}
	if err == nil && len(items)%2 != 0 {
		err = errors.New("a key without a value")
	}
	if err != nil {
		return err
	}
	v, err := u.top()
	if err != nil {
		return err
	}
	if o, ok := v.(*Opaque); ok {
		o.Items = append(o.Items, items...)
		return nil
	}
	d, ok := v.(*Dict)
	if !ok {
		return fmt.Errorf("sets an item of %s, want a dict", kind(v))
	}
	for i := 0; i < len(items); i += 2 {
		if err := d.set(items[i], items[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpickler) global(op byte) error {
	var module, name string
	if op == opGlobal {
		lines := bytes.SplitN(u.data[u.pos:min(len(u.data), u.pos+2000)], []byte("\n"), 3)
		if len(lines) < 3 {
			return errors.New("cut off, or a name that is too long")
		}
		module, name = string(lines[0]), string(lines[1])
		u.pos += len(module) + len(name) + 2
	} else {
		names, err := u.pop(2)
		if err != nil {
			return err
		}
		var ok1, ok2 bool
		module, ok1 = names[0].(string)
		name, ok2 = names[1].(string)
		if !ok1 || !ok2 {
			return errors.New("the name of a global is not a string")
		}
	}
	g, err := u.globals.find(module, name)
	if err != nil {
		return err
	}
	return u.push(g)
}

func (u *unpickler) object(op byte) error {
	n := 2
	switch op {
	case opBuild, opBinPersID:
		n = 1
	case opNewObjEx:
		n = 3
	}
	args, err := u.pop(n)
	if err != nil {
		return err
	}
	if op == opBinPersID {
		v, err := u.persistent(args[0])
		if err != nil {
			return err
		}
		return u.push(v)
	}
	if op == opBuild {
		v, err := u.top()
		if err != nil {
			return err
		}
		return build(v, args[0])
	}
	g, ok := args[0].(*Global)
	if !ok {
		return fmt.Errorf("calls %s, want a function", kind(args[0]))
	}
	tuple, ok := args[1].(Tuple)
	if !ok {
		return fmt.Errorf("calls %s with %s, want a tuple", g, kind(args[1]))
	}
	if op == opNewObjEx {
		if d, ok := args[2].(*Dict); !ok || d.Len() > 0 {
			return fmt.Errorf("calls %s with named arguments", g)
		}
	}
	v, err := g.call(u, tuple)
	if err != nil {
		return fmt.Errorf("%s: %w", g, err)
	}
	return u.push(v)
}

// build sets the state of an object after its construction.
func build(v, state any) error {
	switch v := v.(type) {
	case *Opaque:
		v.State = state
		return nil
	case *Dict:
		if d, ok := state.(*Dict); ok {
			v.attrs = d
			return nil
		}
	}
	return fmt.Errorf("sets the state of %s to %s", kind(v), kind(state))
}

// kind names the type of an object in messages.
func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "a bool"
	case int64, *big.Int:
		return "an int"
	case float64:
		return "a float"
	case complex128:
		return "a complex"
	case string:
		return "a str"
	case []byte:
		return "bytes"
	case Tuple:
		return "a tuple"
	case *List:
		return "a list"
	case *Dict:
		return "a dict"
	case *Entry:
		return "a tensor"
	case *storageRef:
		return "a storage"
	case *Opaque:
		return "an object of class " + v.Class
	case *Global:
		return "the global " + v.String()
	}
	return fmt.Sprintf("a %T", v)
}
