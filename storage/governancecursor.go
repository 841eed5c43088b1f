package storage

import "context"

// AuditCursor is how far a sink got the audit log. As a Row it moves forward,
// never back.
type AuditCursor struct {
	// Sink is where to, as configured.
	Sink string
	// Seq is the last record delivered.
	Seq int64
}

const (
	upsertAuditCursor = `INSERT INTO audit_cursor (sink, seq) VALUES ($1, $2)
		ON CONFLICT (sink) DO UPDATE SET seq = excluded.seq WHERE audit_cursor.seq < excluded.seq`
	selectAuditCursors = `SELECT sink, seq FROM audit_cursor ORDER BY sink`
	selectAuditAt      = `SELECT COALESCE(MIN(seq), 0) FROM audit WHERE at >= $1`
)

func (c *AuditCursor) write(w *writer) { w.exec(upsertAuditCursor, c.Sink, c.Seq) }

// AuditCursors lists how far the sinks got, sorted by sink.
func (v *View) AuditCursors(ctx context.Context) ([]AuditCursor, error) {
	var out []AuditCursor
	err := each(ctx, v.q, selectAuditCursors, nil, func(r rowScanner) error {
		var c AuditCursor
		err := r.Scan(&c.Sink, &c.Seq)
		out = append(out, c)
		return err
	})
	return out, err
}

// AuditSince is the first record of the audit log at or after a time in
// milliseconds; zero when there is none.
func (v *View) AuditSince(ctx context.Context, at int64) (seq int64, err error) {
	_, err = one(ctx, v.q, selectAuditAt, []any{at}, &seq)
	return seq, err
}

// AuditTail is the last record's place and hash; zero of an empty log.
func (v *View) AuditTail(ctx context.Context) (seq int64, hash []byte, err error) {
	_, err = one(ctx, v.q, selectAuditTail, nil, &seq, &hash)
	return seq, hash, err
}
