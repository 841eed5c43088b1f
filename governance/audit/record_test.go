package audit_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"entente/governance/audit"
	"entente/roomserver/event"
	"entente/storage"
)

func TestRecordsAreKeptAsTheyAre(t *testing.T) {
	full := audit.Record{
		Kind: audit.Policy, At: noon(), Outcome: audit.Refused, Who: "@a:b", What: "invite", Target: "@c:d", Room: "!r:b", Server: "d",
		Address: "192.0.2.1", Rule: "agreement.expired", Count: 12, First: noon().Add(-time.Minute), Detail: map[string]string{"x": "ü<&>"},
	}
	for _, r := range []audit.Record{full, {Kind: audit.Login, At: noon()}} {
		stored := r.Stored()
		if canonical, err := event.Canonical(stored.Body); err != nil || !bytes.Equal(canonical, stored.Body) {
			t.Errorf("not canonical: %s", stored.Body)
		}
		if r.Outcome == "" {
			r.Outcome = audit.OK
		}
		if got, err := audit.Read(stored); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("read %+v, error %v, want %+v", got, err, r)
		}
	}
	if _, err := audit.Read(storage.AuditRecord{Body: []byte("{")}); err == nil {
		t.Error("half a record is read")
	}
}

// Strangers choose some of the texts: they are bounded, and valid.
func TestTextsOfRecords(t *testing.T) {
	r, err := audit.Read(audit.Record{Kind: audit.Login, At: noon(), Who: strings.Repeat("é", 1000), Target: "a\xffb\x00c"}.Stored())
	if err != nil || len(r.Who) != 1024 || r.Target != "a\uFFFDb\x00c" {
		t.Errorf("%d bytes, %q, error %v", len(r.Who), r.Target, err)
	}
}

// What a sink gets is enough to check the chain with nothing else.
func TestLinesCarryTheChain(t *testing.T) {
	body := audit.Record{Kind: audit.Login, At: noon(), Detail: map[string]string{"agent": "<b>&\u2028é"}}.Stored()
	e := storage.AuditEntry{Seq: 7, AuditRecord: body, Hash: []byte{1, 2, 3}}
	var line struct {
		Server string          `json:"server_name"`
		Seq    int64           `json:"seq"`
		At     time.Time       `json:"at"`
		Hash   string          `json:"hash"`
		Record json.RawMessage `json:"record"`
	}
	raw := audit.Line(server, e)
	if err := json.Unmarshal(raw, &line); err != nil || bytes.ContainsRune(raw, '\n') {
		t.Fatalf("%s: %v", raw, err)
	}
	canonical, err := event.Canonical(line.Record)
	if err != nil || !bytes.Equal(canonical, body.Body) || line.At.UnixMilli() != body.At || line.Seq != 7 || line.Hash != "AQID" || line.Server != server {
		t.Errorf("%s, error %v", raw, err)
	}
	e.Body = []byte("not JSON\n")
	if raw := audit.Line(server, e); !json.Valid(raw) || bytes.ContainsRune(raw, '\n') {
		t.Errorf("a damaged record is delivered as %s", raw)
	}
}

func TestFromFields(t *testing.T) {
	for _, c := range []struct {
		kind   string
		fields map[string]string
		want   audit.Record
	}{
		{"login", map[string]string{"user": "@a:b", "device": "D", "remote": "192.0.2.1"},
			audit.Record{Kind: audit.Login, Outcome: audit.OK, Who: "@a:b", Target: "@a:b", Address: "192.0.2.1", Detail: map[string]string{"device": "D"}}},
		{"login.refused", map[string]string{"user": "@a:b", "reason": "password"},
			audit.Record{Kind: audit.Login, Outcome: audit.Refused, Who: "@a:b", Target: "@a:b", Detail: map[string]string{"reason": "password"}}},
		{"login.reuse", nil, audit.Record{Kind: audit.Login, What: "refresh", Outcome: audit.Refused, Rule: "session.reuse"}},
		{"logout", nil, audit.Record{Kind: audit.Logout, Outcome: audit.OK}},
		{"register", nil, audit.Record{Kind: audit.Registration, Outcome: audit.OK}},
		{"password", map[string]string{"user": "@a:b", "by": "@admin:b"}, audit.Record{Kind: audit.Account, What: "password", Outcome: audit.OK, Who: "@admin:b", Target: "@a:b"}},
		{"password.refused", nil, audit.Record{Kind: audit.Account, What: "password", Outcome: audit.Refused}},
		{"deactivate", nil, audit.Record{Kind: audit.Account, What: "deactivate", Outcome: audit.OK}},
		{"admin", nil, audit.Record{Kind: audit.Admin, What: "admin", Outcome: audit.OK}},
		{"purge", map[string]string{"room": "!r", "server": "c", "rule": "x"}, audit.Record{Kind: audit.Admin, What: "purge", Outcome: audit.OK, Room: "!r", Server: "c", Rule: "x"}},
	} {
		c.want.At = noon()
		if got := audit.FromFields(noon(), c.kind, c.fields); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.kind, got, c.want)
		}
	}
}
