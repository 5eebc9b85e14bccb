package main

// Whoever is measured is a process of its own that holds a model, reads a command in
// each line of its input, and answers each with a line of JSON, a reply:
//
//	prefill N   forget all, read N tokens, and compute the logits after the last
//	decode N    read N more tokens one by one, and compute the logits after each
//	logits      the logits after the last token
//
// or, for convolutions, those that peers/fftw.c lists, or, for training:
//
//	open I PATH   seqmix makes model I and writes it to the file, others read it
//	steps N       make N steps of training; the answer has the loss before each
//
// Before the first command it sends a reply too, when the model is loaded. Token i since
// the last prefill is i·7919 modulo the vocabulary, so that all read the same text.

// A reply is the answer to a command.
type reply struct {
	Seconds float64   `json:"seconds"` // that the command took
	Logits  []float64 `json:"logits"`
	Losses  []float64 `json:"losses"`
	Version string    `json:"version"` // of what is measured; in the first reply
	How     string    `json:"how"`     // which of several ways was fastest, if there are some
	Error   string    `json:"error"`   // why the command was not done
}

// tokenAt returns token i of the text that everybody reads.
func tokenAt(i, vocabulary int) int { return i * 7919 % vocabulary }
