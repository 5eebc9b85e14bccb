package monarch

import (
	"runtime"
	"sync"

	"github.com/seqmix/seqmix/internal/kernel"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

const (
	// lanes is the number of vectors in a strip, and thinLanes that in one of few.
	lanes     = kernel.PanelWidth
	thinLanes = kernel.ThinWidth

	// blockWork is the number of multiply-adds from which it is worth splitting a
	// pass: some 5 µs on one core.
	blockWork = 150_000
)

// Apply multiplies every row of src by m: dst[i] = M · src[i], that is, dst = src·Mᵀ.
// src has In columns and dst Out, or twice as many if m is complex. dst may be src and
// must not overlap it otherwise. It panics with a *tensor.ShapeError if they do not fit.
func (m *Matrix) Apply(dst, src tensor.Mat) {
	checkMat("monarch.Matrix.Apply", src, src.Rows, m.in)
	checkMat("monarch.Matrix.Apply", dst, src.Rows, m.out)
	m.multiply(operand{dst.Data, dst.Stride, 1}, operand{src.Data, src.Stride, 1}, src.Rows, nil)
}

// ApplyColumns multiplies every column of src by m: dst = M·src. With a sequence as src,
// a row for each position, m mixes the positions of every channel. src has In rows and
// dst Out, or twice as many if m is complex. dst must not overlap src. It panics with a
// *tensor.ShapeError if they do not fit.
func (m *Matrix) ApplyColumns(dst, src tensor.Mat) {
	checkMat("monarch.Matrix.ApplyColumns", src, m.in, src.Cols)
	checkMat("monarch.Matrix.ApplyColumns", dst, m.out, src.Cols)
	m.multiply(operand{dst.Data, 1, dst.Stride}, operand{src.Data, 1, src.Stride}, src.Cols, nil)
}

func checkMat(op string, m tensor.Mat, rows, cols int) {
	if m.Rows != rows || m.Cols != cols || m.Rows > 1 && m.Stride < m.Cols ||
		m.Rows > 0 && m.Cols > 0 && len(m.Data) < (m.Rows-1)*m.Stride+m.Cols {
		panic(&tensor.ShapeError{Op: op, Got: []int{m.Rows, m.Cols}, Want: []int{rows, cols}})
	}
}

// An operand is a number of vectors: element a of vector j is data[j*vector+a*element].
type operand struct {
	data            []float32
	vector, element int
}

// from returns the vectors from the j-th on.
func (o operand) from(j int) operand {
	o.data = o.data[j*o.vector:]
	return o
}

// A product is one multiplication of count vectors. It is split over cores by strips or,
// where these are few, by the blocks of each pass.
type product struct {
	m        *Matrix
	dst, src operand
	count    int
	bias     []float32

	strip strip // where the blocks are split
	pass  int
}

var products = sync.Pool{New: func() any { return new(product) }}

// multiply computes dst = M·src + bias for count vectors.
func (m *Matrix) multiply(dst, src operand, count int, bias []float32) {
	if count == 0 {
		return
	}
	p := products.Get().(*product)
	*p = product{m: m, dst: dst, src: src, count: count, bias: bias}
	strips := (count + lanes - 1) / lanes
	if strips >= runtime.GOMAXPROCS(0) {
		par.Do(strips, 1, (*productStrips)(p))
	} else {
		p.splitBlocks(strips)
	}
	*p = product{}
	products.Put(p)
}

// productStrips is a product split by strips.
type productStrips product

// Run computes strips lo to hi-1.
func (t *productStrips) Run(lo, hi int) {
	p := (*product)(t)
	scratch := tensor.GetScratch()
	for i := lo; i < hi; i++ {
		s := p.newStrip(i, scratch)
		for j := range p.m.passes {
			s.multiply(j, 0, p.m.passes[j].blocks)
		}
		s.finish()
	}
	tensor.PutScratch(scratch)
}

// splitBlocks computes strips one after the other, each on all cores.
func (p *product) splitBlocks(strips int) {
	scratch := tensor.GetScratch()
	for i := range strips {
		p.strip = p.newStrip(i, scratch)
		for j := range p.m.passes {
			p.pass = j
			pass := &p.m.passes[j]
			par.Do(pass.blocks, blockWork/(pass.in*pass.out*lanes)+1, (*productBlocks)(p))
		}
		p.strip.finish()
	}
	p.strip = strip{}
	tensor.PutScratch(scratch)
}

// productBlocks is one pass of a strip.
type productBlocks product

// Run computes blocks lo to hi-1.
func (t *productBlocks) Run(lo, hi int) { t.strip.multiply(t.pass, lo, hi) }

// A strip is a product with up to 32 vectors, side by side in 8 or 32 lanes.
type strip struct {
	m        *Matrix
	dst, src operand
	count    int
	lanes    int
	bias     []float32
	rows     [2][]float32 // what the passes read and write, in turn: the first writes rows[0]
	ready    bool         // the inputs of the first pass are in rows[1]
}

func (p *product) newStrip(i int, scratch *tensor.Scratch) strip {
	j := i * lanes
	s := strip{m: p.m, dst: p.dst.from(j), src: p.src.from(j), count: min(lanes, p.count-j), lanes: lanes, bias: p.bias}
	if s.count <= thinLanes {
		s.lanes = thinLanes
	}
	scratch.Reset()
	for k := range s.rows {
		s.rows[k] = scratch.Take(p.m.rows * s.lanes)
	}
	if s.src.vector == 1 {
		return s
	}
	// Whole vectors, though a block at a time would do: long runs are fetched ahead.
	rows := s.rows[1][:len(p.m.passes[0].from)*s.lanes]
	if s.count < s.lanes {
		clear(rows)
	}
	clear(rows[p.m.in*s.lanes:])
	kernel.Transpose(rows, s.lanes, s.src.data, s.src.vector, s.count, p.m.in)
	s.src, s.ready = operand{rows, 1, s.lanes}, !p.m.scattered
	return s
}

// multiply computes blocks lo to hi-1 of a pass.
func (s *strip) multiply(number, lo, hi int) {
	p := &s.m.passes[number]
	weights := p.weights.Data()
	in, out := s.rows[(number+1)%2], s.rows[number%2]
	ld, width := s.lanes, s.lanes
	if number == len(s.m.passes)-1 && s.direct() {
		out, ld, width = s.dst.data, s.dst.element, s.count
	}
	gather := number == 0 && !s.ready
	var scratch *tensor.Scratch
	if gather {
		scratch = tensor.GetScratch()
		in = scratch.Take(p.in * s.lanes)
	}
	for b := lo; b < hi; b++ {
		x := in
		if gather {
			s.gather(x, p.inputs(b))
		} else {
			x = in[b*p.in*s.lanes:]
		}
		for _, r := range p.outputs(b) {
			w := weights[(b*p.out+r.row)*p.in:]
			if s.lanes == thinLanes {
				kernel.GemmThin(out[r.at*ld:], r.ld*ld, w, r.step*p.in, x, r.n, p.in)
			} else {
				kernel.Gemm(out[r.at*ld:], r.ld*ld, w, r.step*p.in, x, r.n, width, p.in, false)
			}
		}
	}
	if scratch != nil {
		tensor.PutScratch(scratch)
	}
}

// gather brings the inputs of a block together.
func (s *strip) gather(x []float32, runs []run) {
	for _, r := range runs {
		dst := x[r.row*s.lanes : (r.row+r.n)*s.lanes]
		n := 0 // inputs that are there; the others are padding
		if r.at < s.m.in {
			n = min(r.n, (s.m.in-1-r.at)/r.ld+1)
		}
		if s.count < s.lanes {
			clear(dst)
		}
		clear(dst[n*s.lanes:])
		if n == 0 {
			continue
		}
		src := s.src.data[r.at*s.src.element:]
		for i := range n {
			copy(dst[i*s.lanes:i*s.lanes+s.count], src[i*r.ld*s.src.element:])
		}
	}
}

// direct reports whether the last pass can write the products where they belong.
func (s *strip) direct() bool {
	last := &s.m.passes[len(s.m.passes)-1]
	return s.dst.vector == 1 && s.bias == nil && len(last.to) == s.m.out && (s.lanes == lanes || s.count == s.lanes)
}

// finish brings the products where they belong.
func (s *strip) finish() {
	if s.direct() {
		return
	}
	rows := s.rows[(len(s.m.passes)-1)%2]
	for i, v := range s.bias {
		row := rows[i*s.lanes : (i+1)*s.lanes]
		kernel.AddConst(row, row, v)
	}
	if s.dst.vector != 1 {
		kernel.Transpose(s.dst.data, s.dst.vector, rows, s.lanes, s.m.out, s.count)
		return
	}
	for i := range s.m.out {
		copy(s.dst.data[i*s.dst.element:], rows[i*s.lanes:i*s.lanes+s.count])
	}
}
