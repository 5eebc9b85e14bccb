package checkpoint

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// String returns the full name, as in "torch.Size".
func (g *Global) String() string { return g.Module + "." + g.Name }

// call builds what a call of the global gives. Classes that only serve as a name,
// as those of storages do, cannot be called.
func (g *Global) call(u *unpickler, args Tuple) (any, error) {
	if g.construct == nil {
		return nil, errors.New("is not a function")
	}
	return g.construct(u, args)
}

// globals finds what a pickle may name.
type globals struct {
	inert []string // classes whose objects become Opaque
}

// find returns a DType or a *Global.
func (g globals) find(module, name string) (any, error) {
	// Python 2 has another name for the module of the built-in functions.
	if module == "__builtin__" {
		module = "builtins"
	}
	full := module + "." + name
	if construct, ok := knownGlobals[full]; ok {
		return &Global{module, name, construct}, nil
	}
	if module == "torch" {
		if d, ok := torchTypes[name]; ok {
			return d, nil
		}
	}
	if full == "_io.BytesIO" || slices.Contains(g.inert, full) {
		return opaque(module, name), nil
	}
	return nil, fmt.Errorf("names %s, which is not among the classes and functions that tensors are built from", short(full))
}

// opaque returns a class whose objects are Opaque.
func opaque(module, name string) *Global {
	g := &Global{Module: module, Name: name}
	g.construct = func(u *unpickler, args Tuple) (any, error) {
		return &Opaque{Class: g.String(), Args: args}, u.charge(0)
	}
	return g
}

// knownGlobals are the classes and functions that this package has its own
// implementation of. Nothing else is ever called.
var knownGlobals map[string]func(*unpickler, Tuple) (any, error)

func init() {
	knownGlobals = map[string]func(*unpickler, Tuple) (any, error){
		"collections.OrderedDict": newDict,
		"builtins.dict":           newDict,
		"builtins.list":           newList,
		"builtins.set":            newList,
		"builtins.frozenset":      newList,
		"builtins.complex":        newComplex,
		"builtins.bytes":          newBytes,
		"builtins.bytearray":      newBytes,
		"_codecs.encode":          encodeLatin1,

		"torch.Size":   newSize,
		"torch.device": newDevice,

		"torch._utils._rebuild_tensor":               rebuildTensor,
		"torch._utils._rebuild_tensor_v2":            rebuildTensor,
		"torch._utils._rebuild_tensor_v3":            rebuildTensor3,
		"torch._utils._rebuild_parameter":            rebuildParameter,
		"torch._utils._rebuild_parameter_with_state": rebuildParameter,
		"torch._tensor._rebuild_from_type_v2":        rebuildFromType,

		"torch.Tensor":                 nil,
		"torch.nn.Parameter":           nil,
		"torch.nn.parameter.Parameter": nil,
		"torch.UntypedStorage":         nil,
		"torch.storage.UntypedStorage": nil,
	}
	for name := range storageTypes {
		knownGlobals["torch."+name] = nil
	}
}

// storageTypes are the element types of the storage classes.
var storageTypes = map[string]DType{
	"DoubleStorage":        F64,
	"FloatStorage":         F32,
	"HalfStorage":          F16,
	"BFloat16Storage":      BF16,
	"LongStorage":          I64,
	"IntStorage":           I32,
	"ShortStorage":         I16,
	"CharStorage":          I8,
	"ByteStorage":          U8,
	"BoolStorage":          Bool,
	"ComplexFloatStorage":  C64,
	"ComplexDoubleStorage": C128,
}

// torchTypes are the names of element types in the module torch.
var torchTypes = map[string]DType{
	"float64": F64, "double": F64,
	"float32": F32, "float": F32,
	"float16": F16, "half": F16,
	"bfloat16":        BF16,
	"float8_e4m3fn":   F8E4M3,
	"float8_e4m3fnuz": F8E4M3FNUZ,
	"float8_e5m2":     F8E5M2,
	"float8_e5m2fnuz": F8E5M2FNUZ,
	"float8_e8m0fnu":  F8E8M0,
	"int64":           I64, "long": I64,
	"int32": I32, "int": I32,
	"int16": I16, "short": I16,
	"int8":   I8,
	"uint64": U64, "uint32": U32, "uint16": U16, "uint8": U8,
	"bool":      Bool,
	"complex64": C64, "cfloat": C64,
	"complex128": C128, "cdouble": C128,
}

