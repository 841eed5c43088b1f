package storage

import "context"

// ServerKey is a signing key of another server. As a Row it is inserted, or
// replaces what was known of that key.
type ServerKey struct {
	Server string
	ID     string
	Public []byte
	// ValidUntil, Expired and Fetched are in milliseconds since 1970; a current
	// key has no Expired.
	ValidUntil, Expired, Fetched int64
	// Document is what the key came in, as the server signed it.
	Document []byte
}

const (
	upsertServerKey = `INSERT INTO server_key (server, key_id, public, valid_until, expired, fetched, document) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (server, key_id) DO UPDATE SET public = excluded.public, valid_until = excluded.valid_until,
		expired = excluded.expired, fetched = excluded.fetched, document = excluded.document`
	selectServerKeys = `SELECT k.key_id, k.public, k.valid_until, k.expired, k.fetched, k.document
		FROM server_key k JOIN server_name s ON s.nid = k.server WHERE s.name = $1 ORDER BY k.key_id`
)

func (k *ServerKey) write(w *writer) {
	document := k.Document
	if document == nil {
		document = []byte{}
	}
	w.exec(upsertServerKey, w.number(servers, k.Server), k.ID, k.Public, k.ValidUntil, k.Expired, k.Fetched, document)
}

// ServerKeys lists what is known of a server's signing keys, by key ID.
func (v *View) ServerKeys(ctx context.Context, server string) ([]ServerKey, error) {
	var out []ServerKey
	err := each(ctx, v.q, selectServerKeys, []any{server}, func(r rowScanner) error {
		k := ServerKey{Server: server}
		err := r.Scan(&k.ID, &k.Public, &k.ValidUntil, &k.Expired, &k.Fetched, &k.Document)
		out = append(out, k)
		return err
	})
	return out, err
}
