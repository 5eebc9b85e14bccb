// Package progress draws the bars of the example programs.
package progress

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
)

// New returns a bar of so many units, with more options if need be. It shows if w is a
// terminal, and does nothing otherwise. A bar that cannot be drawn is no reason to stop, so
// that its errors may be ignored.
func New(w io.Writer, what string, units int64, options ...progressbar.Option) *progressbar.ProgressBar {
	return progressbar.NewOptions64(units, append([]progressbar.Option{
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetVisibility(isTerminal(w)),
		progressbar.OptionSetDescription(what),
		progressbar.OptionThrottle(50 * time.Millisecond),
		progressbar.OptionClearOnFinish(),
	}, options...)...)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
