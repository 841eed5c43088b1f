package inbound

import (
	"context"

	"entente/federation/keys"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// KeyStore keeps peers' signing keys in the database. It implements
// keys.Store.
type KeyStore struct{ DB *storage.DB }

// Load reads what is known of a server's keys.
func (k KeyStore) Load(ctx context.Context, server string) ([]keys.Key, error) {
	rows, err := k.DB.Latest().ServerKeys(ctx, server)
	out := make([]keys.Key, len(rows))
	for i, r := range rows {
		out[i] = keys.Key{
			Server: server, ID: id.KeyID(r.ID), Public: r.Public, ValidUntil: r.ValidUntil, Expired: r.Expired,
			Fetched: r.Fetched, Document: r.Document,
		}
	}
	return out, err
}

// Save keeps keys.
func (k KeyStore) Save(ctx context.Context, all []keys.Key) error {
	rows := make([]storage.Row, len(all))
	for i, key := range all {
		rows[i] = &storage.ServerKey{
			Server: key.Server, ID: string(key.ID), Public: key.Public, ValidUntil: key.ValidUntil, Expired: key.Expired,
			Fetched: key.Fetched, Document: key.Document,
		}
	}
	return k.DB.Stage(ctx, rows...)
}
