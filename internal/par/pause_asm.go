//go:build (amd64 || arm64) && !purego

package par

// pause tells the core that this is a polling loop, for some 50 ns.
//
//go:noescape
func pause()
