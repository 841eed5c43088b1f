package governance

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Agreement is what was agreed with another server. The zero value of each
// set of names permits nothing; NewAgreement permits everything.
type Agreement struct {
	// Peer is the other server's name, in lower case.
	Peer string
	// Suspended stops all traffic with the peer and keeps memberships.
	Suspended bool
	// Keys are the only signing keys that count for the peer; none: whichever
	// the peer publishes.
	Keys map[id.KeyID]ed25519.PublicKey
	// CA holds the certificate authorities, PEM, one of which must vouch for
	// the peer's certificate; empty: those of the configuration.
	CA string
	// ValidFrom and ValidUntil bound the agreement; zero is unbounded. At
	// ValidUntil it is not valid any more.
	ValidFrom, ValidUntil time.Time
	// Outbound is who of ours may invite whom of theirs.
	Outbound Invitations
	// Inbound is who of theirs may invite whom of ours.
	Inbound Invitations
	// RoomVersions are the versions of the rooms that may be shared.
	RoomVersions Patterns
	// EDUs are the types of ephemeral data that are exchanged.
	// Spec: server-server-api/#edus
	EDUs Patterns
	// Note is for people.
	Note string
	// Created and Changed are when, ChangedBy by whom it was changed last.
	Created, Changed time.Time
	ChangedBy        string
}

// Invitations say who may invite whom, by patterns of localparts.
type Invitations struct {
	// By are the users who may invite.
	By Patterns `json:"by"`
	// Of are the users who may be invited.
	Of Patterns `json:"of"`
}

// NewAgreement is an agreement that permits everything.
func NewAgreement(peer string) Agreement {
	everyone := func() Invitations { return Invitations{By: Everything(), Of: Everything()} }
	return Agreement{Peer: peer, Outbound: everyone(), Inbound: everyone(), RoomVersions: Everything(), EDUs: Everything()}
}

// The states of an agreement.
const (
	StateActive    = "active"
	StateSuspended = "suspended"
	StateExpired   = "expired"
	StateUpcoming  = "upcoming"
)

// StateAt says in a word whether the agreement is in force at a time.
func (a *Agreement) StateAt(at time.Time) string {
	switch {
	case a.Suspended:
		return StateSuspended
	case !a.ValidUntil.IsZero() && !at.Before(a.ValidUntil):
		return StateExpired
	case at.Before(a.ValidFrom):
		return StateUpcoming
	}
	return StateActive
}

// EDUTypes are the types of ephemeral data that servers exchange.
//
// Spec: server-server-api/#edus
func EDUTypes() []string {
	return []string{
		"m.typing", "m.receipt", "m.presence", "m.direct_to_device", "m.device_list_update", "m.signing_key_update",
	}
}

// maxNote bounds the text for people, and maxPatterns each set of names.
const (
	maxNote     = 4096
	maxPatterns = 1000
	maxKeys     = 64
	maxCA       = 256 << 10
)

// check says what is wrong with an agreement that server is to have.
func (a *Agreement) check(server string) error {
	wrong := func(format string, args ...any) error { return fault.New(fault.InvalidParam, format, args...) }
	switch {
	case !event.ValidServerName(a.Peer):
		return wrong("%q is not a server name: write the part behind the colon of the peer's user IDs", a.Peer)
	case a.Peer != canonicalName(a.Peer):
		return wrong("the server name %q is not in its plain form: write %s", a.Peer, canonicalName(a.Peer))
	case a.Peer == server:
		return wrong("%s is this server itself", a.Peer)
	case !a.ValidUntil.IsZero() && !a.ValidUntil.After(a.ValidFrom):
		return wrong("the agreement would end (%s) before it begins (%s)", a.ValidUntil.Format(time.RFC3339), a.ValidFrom.Format(time.RFC3339))
	case len(a.Note) > maxNote:
		return wrong("the note is longer than %d bytes", maxNote)
	case len(a.Keys) > maxKeys:
		return wrong("more than %d keys are pinned", maxKeys)
	}
	for keyID, key := range a.Keys {
		if algorithm, version, ok := strings.Cut(string(keyID), ":"); !ok || algorithm != "ed25519" || version == "" || len(key) != ed25519.PublicKeySize {
			return wrong("%q is not the ID of an ed25519 key, or its key is not 32 bytes", keyID)
		}
	}
	if a.CA != "" && (len(a.CA) > maxCA || !x509.NewCertPool().AppendCertsFromPEM([]byte(a.CA))) {
		return wrong("the certificate authority is not PEM with a certificate in it")
	}
	if err := a.checkInvitations(); err != nil {
		return err
	}
	return a.checkTypes()
}

