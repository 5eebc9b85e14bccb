// Package checkpoint reads the files that trained models come in, and loads models
// from them by name.
//
// [Open] opens a safetensors file, a PyTorch file, a GGUF file, a checkpoint in several
// files, or a directory with one of these; [Load] fills a model with it:
//
//	f, err := checkpoint.Open("models/denoiser")
//	if err != nil {
//		return err
//	}
//	defer f.Close()
//	err = checkpoint.Load(model, f, nil)
//
// Loading is strict. A checkpoint that does not fit gives one error that lists
// every missing, unused and misshapen tensor, and leaves the model as it was.
// [Save] writes a model as a safetensors file; [WriteFile] writes any [Source], so
// that opening a PyTorch file and writing it converts it.
//
// # Language models
//
// [OpenModel] opens a directory of Hugging Face, a GGUF file or a file of llama2.c, finds
// out what model it is, and says how much memory it will take; [ModelFile.Load] then
// loads it:
//
//	f, err := checkpoint.OpenModel("models/mamba-130m", checkpoint.ModelOptions{})
//	if err != nil {
//		return err
//	}
//	defer f.Close()
//	fmt.Println(f)
//	model, err := f.Load()
//
// An encoder, as M2-BERT is one, is loaded by [ModelFile.LoadEncoder] in place of Load.
//
// Weights go from the file to the form in which they are used piece by piece, and what
// was read of the file is given back: the peak is the memory of the model and a few
// megabytes.
//
// # Memory
//
// Files are mapped into memory. Opening reads headers only, and an [Entry] reads
// its elements when it is asked for them, in pieces if need be
// ([Entry.ReadFloat32s]). [Entry.Float32s], [Entry.BFloat16s] and [Entry.Bytes] give
// the mapped memory itself where the elements can be used as they are: such slices
// are read-only and end with [File.Close]. A loaded model owns its memory, and the
// file can be closed.
//
// A file that is open must not be written to; replacing it by another, as
// [WriteFile] does, is fine, but for Windows, which refuses. If it becomes shorter
// all the same, the methods that copy return an error, and using a slice of mapped
// memory ends the program.
//
// # Hostile files
//
// Files come from strangers. Whatever is in one, the readers return an error and do
// not panic, do not take memory in proportion to a number that the file merely
// claims, and execute nothing. The error says what is wrong with which tensor. In
// detail: headers, configurations and pickles have a largest size; offsets are checked against the
// file; sizes must agree wherever they are said twice; names must not repeat; the
// files of an index lie beside it; a pickle may only build data (see [OpenTorch]),
// only so much of it, and nothing that contains itself; compressed members of a zip
// file stop at the size that they claim.
//
// What is not checked is whether the numbers make sense; [Finite] and
// [Loader.Finite] look for NaN and infinities.
//
// The formats are those of the safetensors library (github.com/huggingface/safetensors),
// of torch.save (github.com/pytorch/pytorch, torch/serialization.py) and of GGUF
// (github.com/ggml-org/ggml, docs/gguf.md).
package checkpoint
