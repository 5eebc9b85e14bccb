// Package lm makes language models of mixers: an embedding, a stack of blocks and a head.
//
// A [Model] scores texts ([Model.Score]) and generates them. Texts are lists of token
// ids; package tokenizer makes them of strings, and package checkpoint loads models.
//
//	s, err := model.NewSession()
//	if err != nil {
//		return err
//	}
//	if err := s.Feed(prompt...); err != nil {
//		return err
//	}
//	for id, err := range s.Generate(ctx, lm.Options{MaxTokens: 100}) {
//		…
//	}
//
// A [Session] is one text. It can be forked, which reads a common prompt once, and saved
// to bytes and continued in another process. Many sessions of one model may run on many
// goroutines; [Step] and [GenerateEach] advance many at once and read the weights once
// for all of them.
//
// An [Encoder] is what makes vectors of whole texts, to compare them by or to fill gaps in
// them: a model whose positions see each other in both directions, as M2-BERT.
//
// What a prompt costs is the same in any pieces: reading a prompt at once, in pieces or
// token by token gives the same logits, bit for bit where the mixers promise it.
package lm
