package storage

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
)

// AuditRecord is something that the audit log must keep. Records are chained:
// each one's hash covers the hash before it.
type AuditRecord struct {
	// At is when it happened, in milliseconds since 1970.
	At int64
	// Body is the record in canonical JSON.
	Body []byte
}

// AuditEntry is a record in its place in the chain.
type AuditEntry struct {
	// Seq counts from 1 without gaps.
	Seq int64
	AuditRecord
	// Hash is AuditHash of the entry before and this one.
	Hash []byte
}

// AuditHash is the hash of a record in its place: SHA-256 over the previous
// hash, the sequence number and the time as 8 bytes each, big endian, and the
// body.
func AuditHash(previous []byte, seq int64, r AuditRecord) []byte {
	h := sha256.New()
	h.Write(previous)
	var n [16]byte
	binary.BigEndian.PutUint64(n[:8], uint64(seq))
	binary.BigEndian.PutUint64(n[8:], uint64(r.At))
	h.Write(n[:])
	h.Write(r.Body)
	return h.Sum(nil)
}

const (
	selectAuditTail = `SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1`
	insertAudit     = `INSERT INTO audit (seq, at, body, hash) VALUES ($1, $2, $3, $4)`
	selectAudit     = `SELECT seq, at, body, hash FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2`
)

// auditTail is the end of the chain while a group is written.
type auditTail struct {
	seq  int64
	hash []byte
}

func (t *auditTail) scan(r rowScanner) error { return r.Scan(&t.seq, &t.hash) }

func (t *auditTail) append(r AuditRecord) statement {
	t.seq++
	t.hash = AuditHash(t.hash, t.seq, r)
	return statement{insertAudit, []any{t.seq, r.At, r.Body, t.hash}}
}

// Audit reads at most limit entries of the audit log after seq, in order.
func (v *View) Audit(ctx context.Context, after int64, limit int) ([]AuditEntry, error) {
	var out []AuditEntry
	err := each(ctx, v.q, selectAudit, []any{after, limit}, func(r rowScanner) error {
		var e AuditEntry
		err := r.Scan(&e.Seq, &e.At, &e.Body, &e.Hash)
		out = append(out, e)
		return err
	})
	return out, err
}
