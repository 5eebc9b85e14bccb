package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Open opens a checkpoint and finds out by its content what it is:
//
//   - a safetensors file;
//   - a PyTorch file, of which it shows the state dict (see below);
//   - a GGUF file, version 2 or 3, with elements of the types F32, F16, BF16, Q8_0, Q4_0,
//     and those that go with the latter, Q4_1 and Q6_K (see [File.Values] and
//     [File.Vocabulary] for what else is in it);
//   - a file of llama2.c, of which the tensors get the names of Hugging Face's Llama;
//   - an index (model.safetensors.index.json or pytorch_model.bin.index.json) that
//     says in which files the tensors are: all of them are opened, and must hold
//     exactly the tensors that the index lists;
//   - a directory with one of these in it: model.safetensors, its index,
//     pytorch_model.bin, its index, or else the only file that ends in
//     .safetensors, .gguf, .bin, .ckpt, .pt or .pth.
//
// Files are mapped into memory, and nothing but their headers is read. They may be
// replaced while they are open, but not written to.
//
// A PyTorch file may hold more than a model. If there is a dict called state_dict
// or model_state_dict in it, or one that is the only one with tensors, or one
// called model, module or state, the Names are those in that dict, and so on until
// there is no such dict. [OpenTorch] shows everything.
func Open(path string) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		if path, err = findCheckpoint(path); err != nil {
			return nil, err
		}
	}
	m, err := openMapping(path)
	if err != nil {
		return nil, err
	}
	if isIndex(m.data) {
		defer m.close()
		return openIndex(m.data, path)
	}
	return parseOrClose(m, path)
}

// parseOrClose is parse that does not leave the mapping behind if it fails.
func parseOrClose(m *mapping, path string) (*File, error) {
	f, err := parse(m, path)
	if err != nil {
		m.close()
	}
	return f, err
}

// Parse is [Open] of a safetensors or PyTorch file that is in memory. name is for
// messages. The File refers to data.
func Parse(name string, data []byte) (*File, error) { return parse(&mapping{data: data}, name) }

// parse reads a single file.
func parse(m *mapping, path string) (*File, error) {
	switch {
	case isZip(m.data):
		f, err := parseTorch(m, path, nil)
		if err == nil {
			err = f.unwrap()
		}
		if err != nil {
			return nil, err
		}
		return f, nil
	case isSafetensors(m.data):
		return parseSafetensors(m, path)
	case isGGUF(m.data):
		return parseGGUF(m, path)
	case isLlama2C(m.data):
		return parseLlama2C(m, path)
	}
	return nil, &FormatError{File: path, Reason: guess(m.data) + ", want a safetensors file, one of torch.save of PyTorch 1.6 or later, or a GGUF file"}
}

// guess says what data is if it is not a checkpoint.
func guess(data []byte) string {
	switch {
	case len(data) == 0:
		return "is empty"
	case bytes.HasPrefix(data, []byte("version https://git-lfs")):
		return "is a Git LFS pointer in place of the file, which was not fetched"
	case len(data) > 1 && data[0] == opProto && data[1] <= 5:
		return "is a bare pickle, as PyTorch wrote it before 1.6: not supported; load it and save it again with a newer PyTorch"
	case bytes.HasPrefix(data, []byte("<")):
		return "is HTML or XML, perhaps an error message of the server that it came from"
	}
	return "is of no known format"
}

// findCheckpoint returns the checkpoint in a directory.
func findCheckpoint(dir string) (string, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var names, others []string
	for _, f := range files {
		if !f.IsDir() {
			names = append(names, f.Name())
		}
	}
	for _, name := range []string{
		"model.safetensors", "model.safetensors.index.json",
		"pytorch_model.bin", "pytorch_model.bin.index.json",
	} {
		if slices.Contains(names, name) {
			return filepath.Join(dir, name), nil
		}
	}
	for _, name := range names {
		if slices.Contains([]string{".safetensors", ".gguf", ".bin", ".ckpt", ".pt", ".pth"}, strings.ToLower(filepath.Ext(name))) {
			others = append(others, name)
		}
	}
	switch len(others) {
	case 0:
		return "", &FormatError{File: dir, Reason: "a directory without a checkpoint: no model.safetensors, pytorch_model.bin, index of one, .safetensors, .gguf, .bin, .ckpt, .pt or .pth file"}
	case 1:
		return filepath.Join(dir, others[0]), nil
	}
	return "", &FormatError{File: dir, Reason: fmt.Sprintf("a directory with several checkpoints, name one of them: %s", list(others))}
}

