package checkpoint

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/seqmix/seqmix/tensor"
)

// BenchmarkLoad opens a file of 256 MiB in its own type and loads it into float32
// parameters, in MB/s of the file. The file is in the page cache.
func BenchmarkLoad(b *testing.B) {
	for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16} {
		b.Run(fmt.Sprintf("op=load/dtype=%v", d), func(b *testing.B) {
			const rows, cols, layers = 1024, 2048, 32
			var from, to params
			for i := range layers {
				w := tensor.NewWeight(rows*4/size(d), cols)
				w.Convert(d)
				name := fmt.Sprint("layers.", i)
				from = append(from, param{name, w})
				to = append(to, param{name, tensor.NewWeight(w.Dim(0), cols)})
			}
			path := filepath.Join(b.TempDir(), "x.safetensors")
			if err := Save(path, from, nil); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(layers * rows * cols * 4)
			for b.Loop() {
				f, err := Open(path)
				if err != nil {
					b.Fatal(err)
				}
				if err := Load(to, f, nil); err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
		})
	}
}

// size returns the number of bytes of an element.
func size(d tensor.DType) int {
	if d == tensor.Float32 {
		return 4
	}
	return 2
}

// BenchmarkOpen reads the header of a file with 2000 tensors.
func BenchmarkOpen(b *testing.B) {
	var m params
	for i := range 2000 {
		m = append(m, param{fmt.Sprintf("backbone.layers.%d.mixer.in_proj.weight", i), tensor.New(2, 3)})
	}
	path := filepath.Join(b.TempDir(), "x.safetensors")
	if err := Save(path, m, nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		f, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
