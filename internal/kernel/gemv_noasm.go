//go:build purego || !(amd64 || arm64)

package kernel

func gemvBF16(c, a []float32, b []uint16, add bool) { gemvBF16Generic(c, a, b, add) }
func gemvQ8(c, a []float32, b []byte, add bool)     { gemvQ8Generic(c, a, b, add) }
func gemvQ4(c, a []float32, b []byte, add bool)     { gemvQ4Generic(c, a, b, add) }
func widenBF16(dst []float32, b []uint16, k int)    { widenBF16Generic(dst, b, k) }
func widenQ8(dst []float32, b []byte, k int)        { widenQ8Generic(dst, b, k) }
func widenQ4(dst []float32, b []byte, k int)        { widenQ4Generic(dst, b, k) }
