// Package tokenizer turns text into the token ids that language models read, and back.
//
// [Open] reads the files that models come with: tokenizer.json of Hugging Face, vocab.json
// with merges.txt of GPT-2, tokenizer.model of SentencePiece and tokenizer.bin of llama2.c.
// The ids are those of the reference implementations.
//
//	t, err := tokenizer.Open("models/mamba-130m")
//	if err != nil {
//		return err
//	}
//	ids := t.Encode("Hello")
//	text := t.Decode(ids...)
//
// [Bytes] and [Chars] are the tokenizers of models that read bytes or letters, as those of
// DNA do.
//
// This is a module of its own: it needs Unicode normalization, which mixers do not.
package tokenizer
