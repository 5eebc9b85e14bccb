package checkpoint_test

import (
	"errors"
	"fmt"
	"iter"
	"log"
	"os"
	"path/filepath"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/tensor"
)

// A linearModel stands for a model; every seqmix.Mixer has a method like this.
type linearModel struct{ weight, bias *tensor.Tensor }

func (m *linearModel) Params() iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		_ = yield("weight", m.weight) && yield("bias", m.bias)
	}
}

func Example() {
	dir, err := os.MkdirTemp("", "checkpoint")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "model.safetensors")

	trained := &linearModel{tensor.FromFloat32s([]float32{1, 2, 3, 4}, 2, 2), tensor.FromFloat32s([]float32{5, 6}, 2)}
	if err := checkpoint.Save(path, trained, nil); err != nil {
		log.Fatal(err)
	}

	f, err := checkpoint.Open(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	for name := range f.Names() {
		e, _ := f.Lookup(name)
		fmt.Println(name, e)
	}
	model := &linearModel{tensor.NewWeight(2, 2), tensor.New(2)}
	if err := checkpoint.Load(model, f, nil); err != nil {
		log.Fatal(err)
	}
	fmt.Println(model.weight.Data(), model.bias.Data())
	// Output:
	// bias F32[2]
	// weight F32[2 2]
	// [1 2 3 4] [5 6]
}

func ExampleLoad() {
	// A part of a checkpoint is loaded under the names that the model gives to its
	// parameters. What does not fit is listed, all of it.
	saved := &linearModel{tensor.New(2, 3), tensor.New(2)}
	src, err := checkpoint.FromModel(saved, func(name string) string { return "decoder.proj." + name })
	if err != nil {
		log.Fatal(err)
	}
	model := &linearModel{tensor.New(3, 2), tensor.New(2)}
	err = checkpoint.Load(model, checkpoint.Sub(src, "decoder.proj."), func(name string) string {
		if name == "bias" {
			return "b"
		}
		return name
	})
	fmt.Println(err)
	var e *checkpoint.LoadError
	if errors.As(err, &e) {
		fmt.Println(len(e.Missing), "missing")
	}
	// Output:
	// checkpoint: a *checkpoint_test.linearModel does not fit the model: 1 missing, 1 unused, 1 misshapen
	// 	missing b
	// 	unused bias
	// 	misshapen weight: [2 3], want [3 2]
	// 1 missing
}

func ExampleWriteFile() {
	// Opening a PyTorch file and writing it makes a safetensors file of it.
	f, err := checkpoint.Open("testdata/lightning.ckpt")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	dir, err := os.MkdirTemp("", "checkpoint")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "model.safetensors")
	if err := checkpoint.WriteFile(path, checkpoint.Sub(f, "model."), map[string]string{"format": "pt"}); err != nil {
		log.Fatal(err)
	}
	g, err := checkpoint.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	e, _ := g.Lookup("backbone.ln_f.weight")
	fmt.Println(e, checkpoint.Finite(g))
	// Output:
	// F32[16] <nil>
}

func ExampleOpenTorch() {
	// The object in a PyTorch file, with all that is not a tensor.
	f, err := checkpoint.OpenTorch("testdata/lightning.ckpt")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	root := f.Root().(*checkpoint.Dict)
	epoch, _ := root.Get("epoch")
	version, _ := root.Get("pytorch-lightning_version")
	fmt.Println("epoch", epoch, "of PyTorch Lightning", version)
	e, _ := f.Lookup("state_dict.model.backbone.ln_f.weight")
	fmt.Println(e)
	// Output:
	// epoch 3 of PyTorch Lightning 1.8.6
	// F32[16]
}
