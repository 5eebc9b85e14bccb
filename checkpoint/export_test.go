package checkpoint

// OpenModelBytes is OpenModel of a file and a configuration in memory.
func OpenModelBytes(data, config []byte) (*ModelFile, error) {
	f, err := Parse("fuzz", data)
	if err != nil {
		return nil, err
	}
	m := &ModelFile{file: f, source: f}
	if f.values != nil || f.llama2c != nil {
		return m, m.open("")
	}
	if m.config, err = parseConfig("config.json", config); err != nil {
		return nil, err
	}
	if m.arch, err = architectureOf(m.config, f); err != nil {
		return nil, err
	}
	if err := m.prepare(); err != nil {
		return nil, err
	}
	m.describe()
	return m, nil
}
