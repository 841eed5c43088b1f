package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"

	"entente/config"
	"entente/governance"
	"entente/storage"
)

// storageOptions are the configured database.
func storageOptions(cfg *config.Config) storage.Options {
	return storage.Options{SQLite: cfg.Database.SQLite, Postgres: cfg.Database.Postgres.Reveal(), ServerName: cfg.ServerName}
}

// openBeside opens the database of a server that may be running or not, for a
// command. It makes no database: a server does, with all that belongs to it.
func openBeside(ctx context.Context, cfg *config.Config) (*storage.DB, error) {
	if path := cfg.Database.SQLite; cfg.Database.Postgres == "" {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no database at %s yet: start the server once with \"entente serve\"", path)
		}
	}
	db, err := storage.Open(ctx, storageOptions(cfg))
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return db, nil
}

// withDatabase runs a command on the database of the configured server.
func withDatabase(ctx context.Context, path string, fn func(cfg *config.Config, db *storage.DB) error) error {
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	db, err := openBeside(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(fn(cfg, db), db.Close())
}

// governanceSettings are what the configuration says about federation.
func governanceSettings(cfg *config.Config) governance.Settings {
	return governance.Settings{
		ServerName: cfg.ServerName, Mode: governance.Mode(cfg.Federation.Mode), Listed: cfg.Federation.Listed,
	}
}

// operator names who runs a command, for the audit log. Behind sudo it is the
// person, not root.
func operator() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return "os:" + name
	}
	if u, err := user.Current(); err == nil {
		return "os:" + u.Username
	}
	return fmt.Sprintf("os:%d", os.Getuid())
}
