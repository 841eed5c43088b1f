package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"entente/config"
)

// setup is a server's configuration and key, and what had to be made for it.
type setup struct {
	Config *config.Config
	Key    config.SigningKey
	// Made says in sentences, for the operator, what was made and where. It is
	// empty from the second start on.
	Made []string
}

// prepare loads the configuration at path and the signing key. What a first
// start lacks it makes: a configuration that explains itself, for the given
// server name, the data folder and a signing key. It never replaces a file.
func prepare(path, serverName string) (*setup, error) {
	s := &setup{}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := s.makeConfig(path, serverName); err != nil {
			return nil, fmt.Errorf("write a configuration: %w", err)
		}
	}
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	s.Config = cfg
	if err := s.openKey(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *setup) makeConfig(path, serverName string) error {
	cfg := config.Default()
	cfg.ServerName = serverName
	text, err := config.Example(cfg)
	if err != nil {
		return err
	}
	// The text must be one that Load takes, before it is on disk.
	if _, err := config.Parse(path, []byte(text)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := config.CreateFile(path, []byte(text)); err != nil {
		return err
	}
	s.Made = append(s.Made, "Configuration, explained line by line: "+absolute(path))
	return nil
}

// openKey reads the signing key, or makes one if the data folder is still
// empty. A key that is missing later is lost, not new: a silent new one would
// make other servers doubt this one.
func (s *setup) openKey() error {
	path := s.Config.Signing.KeyFile
	key, err := config.ReadSigningKey(path)
	if err == nil {
		s.Key = key
		return s.makeData()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the signing key: %w", err)
	}
	entries, err := os.ReadDir(s.Config.DataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look into the data folder: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("the signing key %s is missing, but %s is in use: restore the key from a backup, or make a new one with \"entente config key %s\"",
			path, s.Config.DataDir, path)
	}
	if err := s.makeData(); err != nil {
		return err
	}
	if s.Key, err = config.CreateSigningKey(path); err != nil {
		return fmt.Errorf("make a signing key: %w", err)
	}
	s.Made = append(s.Made, "Signing key "+s.Key.ID+", keep a backup of it: "+absolute(path))
	return nil
}

func (s *setup) makeData() error {
	dir := s.Config.DataDir
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	s.Made = append(s.Made, "Data folder: "+absolute(dir))
	return nil
}

// absolute is the path from the root, for people.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
