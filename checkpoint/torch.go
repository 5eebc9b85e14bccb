package checkpoint

import (
	"archive/zip"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

// maxInflated is the size up to which compressed members of a zip file are read.
// PyTorch does not compress; a file that was packed again by other means may be.
const maxInflated = 1 << 30

// OpenTorch opens a file that torch.save of PyTorch 1.6 or later has written: a
// zip archive of a pickle and the memory of the tensors. [Open] does so too, and
// then shows the state dict inside.
//
// The pickle is not executed. It may build tensors, dicts, lists, tuples, sets,
// strings, bytes and numbers, and nothing else: a file that names any other class
// or function gives an error that says which, except for the classes in inert,
// whose objects are built as [Opaque]. So are those of _io.BytesIO, which some
// training code leaves in state dicts.
//
// [File.Root] is the object that was saved. The tensors in it are named by the
// path that leads to them, dict keys and list indices joined by dots, as in
// "model_state_dict.encoder.0.weight".
func OpenTorch(path string, inert ...string) (*File, error) {
	m, err := openMapping(path)
	if err != nil {
		return nil, err
	}
	f, err := parseTorch(m, path, inert)
	if err != nil {
		m.close()
	}
	return f, err
}

// isZip reports whether data begins like a zip file.
func isZip(data []byte) bool { return bytes.HasPrefix(data, []byte("PK\x03\x04")) }

func parseTorch(m *mapping, path string, inert []string) (*File, error) {
	a, err := openArchive(m)
	if err != nil {
		return nil, &FormatError{File: path, Field: "zip archive", Reason: err.Error()}
	}
	pickle, err := a.content("data.pkl", maxPickle)
	if err != nil {
		return nil, &FormatError{File: path, Field: "data.pkl", Reason: err.Error()}
	}
	s := storages{byKey: map[string]*storage{}, member: func(key string) (*storage, error) { return a.storage("data/" + key) }}
	root, err := unpickle(pickle, inert, s.resolve)
	if err != nil {
		return nil, &FormatError{File: path, Field: "data.pkl", Reason: err.Error()}
	}
	f := &File{table: table{entries: map[string]*Entry{}, title: path}, maps: []*mapping{m}, root: root}
	err = checkTree(root)
	if err == nil {
		err = flatten(&f.table, root, "")
	}
	if err != nil {
		return nil, &FormatError{File: path, Field: "data.pkl", Reason: err.Error()}
	}
	return f, nil
}

// An archive is the zip file of torch.save. All members are in one folder, whose
// name is of no importance.
type archive struct {
	file    *mapping
	members map[string]*zip.File // without the folder
}

func openArchive(m *mapping) (*archive, error) {
	r, err := zip.NewReader(bytes.NewReader(m.data), int64(len(m.data)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, fmt.Errorf("%w: damaged or cut off", err)
	}
	folder, found := "", false
	for _, f := range r.File {
		if dir, name, ok := strings.Cut(f.Name, "/"); ok && name == "data.pkl" {
			if found {
				return nil, fmt.Errorf("has %s/data.pkl and %s/data.pkl, want one", short(folder), short(dir))
			}
			folder, found = dir, true
		}
	}
	if !found {
		return nil, errors.New("has no member FOLDER/data.pkl, so it is not of torch.save")
	}
	a := &archive{file: m, members: map[string]*zip.File{}}
	for _, f := range r.File {
		if name, ok := strings.CutPrefix(f.Name, folder+"/"); ok {
			if a.members[name] != nil {
				return nil, fmt.Errorf("has the member %s twice", short(f.Name))
			}
			a.members[name] = f
		}
	}
	if a.members["byteorder"] != nil {
		b, err := a.content("byteorder", 16)
		if err != nil {
			return nil, err
		}
		if string(b) != "little" {
			return nil, fmt.Errorf("has byte order %q, want little", b)
		}
	}
	return a, nil
}

// content returns a member of at most so many bytes.
func (a *archive) content(name string, most int) ([]byte, error) {
	s, err := a.storage(name)
	if err != nil {
		return nil, err
	}
	if s.size > most {
		return nil, fmt.Errorf("%s has %d bytes, want at most %d", name, s.size, most)
	}
	return s.bytes()
}

// storage returns a member: the memory of the file if it is stored as it is, and
// else what decompressing it gives when it is first asked for.
func (a *archive) storage(name string) (*storage, error) {
	f := a.members[name]
	if f == nil {
		return nil, fmt.Errorf("there is no member %s in the archive", short(name))
	}
	if f.Flags&1 != 0 {
		return nil, fmt.Errorf("member %s is encrypted", short(name))
	}
	start, err := f.DataOffset()
	if err != nil {
		return nil, fmt.Errorf("member %s: %w", short(name), err)
	}
	if f.Method == zip.Store {
		size := uint64(len(a.file.data))
		if f.CompressedSize64 != f.UncompressedSize64 || uint64(start) > size || f.UncompressedSize64 > size-uint64(start) {
			return nil, fmt.Errorf("member %s: %d bytes at %d do not fit the file of %d", short(name), f.UncompressedSize64, start, size)
		}
		end := start + int64(f.UncompressedSize64)
		raw := a.file.data[start:end:end]
		return &storage{a.file, len(raw), func() ([]byte, error) { return raw, nil }}, nil
	}
	if f.UncompressedSize64 > maxInflated {
		return nil, fmt.Errorf("member %s: %d bytes, want at most %d of what is compressed", short(name), f.UncompressedSize64, maxInflated)
	}
	return &storage{a.file, int(f.UncompressedSize64), sync.OnceValues(func() ([]byte, error) { return inflate(f) })}, nil
}

// inflate decompresses a member. It takes no memory for what is not there.
func inflate(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("member %s: %w", short(f.Name), err)
	}
	defer r.Close()
	var b bytes.Buffer
	var n int64
	fault := guard(func() { n, err = io.Copy(&b, io.LimitReader(r, int64(f.UncompressedSize64)+1)) })
	err = cmp.Or(fault, err)
	if err == nil && n != int64(f.UncompressedSize64) {
		err = fmt.Errorf("has more than the %d bytes that the archive says", f.UncompressedSize64)
	}
	if err != nil {
		return nil, fmt.Errorf("member %s: %w", short(f.Name), err)
	}
	return b.Bytes(), nil
}
