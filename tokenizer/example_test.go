package tokenizer_test

import (
	"fmt"

	"github.com/seqmix/seqmix/tokenizer"
)

// The tokens of a model of DNA are letters.
func ExampleDNA() {
	t := tokenizer.DNA()
	ids := t.Encode("GATTACA")
	fmt.Println(ids)
	fmt.Println(t.Decode(ids...))
	// Output:
	// [9 7 10 10 7 8 7]
	// GATTACA
}

// A character that is made of several tokens is shown when it is complete.
func ExampleDecoder() {
	t := tokenizer.Bytes{}
	d := tokenizer.NewDecoder(t, true)
	for _, id := range t.Encode("né") {
		fmt.Printf("%q\n", d.Next(id))
	}
	// Output:
	// "n"
	// ""
	// "é"
}
