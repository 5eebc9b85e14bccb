package checkpoint

import (
	"errors"
	"fmt"
	"sync"

	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// pieceLen is about how many elements of a weight are converted at a time: what a core
// has in its cache.
const pieceLen = 1 << 17

// A piece is some rows of a weight, or a whole parameter of another kind.
type piece struct {
	pair
	from, to int // rows; both 0 for a whole
}

// A filler fills a model with weights in the form in which they will be used.
type filler struct {
	format   func(*Entry) tensor.DType // of weights
	packed   bool
	compact  bool // if it can be
	finite   bool
	progress func(bytes int)
	mu       sync.Mutex // of progress
}

// fill loads the parameters of pairs, on all cores. Weights are converted and packed
// piece by piece, and the memory of the file is given back as soon as it was read. After
// an error some parameters have been loaded and some not.
func (f *filler) fill(src Source, pairs []pair) error {
	var pieces []piece
	memory := tensor.NewArena(f.bytes(pairs))
	for _, p := range pairs {
		pieces = append(pieces, f.cut(p, memory)...)
	}
	errs := make([]error, len(pieces))
	par.Do(len(pieces), 1, par.Func(func(lo, hi int) {
		for i := lo; i < hi; i++ {
			errs[i] = f.fillPiece(pieces[i])
		}
	}))
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("checkpoint: %s: tensor %s: %w", describe(src), short(pieces[i].name), err)
		}
	}
	return nil
}

// bytes returns how much memory weights need, at most.
func (f *filler) bytes(pairs []pair) (n int) {
	for _, p := range pairs {
		if p.param.IsWeight() {
			n += p.param.BytesAs(f.format(p.entry), f.packed)
		}
	}
	return n
}

// cut allocates a weight and cuts it in pieces.
func (f *filler) cut(p pair, memory *tensor.Arena) []piece {
	if !p.param.IsWeight() {
		return []piece{{pair: p}}
	}
	if f.compact {
		memory.RenewCompact(p.param, f.format(p.entry))
	} else {
		memory.Renew(p.param, f.format(p.entry), f.packed)
	}
	n, k := p.param.Dim(0), p.param.Dim(1)
	step := max(pieceLen/max(k, 1)/tensor.PanelRows, 1) * tensor.PanelRows
	var pieces []piece
	for from := 0; from < n && k > 0; from += step {
		pieces = append(pieces, piece{p, from, min(from+step, n)})
	}
	return pieces
}

func (f *filler) fillPiece(p piece) error {
	from, n := 0, p.entry.n
	if p.to > 0 {
		k := p.param.Dim(1)
		from, n = p.from*k, (p.to-p.from)*k
	}
	err := f.convert(p, from, n)
	p.entry.release(from, n)
	if f.progress != nil {
		size, _ := byteSize(p.entry.dtype, n)
		f.mu.Lock()
		f.progress(size)
		f.mu.Unlock()
	}
	return err
}

// convert loads n elements from the given one on.
func (f *filler) convert(p piece, from, n int) error {
	if p.to == 0 {
		if err := p.entry.ReadFloat32s(p.param.Data(), 0); err != nil {
			return err
		}
		return f.check(p.entry, from, p.param)
	}
	rows := p.to - p.from
	if src, ok := p.entry.mapped(from, n, rows); ok {
		var err error
		fault := guard(func() {
			if err = f.check(p.entry, from, src); err == nil {
				p.param.SetRows(p.from, src)
			}
		})
		return errors.Join(fault, err)
	}
	if p.param.DType() == tensor.Int8 && p.entry.dtype.simple() && n/rows%shortBlock == 0 && p.entry.strides == nil && p.entry.apply == nil {
		return f.convertIntegers(p, from, n, rows)
	}
	s := tensor.GetScratch()
	defer tensor.PutScratch(s)
	src := tensor.FromFloat32s(s.Take(n), rows, n/rows)
	err := p.entry.ReadFloat32s(src.Data(), from)
	if err == nil {
		err = f.check(p.entry, from, src)
	}
	if err == nil {
		p.param.SetRows(p.from, src)
	}
	return err
}

// convertIntegers is convert from one format of integers with scales to another, which
// leaves both what they are.
func (f *filler) convertIntegers(p piece, from, n, rows int) error {
	raw, err := p.entry.open()
	if err != nil {
		return err
	}
	b := integerBuffers.Get().(*integers)
	defer integerBuffers.Put(b)
	b.grow(n)
	if err := guard(func() { b.read(raw, p.entry.dtype, from) }); err != nil {
		return err
	}
	b.rows.UseInt8s(b.q, b.scales, rows, n/rows)
	if err := f.check(p.entry, from, &b.rows); err != nil {
		return err
	}
	p.param.SetRows(p.from, &b.rows)
	return nil
}

// mapped returns rows of an entry as a tensor in the memory of the file, if it holds
// them as a tensor can. It may be used under guard only.
func (e *Entry) mapped(from, n, rows int) (*tensor.Tensor, bool) {
	if e.param != nil || e.strides != nil || e.apply != nil || e.dtype != F32 && e.dtype != BF16 {
		return nil, false
	}
	raw, err := e.bytes()
	if err != nil {
		return nil, false
	}
	size := e.dtype.Bits() / 8
	raw = raw[from*size : (from+n)*size]
	if e.dtype == F32 {
		v, ok := view[float32](raw)
		if !ok {
			return nil, false
		}
		return tensor.FromFloat32s(v, rows, n/rows), true
	}
	v, ok := view[uint16](raw)
	if !ok {
		return nil, false
	}
	return tensor.FromBFloat16s(v, rows, n/rows), true
}

// release gives back the memory of n elements that were read.
func (e *Entry) release(from, n int) {
	if e.param != nil || e.strides != nil {
		return
	}
	raw, err := e.bytes()
	if err != nil {
		return
	}
	begin, _ := byteSize(e.dtype, from)
	size, _ := byteSize(e.dtype, n)
	e.discard(raw[begin : begin+size])
}

// discard gives back the memory of some bytes of e, if it is that of the file.
func (e *Entry) discard(raw []byte) {
	if e.param == nil {
		e.store.file.release(raw)
	}
}

// check returns an error if values, which begin at the given element of e, have a NaN or
// an infinity among them and none is wanted.
func (f *filler) check(e *Entry, from int, values *tensor.Tensor) error {
	if !f.finite || values.Len() == 0 {
		return nil
	}
	if values.DType() == tensor.Float32 {
		return checkFinite(e, from, values.Data())
	}
	s := tensor.GetScratch()
	defer tensor.PutScratch(s)
	row := s.Take(values.Dim(-1))
	for i := range values.Dim(0) {
		values.Row(row, i)
		if err := checkFinite(e, from+i*len(row), row); err != nil {
			return err
		}
	}
	return nil
}
