// Package seqmix runs and trains sequence mixers that replace attention: selective
// state spaces, long convolutions, Monarch matrices and linear attention. Attention
// is there too, to compare them with and to build hybrids.
//
// The root package is the contract. A [Mixer] maps a batch of sequences of vectors
// to one of the same shape; a [Streamer] does so while the sequence arrives, with a
// [Stream] that carries the state; a [Trainer] can be differentiated. The mixers
// themselves are in the packages ssm, hyena, monarch, based and attention, the
// layers around them in nn. [Stack] and [Residual] compose them:
//
//	block := func(m seqmix.Mixer) seqmix.Mixer {
//		return &seqmix.Residual{Norm: nn.NewRMSNorm(64, 1e-5), Mixer: m}
//	}
//	model := seqmix.Stack{block(mamba), block(attention), block(mamba)}
//	model.Mix(dst, src)                      // whole sequences
//	stream, err := seqmix.NewStream(model, 1) // or piece by piece
//	stream.Mix(dst, src)
//
// Since a stack is a Mixer as well, hybrids nest, and one mixer is put in the place
// of another by an assignment.
//
// # Shapes, memory and errors
//
// Sequences are [tensor.Seq] values: float32, channel last. Mix writes to dst and
// keeps neither dst nor src. A wrong shape is a mistake of the program and panics
// with a *tensor.ShapeError. What comes from outside the program, such as
// configurations, files and saved states, gives errors.
//
// # Training
//
// [Record] is Mix with a [Tape] that goes back; package train does the rest. Sequences
// that are too long for one tape are recorded in segments, with gradients that flow from
// each into the state that the one before it has left: see [RecordSegment].
//
// # Speed
//
// The kernels use AVX-512 or AVX2 on amd64 and NEON on arm64, chosen when the
// program starts; see [tensor.CPU]. Large operations use up to GOMAXPROCS cores;
// results do not depend on how many. Call [Pack] once after loading a model.
package seqmix
