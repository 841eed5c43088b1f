// Package config turns an operator's YAML file into checked settings. It
// imports nothing of ours; components take the few settings that they need.
//
// A file is read strictly: an unknown key, a value of a wrong type or a
// setting that contradicts another is a mistake, and all mistakes are reported
// at once, each with its line and a remedy. Secrets may stand in the file or
// in files of their own. The comments on the settings in this package are
// also the reference for operators (Reference) and the comments of the file
// that a first start writes (Example).
//
// A relative path is relative to the folder of the configuration file.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxFile bounds every file that is read as configuration.
const maxFile = 4 << 20

// Load reads and checks a configuration file. The error is Mistakes unless
// the file cannot be read at all.
func Load(path string) (*Config, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, text)
}

// Parse checks the text of a configuration file. The path names the file in
// mistakes, and its folder is where relative paths start.
func Parse(path string, text []byte) (*Config, error) {
	cfg := Default()
	d := newDecoder(path)
	d.document(text, cfg)
	// Settings that could not be read have their defaults, so that what
	// depends on them is still checked.
	c := &checker{decoder: d, cfg: cfg, dir: filepath.Dir(path)}
	c.resolve()
	if !d.broken {
		c.check()
	}
	if len(d.mistakes) > 0 {
		return nil, d.mistakes.sorted()
	}
	return cfg, nil
}

// readFile reads a file of bounded size.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = errors.New("the file is too large")
	}
	return text, err
}
