package syncapi_test

import (
	"fmt"
	"testing"

	"entente/clientapi/syncapi"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

// BenchmarkSync measures how long it takes to put an answer together.
func BenchmarkSync(b *testing.B) {
	a := newAgency(b, storagetest.SQLite(b))
	info := a.create("@alice:test")
	for i := range 50 {
		a.join(info, id.UserID(fmt.Sprintf("@user%d:test", i)))
	}
	ask := func(server *syncapi.Server, since, filter string) string {
		raw, err := server.Sync(b.Context(), syncapi.Request{User: "@alice:test", Device: "D", Since: since, Filter: filter, Presence: syncapi.Offline})
		if err != nil {
			b.Fatal(err)
		}
		return string(raw)
	}
	since := func(answer string) (token string) {
		_, err := fmt.Sscanf(answer, `{"next_batch":%q`, &token)
		if err != nil {
			b.Fatal(err)
		}
		return token
	}
	before := since(ask(a.sync, "", ""))
	ask(a.slow, "", "")
	a.say(info, "@user1:test")
	lazy := `{"room":{"state":{"lazy_load_members":true}}}`
	for _, c := range []struct {
		name          string
		server        *syncapi.Server
		since, filter string
	}{
		{"message", a.sync, before, ""},
		{"message lazily", a.sync, before, lazy},
		{"message from the database", a.slow, before, ""},
		{"nothing", a.sync, since(ask(a.sync, before, "")), ""},
		{"everything", a.sync, "", ""},
		{"everything lazily", a.sync, "", lazy},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ask(c.server, c.since, c.filter)
			}
		})
	}
}
