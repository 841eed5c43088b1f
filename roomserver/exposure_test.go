package roomserver

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

// What a server gets of an event depends on the history visibility and on its
// users' memberships at the event: whole, redacted, or, when it is not in the
// room, nothing.
func TestVisibleToServer(t *testing.T) {
	const (
		invited = "say invite say"
		joined  = invited + " join say"
		left    = joined + " leave say"
		back    = left + " join say"
	)
	tests := []struct {
		stages string
		gets   map[string]string // visibility: for each message w(hole), r(edacted) or n(othing)
	}{
		{invited, map[string]string{"world_readable": "ww", "shared": "nn", "invited": "nw", "joined": "nn"}},
		{joined, map[string]string{"world_readable": "www", "shared": "www", "invited": "rww", "joined": "rrw"}},
		{left, map[string]string{"world_readable": "wwww", "shared": "nnwn", "invited": "nwwn", "joined": "nnwn"}},
		{back, map[string]string{"world_readable": "wwwww", "shared": "wwwww", "invited": "rwwrw", "joined": "rrwrw"}},
	}
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		w := newWorld(t, func() storage.Options {
			if o.SQLite != "" {
				return storagetest.SQLite(t)
			}
			return storagetest.Postgres(t)
		}, "a", "b", "c")
		for _, tt := range tests {
			for visibility, want := range tt.gets {
				if got := exposures(t, w, visibility, strings.Fields(tt.stages)); got != want {
					t.Errorf("%s, %s: the server gets %s, want %s", visibility, tt.stages, got, want)
				}
			}
		}
	})
}

// exposures plays the stages of bob, who is of server b, in a room of server a,
// and tells what b gets of the messages.
func exposures(t *testing.T, w *world, visibility string, stages []string) string {
	t.Helper()
	const alice, bob id.UserID = "@alice:a", "@bob:b"
	a, b := w.agencies["a"], w.agencies["b"]
	random := rand.New(rand.NewPCG(1, 1))
	room, err := a.Create(t.Context(), CreateRequest{Creator: alice, Preset: "public_chat", InitialState: []StateDraft{{
		Type: typeHistoryVisibility, Content: json.RawMessage(fmt.Sprintf(`{"history_visibility":%q}`, visibility)),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	var said []id.EventID
	for _, stage := range stages {
		switch stage {
		case "say":
			sent, err := a.Send(t.Context(), SendRequest{Room: room, Draft: Draft{Type: "m.room.message", Sender: alice, Content: json.RawMessage(`{"body":"x"}`)}})
			if err != nil {
				t.Fatal(err)
			}
			said = append(said, sent.EventID)
		case "invite":
			// Without a network the invite is not handed over; it stands in the room.
			err := a.setMembership(t.Context(), MemberRequest{Room: room, Sender: alice, Target: bob}, "invite", nil)
			if err != nil {
				t.Fatal(err)
			}
		case "join":
			w.join(bob, room, a)
		case "leave":
			if err := b.Leave(t.Context(), MemberRequest{Room: room, Sender: bob, Target: bob}); err != nil {
				t.Fatal(err)
			}
		}
		w.settle(room, random)
	}
	info, err := a.Info(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	found, err := a.eventsByID(t.Context(), info, said)
	if err != nil {
		t.Fatal(err)
	}
	var events []*storage.Event
	for _, eventID := range said {
		events = append(events, found[eventID])
	}
	got, err := a.VisibleToServer(t.Context(), info, "b", events)
	if err != nil {
		t.Fatal(err)
	}
	out := ""
	for _, e := range got {
		out += map[Exposure]string{Whole: "w", Redacted: "r", Withheld: "n"}[e]
	}
	return out
}