// newDict is dict and OrderedDict: of nothing, or of a list of pairs.
func newDict(u *unpickler, args Tuple) (any, error) {
	d := &Dict{}
	if len(args) == 0 {
		return d, u.charge(0)
	}
	pairs, ok := args[0].(*List)
	if len(args) > 1 || !ok {
		return nil, errors.New("wants no argument or a list of pairs")
	}
	if err := u.charge(len(pairs.Items)); err != nil {
		return nil, err
	}
	for _, p := range pairs.Items {
		var pair []any
		switch p := p.(type) {
		case Tuple:
			pair = p
		case *List:
			pair = p.Items
		}
		if len(pair) != 2 {
			return nil, errors.New("wants no argument or a list of pairs")
		}
		if err := d.set(pair[0], pair[1]); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// newList is list, set and frozenset.
func newList(u *unpickler, args Tuple) (any, error) {
	if len(args) == 0 {
		return &List{}, u.charge(0)
	}
	var items []any
	switch a := args[0].(type) {
	case *List:
		items = a.Items
	case Tuple:
		items = a
	default:
		return nil, errors.New("wants no argument or a list")
	}
	if len(args) > 1 {
		return nil, errors.New("wants no argument or a list")
	}
	return &List{slices.Clone(items)}, u.charge(len(items))
}

func newComplex(_ *unpickler, args Tuple) (any, error) {
	if len(args) == 2 {
		re, ok1 := args[0].(float64)
		im, ok2 := args[1].(float64)
		if ok1 && ok2 {
			return complex(re, im), nil
		}
	}
	return nil, errors.New("wants two floats")
}

func newBytes(u *unpickler, args Tuple) (any, error) {
	if len(args) == 0 {
		return []byte{}, nil
	}
	if b, ok := args[0].([]byte); ok && len(args) == 1 {
		return b, nil
	}
	return nil, errors.New("wants bytes")
}

// encodeLatin1 is the function by which protocol 2 writes bytes: a string whose
// characters are them.
func encodeLatin1(u *unpickler, args Tuple) (any, error) {
	bad := errors.New(`wants a string and "latin1"`)
	if len(args) != 2 || args[1] != any("latin1") {
		return nil, bad
	}
	s, ok := args[0].(string)
	if !ok {
		return nil, bad
	}
	if u.decoded += len(s); u.decoded > maxDecoded {
		return nil, fmt.Errorf("builds more than %d bytes", maxDecoded)
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff {
			return nil, fmt.Errorf("the character %q is not in latin1", r)
		}
		b = append(b, byte(r))
	}
	return b, nil
}

func newSize(_ *unpickler, args Tuple) (any, error) {
	if len(args) == 1 {
		if t, ok := args[0].(Tuple); ok {
			return t, nil
		}
	}
	return nil, errors.New("wants a tuple")
}

func newDevice(u *unpickler, args Tuple) (any, error) {
	return &Opaque{Class: "torch.device", Args: args}, u.charge(0)
}

// rebuildTensor is _rebuild_tensor(storage, offset, size, stride) and
// _rebuild_tensor_v2, which has arguments about gradients after these.
func rebuildTensor(u *unpickler, args Tuple) (any, error) {
	if len(args) < 4 || len(args) > 7 {
		return nil, fmt.Errorf("has %d arguments, want 4 to 7", len(args))
	}
	return strided(u, args, "")
}

// rebuildTensor3 is _rebuild_tensor_v3(storage, offset, size, stride,
// requires_grad, backward_hooks, dtype[, metadata]), for types without a storage
// class of their own.
func rebuildTensor3(u *unpickler, args Tuple) (any, error) {
	if len(args) < 7 || len(args) > 8 {
		return nil, fmt.Errorf("has %d arguments, want 7 or 8", len(args))
	}
	d, ok := args[6].(DType)
	if !ok {
		return nil, fmt.Errorf("the type is %s", kind(args[6]))
	}
	return strided(u, args, d)
}

// strided makes an entry from a storage, an offset, a shape and strides. d is the
// type if the storage has none.
func strided(u *unpickler, args Tuple, d DType) (any, error) {
	ref, ok := args[0].(*storageRef)
	if !ok {
		return nil, fmt.Errorf("the storage is %s", kind(args[0]))
	}
	if d == "" {
		d = ref.dtype
	} else if ref.dtype != U8 && ref.dtype != d {
		return nil, fmt.Errorf("type %s on a storage of type %s", d, ref.dtype)
	}
	offset, ok := args[1].(int64)
	if !ok {
		return nil, fmt.Errorf("the offset is %s, want an int", kind(args[1]))
	}
	shape, err := dims(args[2])
	if err != nil {
		return nil, fmt.Errorf("shape: %w", err)
	}
	strides, err := dims(args[3])
	if err != nil {
		return nil, fmt.Errorf("strides: %w", err)
	}
	if err := u.charge(4 * len(shape)); err != nil {
		return nil, err
	}
	return ref.entry(d, offset, shape, strides)
}

// dims returns a tuple of ints that are not negative.
func dims(v any) ([]int, error) {
	want := fmt.Sprintf("want a tuple of at most %d ints from 0 to %d", maxRank, maxInt)
	t, ok := v.(Tuple)
	if !ok {
		return nil, fmt.Errorf("is %s, %s", kind(v), want)
	}
	if len(t) > maxRank {
		return nil, fmt.Errorf("has %d numbers, %s", len(t), want)
	}
	d := make([]int, len(t))
	for i := range t {
		n, ok := t[i].(int64)
		if !ok || n < 0 || uint64(n) > maxInt {
			return nil, fmt.Errorf("has %v in it, %s", printable(t[i]), want)
		}
		d[i] = int(n)
	}
	return d, nil
}

// printable is v if that is a number, and its kind if not.
func printable(v any) any {
	if n, ok := v.(int64); ok {
		return n
	}
	return kind(v)
}

// rebuildParameter is _rebuild_parameter(data, requires_grad, backward_hooks), and
// its sister with a state behind these.
func rebuildParameter(_ *unpickler, args Tuple) (any, error) {
	if len(args) == 3 || len(args) == 4 {
		if e, ok := args[0].(*Entry); ok {
			return e, nil
		}
	}
	return nil, errors.New("wants a tensor and two or three arguments more")
}

// rebuildFromType is _rebuild_from_type_v2(function, type, args, state): a tensor
// with attributes, which are left out.
func rebuildFromType(u *unpickler, args Tuple) (any, error) {
	if len(args) != 4 {
		return nil, fmt.Errorf("has %d arguments, want 4", len(args))
	}
	g, ok := args[0].(*Global)
	inner, ok2 := args[2].(Tuple)
	if !ok || !ok2 || g.Module != "torch._utils" || !strings.HasPrefix(g.Name, "_rebuild") {
		return nil, errors.New("wants a function that builds a tensor and its arguments")
	}
	return g.call(u, inner)
}
