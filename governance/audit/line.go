package audit

import (
	"encoding/base64"
	"encoding/json"
	"time"

	"entente/storage"
)

// line is a record as it leaves the server.
type line struct {
	Server string          `json:"server_name"`
	Seq    int64           `json:"seq"`
	At     string          `json:"at"`
	Hash   string          `json:"hash"`
	Record json.RawMessage `json:"record"`
}

// Line is an entry as sinks and exports have it: one JSON object on one line,
// without the newline. What is in it is enough to check the chain.
func Line(server string, e storage.AuditEntry) []byte {
	l := line{
		Server: server, Seq: e.Seq, At: time.UnixMilli(e.At).UTC().Format("2006-01-02T15:04:05.000Z"),
		Hash: base64.RawStdEncoding.EncodeToString(e.Hash), Record: e.Body,
	}
	if !json.Valid(e.Body) { // someone wrote it past us: it is delivered all the same
		l.Record, _ = json.Marshal(map[string][]byte{"damaged": e.Body})
	}
	raw, _ := json.Marshal(l) // texts, a number and valid JSON: it cannot fail
	return raw
}
