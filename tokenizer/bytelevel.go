package tokenizer

// Byte-level tokenizers spell bytes as characters: printable ones of Latin-1 as
// themselves, the others as the characters from U+0100 on, in order.
var byteChars, charBytes = func() (chars [256]rune, bytes map[rune]byte) {
	bytes = map[rune]byte{}
	next := rune(256)
	for i := range chars {
		printable := i >= '!' && i <= '~' || i >= 0xa1 && i <= 0xac || i >= 0xae
		chars[i] = rune(i)
		if !printable {
			chars[i] = next
			next++
		}
		bytes[chars[i]] = byte(i)
	}
	return chars, bytes
}()

// spelledBytes returns the bytes of a token of a byte-level tokenizer. Characters that
// spell no byte stand for themselves, as in the names of special tokens.
func spelledBytes(token string) string {
	b := make([]byte, 0, len(token))
	for _, r := range token {
		if c, ok := charBytes[r]; ok {
			b = append(b, c)
		} else {
			b = append(b, string(r)...)
		}
	}
	return string(b)
}
