package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/mattn/go-sqlite3"
)

// ErrExists is wrapped by errors of rows that are there already.
var ErrExists = errors.New("it exists already")

// sqliteError turns the driver's errors into ours.
func sqliteError(err error) error {
	var e sqlite3.Error
	if errors.As(err, &e) {
		switch {
		case e.ExtendedCode == sqlite3.ErrConstraintUnique, e.ExtendedCode == sqlite3.ErrConstraintPrimaryKey:
			return fmt.Errorf("%w: %s", ErrExists, e.Error())
		case e.Code == sqlite3.ErrInterrupt:
			return context.DeadlineExceeded
		}
	}
	return err
}

// postgresError turns the driver's errors into ours.
func postgresError(err error) error {
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code == "23505" {
		return fmt.Errorf("%w: %s", ErrExists, e.ConstraintName)
	}
	return err
}
