//go:build !purego && (amd64 || arm64)

package kernel

// constants returns the numbers in the order in which the assembly reads them.
func (a *AdamW) constants() [8]float32 {
	return [8]float32{a.Beta1, a.New1, a.Beta2, a.New2, a.Keep, a.Rate, a.Root, a.Eps}
}
