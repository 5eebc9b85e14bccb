// Command tiers prints the CPU tiers that this machine can run, one a line, for
// scripts that test each of them.
package main

import (
	"fmt"

	"github.com/seqmix/seqmix/internal/cpu"
)

func main() {
	for _, t := range cpu.Available() {
		fmt.Println(t)
	}
}
