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
	var passed, failed, skipped int
	for _, dir := range flag.Args() {
		f, err := goldentest.Load(filepath.Clean(dir))
		if err != nil {
			fmt.Fprintln(os.Stderr, "golden:", err)
			os.Exit(2)
		}
		for _, c := range f.Cases {
			for _, o := range golden.Run(c) {
				name := f.Name + "/" + o.Name
				switch {
				case o.Skipped != "":
					skipped++
					if !*quiet {
						fmt.Printf("%-52s %33s skip  (%s)\n", name, "", o.Skipped)
					}
				case o.Err != nil:
					failed++
					fmt.Printf("%-52s %9.2e  tolerance %9.2e  FAIL  (%v)\n", name, o.Error, o.Tolerance, o.Err)
				default:
					passed++
					if !*quiet {
						fmt.Printf("%-52s %9.2e  tolerance %9.2e  ok    (%s)\n", name, o.Error, o.Tolerance, o.Tensor)
					}
				}
			}
		}
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if failed > 0 {
		os.Exit(1)
	}
}
