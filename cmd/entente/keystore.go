package main

import (
	"context"
	"crypto/ed25519"

	"entente/federation/keys"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// keyStore keeps peers' keys in the database: keys.Store.
type keyStore struct{ db *storage.DB }

// Load lists what is known of a server's keys.
func (k keyStore) Load(ctx context.Context, server string) ([]keys.Key, error) {
	rows, err := k.db.Latest().ServerKeys(ctx, server)
	out := make([]keys.Key, len(rows))
	for i, r := range rows {
		out[i] = keys.Key{
			Server: r.Server, ID: id.KeyID(r.ID), Public: ed25519.PublicKey(r.Public), ValidUntil: r.ValidUntil, Expired: r.Expired,
			Fetched: r.Fetched, Document: r.Document,
		}
	}
	return out, err
}

// Save keeps keys.
func (k keyStore) Save(ctx context.Context, fresh []keys.Key) error {
	rows := make([]storage.Row, len(fresh))
	for i, f := range fresh {
		rows[i] = &storage.ServerKey{
			Server: f.Server, ID: string(f.ID), Public: f.Public, ValidUntil: f.ValidUntil, Expired: f.Expired, Fetched: f.Fetched,
			Document: f.Document,
		}
	}
	return k.db.Stage(ctx, rows...)
}
