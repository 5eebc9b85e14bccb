package pages

import (
	"sync"
	"unsafe"
)

// An Arena is memory for what is used together. Neighbours in it share large pages, of which
// memory that was made piece by piece has few. It is taken in chunks, and a chunk is garbage
// when nothing in it is used any more.
type Arena struct {
	mu   sync.Mutex
	free [][]byte // what is left of chunks
	left int      // bytes that will be asked for and have no chunk yet
}

// chunkBytes is the size of a chunk, unless less is enough.
const chunkBytes = 64 << 20

// NewArena returns an arena for about so many bytes. More can be taken from it.
func NewArena(bytes int) *Arena { return &Arena{left: bytes} }

// Take is [Make] in an arena; if that is nil, it is Make. Several goroutines may take from an
// arena at a time.
func Take[T Number](a *Arena, n int) []T {
	if a == nil || n == 0 {
		return Make[T](n)
	}
	b := a.take(n * int(unsafe.Sizeof(T(0))))
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

func (a *Arena) take(n int) []byte {
	n = (n + lineBytes - 1) &^ (lineBytes - 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, f := range a.free {
		if len(f) >= n {
			a.free[i] = f[n:]
			return f[:n:n]
		}
	}
	chunk := Make[byte](max(n, min(chunkBytes, a.left)))
	a.left -= len(chunk)
	a.free = append(a.free, chunk[n:])
	return chunk[:n:n]
}