func (a *Agreement) checkInvitations() error {
	for _, set := range []struct {
		name     string
		patterns Patterns
	}{
		{"ours who may invite", a.Outbound.By}, {"theirs who may be invited", a.Outbound.Of},
		{"theirs who may invite", a.Inbound.By}, {"ours who may be invited", a.Inbound.Of},
	} {
		if len(set.patterns) > maxPatterns {
			return fault.New(fault.InvalidParam, "%s: more than %d patterns", set.name, maxPatterns)
		}
		for _, p := range set.patterns {
			if p == "" || strings.ContainsAny(p, "@: \t\n\x00") || len(p) > event.MaxIDSize {
				return fault.New(fault.InvalidParam, "%s: %q is not a pattern of localparts: write the part between @ and :, as in liaison-*", set.name, p)
			}
		}
	}
	return nil
}

func (a *Agreement) checkTypes() error {
	var versions []string
	for _, v := range event.SupportedVersions() {
		versions = append(versions, string(v))
	}
	for _, set := range []struct {
		what     string
		patterns Patterns
		known    []string
	}{{"room version", a.RoomVersions, versions}, {"type of ephemeral data", a.EDUs, EDUTypes()}} {
		for _, p := range set.patterns {
			if !slices.ContainsFunc(set.known, func(name string) bool { return glob(p, name) }) {
				return fault.New(fault.InvalidParam, "%q is no %s: known are %s", p, set.what, strings.Join(set.known, ", "))
			}
		}
	}
	return nil
}

// terms is the part of an agreement that storage does not read.
type terms struct {
	Keys         map[id.KeyID]string `json:"keys,omitempty"`
	CA           string              `json:"ca,omitempty"`
	Outbound     Invitations         `json:"outbound"`
	Inbound      Invitations         `json:"inbound"`
	RoomVersions Patterns            `json:"room_versions"`
	EDUs         Patterns            `json:"edus"`
	Note         string              `json:"note,omitempty"`
}

// stored is the agreement as a row.
func (a *Agreement) stored() (*storage.Agreement, error) {
	t := terms{
		CA: a.CA, Outbound: a.Outbound, Inbound: a.Inbound, RoomVersions: a.RoomVersions, EDUs: a.EDUs, Note: a.Note,
		Keys: make(map[id.KeyID]string, len(a.Keys)),
	}
	for keyID, key := range a.Keys {
		t.Keys[keyID] = encodeKey(key)
	}
	raw, err := json.Marshal(t)
	if err == nil {
		raw, err = event.Canonical(raw)
	}
	return &storage.Agreement{
		Peer: a.Peer, Suspended: a.Suspended, ValidFrom: millis(a.ValidFrom), ValidUntil: millis(a.ValidUntil), Terms: raw,
		Created: millis(a.Created), Changed: millis(a.Changed), ChangedBy: a.ChangedBy,
	}, err
}

// loadAgreement reads a row.
func loadAgreement(row *storage.Agreement) (Agreement, error) {
	var t terms
	if err := json.Unmarshal(row.Terms, &t); err != nil {
		return Agreement{}, fmt.Errorf("read the agreement with %s: %w", row.Peer, err)
	}
	a := Agreement{
		Peer: row.Peer, Suspended: row.Suspended, ValidFrom: timeOf(row.ValidFrom), ValidUntil: timeOf(row.ValidUntil),
		CA: t.CA, Outbound: t.Outbound, Inbound: t.Inbound, RoomVersions: t.RoomVersions, EDUs: t.EDUs, Note: t.Note,
		Created: timeOf(row.Created), Changed: timeOf(row.Changed), ChangedBy: row.ChangedBy,
	}
	if len(t.Keys) > 0 {
		a.Keys = make(map[id.KeyID]ed25519.PublicKey, len(t.Keys))
	}
	for keyID, text := range t.Keys {
		key, err := base64.RawStdEncoding.DecodeString(text)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return Agreement{}, fmt.Errorf("read the agreement with %s: key %s is damaged", row.Peer, keyID)
		}
		a.Keys[keyID] = key
	}
	return a, nil
}

// KeyIDs lists the pinned keys, sorted.
func (a *Agreement) KeyIDs() []id.KeyID { return slices.Sorted(maps.Keys(a.Keys)) }

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func timeOf(millis int64) time.Time {
	if millis == 0 {
		return time.Time{}
	}
	return time.UnixMilli(millis).UTC()
}

// canonicalName is a server name as agreements have it. Names that differ in
// case, or by the root's dot, lead to the same host: one agreement covers them
// all.
func canonicalName(server string) string {
	server = strings.ToLower(server)
	if host, port, ok := strings.Cut(server, ".:"); ok {
		return host + ":" + port
	}
	return strings.TrimSuffix(server, ".")
}

func encodeKey(key ed25519.PublicKey) string { return base64.RawStdEncoding.EncodeToString(key) }

// fingerprint names certificates by a hash, in the audit log.
func fingerprint(pem string) string {
	sum := sha256.Sum256([]byte(pem))
	return "sha256:" + hex.EncodeToString(sum[:])
}
