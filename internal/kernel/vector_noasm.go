//go:build purego || !(amd64 || arm64)

package kernel

func add(dst, x, y []float32)                  { addGeneric(dst, x, y) }
func sub(dst, x, y []float32)                  { subGeneric(dst, x, y) }
func mul(dst, x, y []float32)                  { mulGeneric(dst, x, y) }
func addScaled(dst, x, y []float32, s float32) { addScaledGeneric(dst, x, y, s) }
func scaleMul(dst, x, y []float32, s float32)  { scaleMulGeneric(dst, x, y, s) }
func addConst(dst, x []float32, s float32)     { addConstGeneric(dst, x, s) }
func scale(dst, x []float32, s float32)        { scaleGeneric(dst, x, s) }
func mulAdd(dst, x, y, z []float32)            { mulAddGeneric(dst, x, y, z) }
func dot(x, y []float32) float64               { return dotGeneric(x, y) }
func sum(x []float32) float64                  { return sumGeneric(x) }
func maximum(x []float32) float32              { return maximumGeneric(x) }
