//go:build purego || !(amd64 || arm64)

package kernel

func exp(dst, x []float32)                 { expGeneric(dst, x) }
func sigmoid(dst, x []float32)             { sigmoidGeneric(dst, x) }
func silu(dst, x []float32)                { siluGeneric(dst, x) }
func softplus(dst, x []float32)            { softplusGeneric(dst, x) }
func tanh(dst, x []float32)                { tanhGeneric(dst, x) }
func gelu(dst, x []float32)                { geluGeneric(dst, x) }
func geluTanh(dst, x []float32)            { geluTanhGeneric(dst, x) }
func relu(dst, x []float32)                { reluGeneric(dst, x) }
func sigmoidMul(dst, x, y []float32)       { sigmoidMulGeneric(dst, x, y) }
func siluMul(dst, x, y []float32)          { siluMulGeneric(dst, x, y) }
func siluGrad(dst, x, y []float32)         { siluGradGeneric(dst, x, y) }
func geluGrad(dst, x, dy []float32)        { geluGradGeneric(dst, x, dy) }
func geluTanhGrad(dst, x, dy []float32)    { geluTanhGradGeneric(dst, x, dy) }
func adamW(a *AdamW, p, m, v, g []float32) { adamWGeneric(a, p, m, v, g) }
func geluMul(dst, x, y []float32)          { geluMulGeneric(dst, x, y) }
func geluTanhMul(dst, x, y []float32)      { geluTanhMulGeneric(dst, x, y) }
func expSub(dst, x []float32, s float32)   { expSubGeneric(dst, x, s) }
