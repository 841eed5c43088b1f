package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Checkpoint is how far the log was at a time, signed with the server's
// signing key. Kept where the server cannot reach it, it proves later that
// nothing up to it was changed or taken away.
type Checkpoint struct {
	// Server is whose log it is.
	Server string
	// Seq and Hash are the last record's; zero and none of an empty log.
	Seq  int64
	Hash []byte
	// At is when the checkpoint was made.
	At time.Time
}

// checkpointType tells a checkpoint from everything else that the key signs.
const checkpointType = "entente.audit.checkpoint"

type signedCheckpoint struct {
	Type   string `json:"type"`
	Server string `json:"server_name"`
	Seq    int64  `json:"seq"`
	Hash   string `json:"hash"`
	At     int64  `json:"at"`

	Signatures map[string]map[id.KeyID]string `json:"signatures,omitempty"`
}

// NewCheckpoint reads the end of the log.
func NewCheckpoint(ctx context.Context, db *storage.DB, server string, at time.Time) (Checkpoint, error) {
	seq, hash, err := db.Latest().AuditTail(ctx)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("read the end of the audit log: %w", err)
	}
	return Checkpoint{Server: server, Seq: seq, Hash: hash, At: at}, nil
}

// Sign is the checkpoint as it is exported: canonical JSON on one line.
//
// Spec: appendices/#signing-json
func (c Checkpoint) Sign(s event.Signer) ([]byte, error) {
	raw, err := json.Marshal(signedCheckpoint{
		Type: checkpointType, Server: c.Server, Seq: c.Seq, Hash: base64.RawStdEncoding.EncodeToString(c.Hash), At: c.At.UnixMilli(),
	})
	if err != nil {
		return nil, err
	}
	return event.SignJSON(raw, s)
}

// ReadCheckpoints reads checkpoints, one on each line, as they were exported.
// Lines of other kinds, such as the records of a sink's file, are passed over.
// Each must be of the server and signed with a key that keys knows.
func ReadCheckpoints(text []byte, server string, keys func(id.KeyID) (ed25519.PublicKey, bool)) ([]Checkpoint, error) {
	var out []Checkpoint
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		var c signedCheckpoint
		if len(line) == 0 {
			continue
		}
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, fmt.Errorf("line %d is not JSON: %w", number, err)
		}
		if c.Type != checkpointType {
			continue
		}
		one, err := c.verified(line, server, keys)
		if err != nil {
			return nil, fmt.Errorf("the checkpoint on line %d: %w", number, err)
		}
		out = append(out, one)
	}
	return out, nil
}

func (c *signedCheckpoint) verified(raw []byte, server string, keys func(id.KeyID) (ed25519.PublicKey, bool)) (Checkpoint, error) {
	if c.Server != server {
		return Checkpoint{}, fmt.Errorf("it is of %q, not of %s", c.Server, server)
	}
	hash, err := base64.RawStdEncoding.DecodeString(c.Hash)
	if err != nil || c.Seq < 0 {
		return Checkpoint{}, errors.New("it is damaged")
	}
	for keyID := range c.Signatures[server] {
		key, ok := keys(keyID)
		if !ok {
			continue
		}
		if err := event.VerifyJSON(raw, server, keyID, key); err != nil {
			return Checkpoint{}, fmt.Errorf("its signature with %s is wrong: %w", keyID, err)
		}
		return Checkpoint{Server: server, Seq: c.Seq, Hash: hash, At: time.UnixMilli(c.At).UTC()}, nil
	}
	return Checkpoint{}, errors.New("it is signed with none of the keys of this server that the configuration knows (signing.key_file and signing.old_keys)")
}
