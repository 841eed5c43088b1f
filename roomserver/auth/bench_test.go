package auth_test

import (
	"testing"

	"entente/roomserver/auth"
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// levelsOf are the parsed power levels of the room's state.
func levelsOf(b *testing.B, r *room) *auth.PowerLevels {
	b.Helper()
	p, err := auth.ParsePowerLevels(r.state[event.Key{Type: "m.room.create"}], r.state[event.Key{Type: "m.room.power_levels"}])
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// BenchmarkMessage authorises a message, as every send does.
func BenchmarkMessage(b *testing.B) {
	r := newRoom(b, rulesOf(b, "12"), "invite")
	ev := r.make(message("m.room.message", alice))
	b.Run("parsed levels", func(b *testing.B) {
		levels := levelsOf(b, r)
		b.ReportAllocs()
		for b.Loop() {
			if err := auth.CheckWith(ev, levels, r.lookup); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("levels in the state", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := auth.Check(ev, r.lookup); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkJoin authorises joins.
func BenchmarkJoin(b *testing.B) {
	for name, c := range map[string]struct {
		joinRule string
		content  string
	}{
		"public":     {"public", `{"membership":"join"}`},
		"restricted": {"restricted", `{"membership":"join","join_authorised_via_users_server":"` + alice + `"}`},
	} {
		b.Run(name, func(b *testing.B) {
			r := newRoom(b, rulesOf(b, "12"), c.joinRule)
			ev := r.make(state("m.room.member", stranger, stranger, c.content))
			levels := levelsOf(b, r)
			b.ReportAllocs()
			for b.Loop() {
				if err := auth.CheckWith(ev, levels, r.lookup); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkNeeded selects the auth events of a message.
func BenchmarkNeeded(b *testing.B) {
	rules := rulesOf(b, "12")
	b.ReportAllocs()
	for b.Loop() {
		auth.Needed(rules, "m.room.message", "", id.UserID(alice), nil)
	}
}
