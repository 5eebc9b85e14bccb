//go:build purego || !(amd64 || arm64)

package par

import "sync/atomic"

var pauseCounter atomic.Uint32

// pause passes some 50 ns.
func pause() {
	for range 16 {
		pauseCounter.Load()
	}
}
