// Command golden runs the golden vectors in directories: it computes every case it
// knows and compares with the results of the reference implementations.
//
//	go run ./internal/cmd/golden DIR...
//
// A directory holds cases.json and cases.safetensors. For each case a line gives
// the worst error of its tensors, the tolerance of that tensor, and ok, FAIL or
// skip; the gradients of a case have a line of their own. The last line counts. The
// exit status is 1 if a case failed, 2 if a directory cannot be read.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seqmix/seqmix/internal/golden"
	"github.com/seqmix/seqmix/internal/goldentest"
)

func main() {
	quiet := flag.Bool("q", false, "print only what fails, and the count")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: golden [-q] DIR...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	var t tally
	for _, dir := range flag.Args() {
		// A pattern such as golden/* names the descriptions beside the directories too.
		if info, err := os.Stat(dir); err == nil && !info.IsDir() {
			fmt.Fprintf(os.Stderr, "golden: %s is not a directory: passed over\n", dir)
			continue
		}
		f, err := goldentest.Load(filepath.Clean(dir))
		if err != nil {
			fmt.Fprintln(os.Stderr, "golden:", err)
			os.Exit(2)
		}
		t.run(f, *quiet)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
	if t.failed > 0 {
		os.Exit(1)
	}
}

// tally counts outcomes.
type tally struct{ passed, failed, skipped int }

// run runs the cases of a family and prints a line for each outcome.
func (t *tally) run(f *goldentest.Family, quiet bool) {
	for _, c := range f.Cases {
		for _, o := range golden.Run(c) {
			failed := t.count(o)
			if !quiet || failed {
				fmt.Println(line(f.Name+"/"+o.Name, o))
			}
		}
	}
}

// count counts an outcome and reports whether it is a failure.
func (t *tally) count(o golden.Outcome) (failed bool) {
	switch {
	case o.Skipped != "":
		t.skipped++
	case o.Err != nil:
		t.failed++
		return true
	default:
		t.passed++
	}
	return false
}

func line(name string, o golden.Outcome) string {
	if o.Skipped != "" {
		return fmt.Sprintf("%-52s %33s skip  (%s)", name, "", o.Skipped)
	}
	verdict, detail := "ok", any(o.Tensor)
	if o.Err != nil {
		verdict, detail = "FAIL", o.Err
	}
	return fmt.Sprintf("%-52s %9.2e  tolerance %9.2e  %-4s  (%v)", name, o.Error, o.Tolerance, verdict, detail)
}
