package storage

import "context"

// Agreement is an agreement with another server as it is stored; what it says
// is governance's to read. As a Row it is made or replaced. A commit of one
// carries a PolicyBump and touches Policy.
type Agreement struct {
	// Peer is the other server's name in lower case.
	Peer string
	// Suspended: traffic is stopped by hand.
	Suspended bool
	// ValidFrom and ValidUntil are in milliseconds since 1970; zero is unbounded.
	ValidFrom, ValidUntil int64
	// Terms is canonical JSON.
	Terms []byte
	// Created and Changed are in milliseconds since 1970.
	Created, Changed int64
	// ChangedBy is who changed it last.
	ChangedBy string
}

const (
	upsertAgreement = `INSERT INTO agreement (peer, suspended, valid_from, valid_until, terms, created, changed, changed_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (peer) DO UPDATE SET suspended = excluded.suspended, valid_from = excluded.valid_from, valid_until = excluded.valid_until,
		terms = excluded.terms, changed = excluded.changed, changed_by = excluded.changed_by`
	deleteAgreement  = `DELETE FROM agreement WHERE peer = $1`
	selectAgreements = `SELECT peer, suspended, valid_from, valid_until, terms, created, changed, changed_by FROM agreement ORDER BY peer`
)

func (a *Agreement) write(w *writer) {
	w.exec(upsertAgreement, a.Peer, a.Suspended, a.ValidFrom, a.ValidUntil, a.Terms, a.Created, a.Changed, a.ChangedBy)
}

// NoAgreement ends the agreement with a server.
type NoAgreement struct{ Peer string }

func (a *NoAgreement) write(w *writer) { w.exec(deleteAgreement, a.Peer) }

// Agreements reads all agreements, sorted by peer.
func (v *View) Agreements(ctx context.Context) ([]Agreement, error) {
	var out []Agreement
	err := each(ctx, v.q, selectAgreements, nil, func(r rowScanner) error {
		var a Agreement
		err := r.Scan(&a.Peer, &a.Suspended, &a.ValidFrom, &a.ValidUntil, &a.Terms, &a.Created, &a.Changed, &a.ChangedBy)
		out = append(out, a)
		return err
	})
	return out, err
}
