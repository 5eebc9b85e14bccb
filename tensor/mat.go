package tensor

// A Mat is a matrix of float32s in memory that somebody else owns: row i is
// Data[i*Stride : i*Stride+Cols]. Mixers use it for the columns of a wider matrix,
// such as the part of a projection's output that goes one way. It is passed by
// value.
//
// The rows of a Mat that is only read may overlap: with a Stride of 2*C, the rows of
// a Mat of 4*C columns are the windows of a convolution of four taps and stride two
// over positions C wide.
type Mat struct {
	Data       []float32
	Rows, Cols int
	Stride     int // elements between rows
}

// MatOf describes data as a matrix without gaps. It panics with a *[ShapeError]
// if data does not have rows*cols elements.
func MatOf(data []float32, rows, cols int) Mat {
	if rows < 0 || cols < 0 || len(data) != rows*cols {
		panic(&ShapeError{"tensor.MatOf", []int{len(data)}, []int{rows, cols}})
	}
	return Mat{data, rows, cols, cols}
}

// Row returns row i, sharing memory with m.
func (m Mat) Row(i int) []float32 {
	o := i * m.Stride
	return m.Data[o : o+m.Cols : o+m.Cols]
}

// Slice returns columns lo to hi-1 of every row, sharing memory with m.
func (m Mat) Slice(lo, hi int) Mat {
	if m.Rows > 0 {
		m.Data = m.Data[lo : (m.Rows-1)*m.Stride+hi]
	}
	m.Cols = hi - lo
	return m
}

// SliceRows returns rows lo to hi-1, sharing memory with m.
func (m Mat) SliceRows(lo, hi int) Mat {
	m.Rows = hi - lo
	if m.Rows > 0 {
		m.Data = m.Data[lo*m.Stride : (hi-1)*m.Stride+m.Cols]
	} else {
		m.Data = nil
	}
	return m
}

func (m Mat) valid() bool {
	return m.Rows >= 0 && m.Cols >= 0 && (m.Rows == 0 || m.Cols == 0 ||
		m.Stride >= 0 && len(m.Data) >= (m.Rows-1)*m.Stride+m.Cols)
}

// checkMat panics unless m is well formed and rows×cols.
func checkMat(op string, m Mat, rows, cols int) {
	if m.Rows != rows || m.Cols != cols || !m.valid() {
		panic(&ShapeError{op, []int{m.Rows, m.Cols}, []int{rows, cols}})
	}
}

// checkDst is checkMat for a Mat to write to, whose rows must not overlap.
func checkDst(op string, m Mat, rows, cols int) {
	checkMat(op, m, rows, cols)
	if rows > 1 && m.Stride < cols {
		panic(op + ": the rows of dst overlap")
	}
}