// list joins names for a message, the first ten of them.
func list(names []string) string {
	const most = 10
	var b strings.Builder
	for i, name := range names {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(names)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strings.Trim(short(name), `"`))
	}
	return b.String()
}

// isIndex reports whether data begins like an index.
func isIndex(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data[:min(len(data), 64)], " \t\r\n"), []byte("{"))
}

// openIndex opens the files that an index lists.
func openIndex(data []byte, path string) (*File, error) {
	f := &File{table: table{entries: map[string]*Entry{}, title: path}}
	err := f.addShards(data, path)
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *File) addShards(data []byte, path string) error {
	names, shardOf, err := parseIndex(data)
	if err != nil {
		return &FormatError{File: path, Field: "weight_map", Reason: err.Error()}
	}
	shards := map[string]*File{}
	listed := map[string]int{}
	for _, name := range names {
		shard := shardOf[name]
		listed[shard]++
		if shards[shard] != nil {
			continue
		}
		s, err := openShard(filepath.Join(filepath.Dir(path), shard))
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				err = &FormatError{File: path, Tensor: name, Reason: fmt.Sprintf("is in %s, which does not exist", short(shard))}
			}
			return err
		}
		shards[shard] = s
		f.maps = append(f.maps, s.maps...)
		for key, value := range s.metadata {
			if f.metadata == nil {
				f.metadata = map[string]string{}
			}
			f.metadata[key] = value
		}
	}
	for _, name := range names {
		e, ok := shards[shardOf[name]].Lookup(name)
		if !ok {
			return &FormatError{File: path, Tensor: name, Reason: fmt.Sprintf("is not in %s, where the index says it is", short(shardOf[name]))}
		}
		f.add(name, e)
	}
	for shard, s := range shards {
		if len(s.names) == listed[shard] {
			continue
		}
		for _, name := range s.names {
			if shardOf[name] != shard {
				return &FormatError{File: path, Tensor: name, Reason: fmt.Sprintf("is in %s, but the index does not say so", short(shard))}
			}
		}
	}
	return nil
}

// openShard opens one of the files of an index.
func openShard(path string) (*File, error) {
	m, err := openMapping(path)
	if err != nil {
		return nil, err
	}
	return parseOrClose(m, path)
}

// parseIndex returns the names of the tensors in an index, in its order, and the
// file that each is in.
func parseIndex(data []byte) (names []string, shardOf map[string]string, err error) {
	if len(data) > maxHeader {
		return nil, nil, fmt.Errorf("in an index of %d bytes, want at most %d", len(data), maxHeader)
	}
	r, err := newJSONReader(data)
	if err != nil {
		return nil, nil, err
	}
	err = r.object(func(key string) error {
		if key != "weight_map" {
			return r.skip()
		}
		shardOf = map[string]string{}
		return r.object(func(name string) error {
			shard, err := r.string()
			if err != nil {
				return fmt.Errorf("%s %w", short(name), err)
			}
			// The files lie beside the index. A name that leads elsewhere is an attempt
			// to make us read what the author of the index cannot.
			if shard == "" || shard == "." || strings.ContainsAny(shard, `/\`) || !filepath.IsLocal(shard) {
				return fmt.Errorf("%s is said to be in %s, want the name of a file beside the index", short(name), short(shard))
			}
			shardOf[name] = shard
			names = append(names, name)
			return nil
		})
	})
	if err == nil {
		err = r.end()
	}
	if err == nil && shardOf == nil {
		err = errors.New("is missing")
	}
	return names, shardOf, err
}
