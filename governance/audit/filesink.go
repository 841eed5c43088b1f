package audit

import (
	"bytes"
	"context"
	"errors"
	"os"
)

// FileSink appends JSON lines to a file that only its owner may read. The file
// is opened anew for each batch, so that it may be moved away at any time.
type FileSink struct{ path string }

// NewFileSink makes a sink of the file at path.
func NewFileSink(path string) *FileSink { return &FileSink{path} }

// Name is the sink's name.
func (s *FileSink) Name() string { return "file:" + s.path }

// Deliver returns when the lines are on disk.
func (s *FileSink) Deliver(_ context.Context, batch []Delivery) error {
	var text bytes.Buffer
	for _, d := range batch {
		text.Write(d.Line)
		text.WriteByte('\n')
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text.Bytes())
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Close has nothing to give back.
func (s *FileSink) Close() error { return nil }
