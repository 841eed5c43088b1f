// Package audit writes the audit log, delivers it to where it is watched, and
// proves that it was not changed. The log's schema and its threat model are in
// docs/audit-log.md.
//
// A record says who did what to whom, and how it ended. It never holds a
// secret or what people wrote to one another.
package audit

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Kind is what a record is about. The words are stored and never change.
type Kind string

// The kinds of record.
const (
	// Login: someone logged in, or failed to.
	Login Kind = "login"
	// Logout: sessions of a user ended.
	Logout Kind = "logout"
	// Registration: an account was made, or not.
	Registration Kind = "registration"
	// Account: an account was changed: password, deactivation, rights.
	Account Kind = "account"
	// Membership: a join, invitation, knock or removal was refused.
	Membership Kind = "membership"
	// Policy: governance refused something.
	Policy Kind = "policy"
	// Agreement: an agreement with a peer was made, changed or ended.
	Agreement Kind = "agreement"
	// Admin: someone used an administrator's rights.
	Admin Kind = "admin"
	// Key: a key of this server or of a peer began or ceased to count.
	Key Kind = "key"
)

// Outcome is how it ended.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "ok"
	Refused Outcome = "refused"
	Failed  Outcome = "failed"
)

// version is that of the schema of records.
const version = 1

// maxText bounds every text of a record, in bytes.
const maxText = 1024

// Record is one thing that the log keeps. Its zero fields are left out.
type Record struct {
	// Kind is what it is about. Required.
	Kind Kind
	// At is when. Required.
	At time.Time
	// Outcome is how it ended; OK when empty.
	Outcome Outcome
	// Who did it: a user ID, a server name, or an operator of the command
	// line as os:name.
	Who string
	// What was done, in one or few words: "suspend", "password".
	What string
	// Target is whom or what it was done to: a user ID, a device, a key.
	Target string
	// Room is where.
	Room id.RoomID
	// Server is the peer that it concerns.
	Server string
	// Address is where the caller called from.
	Address string
	// Rule is the name of the rule that decided.
	Rule string
	// Count is how often it happened, when repeats were gathered in one
	// record: from First to At.
	Count int64
	First time.Time
	// Detail is what else an auditor needs. Never secrets, never content.
	Detail map[string]string
}

// body is a record in the log.
type body struct {
	V       int               `json:"v"`
	Kind    Kind              `json:"kind"`
	Outcome Outcome           `json:"outcome"`
	Who     string            `json:"who,omitempty"`
	What    string            `json:"what,omitempty"`
	Target  string            `json:"target,omitempty"`
	Room    string            `json:"room,omitempty"`
	Server  string            `json:"server,omitempty"`
	Address string            `json:"address,omitempty"`
	Rule    string            `json:"rule,omitempty"`
	Count   int64             `json:"count,omitempty"`
	First   int64             `json:"first,omitempty"`
	Detail  map[string]string `json:"detail,omitempty"`
}

// Stored is the record as the audit table takes it, for Commit.Audit.
func (r Record) Stored() storage.AuditRecord {
	b := body{
		V: version, Kind: r.Kind, Outcome: r.Outcome, Who: text(r.Who), What: text(r.What), Target: text(r.Target),
		Room: text(string(r.Room)), Server: text(r.Server), Address: text(r.Address), Rule: text(r.Rule), Count: r.Count,
	}
	if b.Outcome == "" {
		b.Outcome = OK
	}
	if !r.First.IsZero() {
		b.First = r.First.UnixMilli()
	}
	if len(r.Detail) > 0 {
		b.Detail = make(map[string]string, len(r.Detail))
		for k, v := range r.Detail {
			b.Detail[text(k)] = text(v)
		}
	}
	// Texts, numbers and one map of texts: neither step can fail.
	raw, _ := json.Marshal(b)
	raw, _ = event.Canonical(raw)
	return storage.AuditRecord{At: r.At.UnixMilli(), Body: raw}
}

// text is valid UTF-8 of bounded length.
func text(s string) string {
	if len(s) > maxText {
		end := maxText
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// Read is the record in a stored entry.
func Read(e storage.AuditRecord) (Record, error) {
	var b body
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return Record{}, err
	}
	r := Record{
		Kind: b.Kind, At: time.UnixMilli(e.At).UTC(), Outcome: b.Outcome, Who: b.Who, What: b.What, Target: b.Target,
		Room: id.RoomID(b.Room), Server: b.Server, Address: b.Address, Rule: b.Rule, Count: b.Count, Detail: b.Detail,
	}
	if b.First != 0 {
		r.First = time.UnixMilli(b.First).UTC()
	}
	return r, nil
}
