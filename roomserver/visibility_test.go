package roomserver_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"entente/roomserver"
	"entente/roomserver/event"
	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

// stage is something that happens in a room; say means that the creator sends
// a message.
type stage string

const say stage = "say"

// history plays stages of bob's membership, with a message sent after each, in
// a room of the given visibility.
func history(t *testing.T, s *roomserver.Server, visibility string, stages []stage) (id.RoomID, []id.EventID) {
	t.Helper()
	room, err := s.Create(t.Context(), roomserver.CreateRequest{Creator: "@alice:test", InitialState: []roomserver.StateDraft{{
		Type: "m.room.history_visibility", Content: json.RawMessage(fmt.Sprintf(`{"history_visibility":%q}`, visibility)),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	var said []id.EventID
	for i, st := range stages {
		req := roomserver.MemberRequest{Room: room, Sender: "@alice:test", Target: "@bob:test"}
		own := roomserver.MemberRequest{Room: room, Sender: "@bob:test", Target: "@bob:test"}
		switch st {
		case say:
			var sent roomserver.Sent
			if sent, err = s.Send(t.Context(), message(room, "@alice:test", fmt.Sprint(i))); err == nil {
				said = append(said, sent.EventID)
			}
		case "invite":
			err = s.Invite(t.Context(), req)
		case "join":
			err = s.Join(t.Context(), own)
		case "leave":
			err = s.Leave(t.Context(), own)
		case "kick":
			err = s.Kick(t.Context(), req)
		case "ban":
			err = s.Ban(t.Context(), req)
		case "unban":
			err = s.Unban(t.Context(), req)
		case "forget":
			err = s.Forget(t.Context(), room, "@bob:test")
		}
		if err != nil {
			t.Fatalf("stage %d, %s: %v", i, st, err)
		}
	}
	return room, said
}

func stages(list string) (out []stage) {
	for s := range strings.FieldsSeq(list) {
		out = append(out, stage(s))
	}
	return out
}

// What a user sees depends on the history visibility and their membership at
// each event, and on whether they joined after it.
func TestVisible(t *testing.T) {
	const (
		everything = "world_readable"
		joinedOnce = "say invite say join say leave say"
	)
	tests := []struct {
		stages string
		sees   map[string]string // visibility: for each message whether bob sees it
	}{
		{"say", map[string]string{everything: "y", "shared": "n", "invited": "n", "joined": "n", "nonsense": "n"}},
		{"say invite say", map[string]string{everything: "yy", "shared": "nn", "invited": "ny", "joined": "nn"}},
		{"say invite say join say", map[string]string{everything: "yyy", "shared": "yyy", "invited": "nyy", "joined": "nny", "nonsense": "yyy"}},
		{joinedOnce, map[string]string{everything: "yyyy", "shared": "yyyn", "invited": "nyyn", "joined": "nnyn", "nonsense": "yyyn"}},
		{joinedOnce + " ban say", map[string]string{everything: "yyyyy", "shared": "yyynn", "invited": "nyynn", "joined": "nnynn"}},
		{joinedOnce + " ban say unban say", map[string]string{"shared": "yyynnn", "invited": "nyynnn", "joined": "nnynnn"}},
		{joinedOnce + " invite say", map[string]string{everything: "yyyyy", "shared": "yyynn", "invited": "nyyny", "joined": "nnynn"}},
		{joinedOnce + " invite join say", map[string]string{everything: "yyyyy", "shared": "yyyyy", "invited": "nyyny", "joined": "nnyny"}},
		{joinedOnce + " invite join say kick say", map[string]string{"shared": "yyyyyn", "invited": "nyynyn", "joined": "nnynyn"}},
		{joinedOnce + " forget say", map[string]string{everything: "yyyyy", "shared": "nnnnn", "invited": "nnnnn", "joined": "nnnnn"}},
	}
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		s, _ := newServer(t, o)
		for _, tt := range tests {
			for visibility, want := range tt.sees {
				room, said := history(t, s, visibility, stages(tt.stages))
				if got := seen(t, s, room, "@bob:test", said); got != want {
					t.Errorf("%s, %s: bob sees %s, want %s", visibility, tt.stages, got, want)
				}
				if got := seen(t, s, room, "@alice:test", said); strings.Contains(got, "n") {
					t.Errorf("%s, %s: the creator sees %s", visibility, tt.stages, got)
				}
				want = strings.Repeat(map[bool]string{true: "y", false: "n"}[visibility == everything], len(said))
				if got := seen(t, s, room, "@carol:test", said); got != want {
					t.Errorf("%s, %s: a stranger sees %s, want %s", visibility, tt.stages, got, want)
				}
			}
		}
	})
}

func seen(t *testing.T, s *roomserver.Server, room id.RoomID, user id.UserID, ids []id.EventID) string {
	t.Helper()
	info, err := s.Info(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := s.Visible(t.Context(), info, user, eventList(t, s, info, ids))
	if err != nil {
		t.Fatal(err)
	}
	out := ""
	for _, ok := range seen {
		out += map[bool]string{true: "y", false: "n"}[ok]
	}
	return out
}

func eventList(t *testing.T, s *roomserver.Server, info *storage.RoomInfo, ids []id.EventID) (out []*storage.Event) {
	t.Helper()
	found, err := s.EventsByID(t.Context(), info, ids)
	if err != nil {
		t.Fatal(err)
	}
	for _, eventID := range ids {
		if found[eventID] == nil {
			t.Fatalf("event %s is missing", eventID)
		}
		out = append(out, found[eventID])
	}
	return out
}

// A change of the history visibility, and a user's own membership, are seen by
// whom the state before or after would let see them.
func TestVisibleTransitions(t *testing.T) {
	s, _ := newServer(t, storagetest.SQLite(t))
	room, _ := history(t, s, "joined", stages("say invite join leave"))
	info, err := s.Info(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	set := func(visibility string) id.EventID {
		sent, err := s.Send(t.Context(), roomserver.SendRequest{Room: room, Draft: roomserver.Draft{
			Type: "m.room.history_visibility", StateKey: new(string), Sender: "@alice:test",
			Content: json.RawMessage(fmt.Sprintf(`{"history_visibility":%q}`, visibility)),
		}})
		if err != nil {
			t.Fatal(err)
		}
		return sent.EventID
	}
	changes := []id.EventID{set("world_readable"), set("joined"), set("invited")}
	if got := seen(t, s, room, "@carol:test", changes); got != "yyn" {
		t.Errorf("of joined -> world_readable -> joined -> invited a stranger sees %s", got)
	}
	root, err := s.CurrentRoot(t.Context(), info)
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.StateEvents(t.Context(), info, root, []event.Key{{Type: "m.room.member", StateKey: "@bob:test"}})
	if err != nil {
		t.Fatal(err)
	}
	join := eventByNID(t, s, info, found[0].Replaces)
	invite := eventByNID(t, s, info, join.Replaces)
	own, err := s.Visible(t.Context(), info, "@bob:test", []*storage.Event{invite, join, found[0]})
	if err != nil || own[0] || !own[1] || !own[2] {
		t.Errorf("of their invite, join and leave bob sees %v, error %v", own, err)
	}
}

func eventByNID(t *testing.T, s *roomserver.Server, info *storage.RoomInfo, nid event.NID) *storage.Event {
	t.Helper()
	found, err := s.Events(t.Context(), info, []event.NID{nid})
	if err != nil {
		t.Fatal(err)
	}
	return found[0]
}

// Events that were not accepted, and those whose state is unknown, are seen by
// nobody.
func TestVisibleOddEvents(t *testing.T) {
	s, _ := newServer(t, storagetest.SQLite(t))
	room, said := history(t, s, "world_readable", stages("say"))
	info, err := s.Info(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	e := eventList(t, s, info, said)[0]
	for name, change := range map[string]func(*storage.Event){
		"rejected":          func(e *storage.Event) { e.Status = storage.Rejected },
		"soft-failed":       func(e *storage.Event) { e.Status = storage.SoftFailed },
		"an outlier":        func(e *storage.Event) { e.Status = storage.Outlier },
		"of no known state": func(e *storage.Event) { e.Before, e.After = storage.UnknownRoot, storage.UnknownRoot },
	} {
		odd := *e
		change(&odd)
		if ok, err := s.Visible(t.Context(), info, "@alice:test", []*storage.Event{&odd}); err != nil || ok[0] {
			t.Errorf("an event that is %s is visible, error %v", name, err)
		}
	}
	onlyAfter := *e
	onlyAfter.Before = storage.UnknownRoot
	if ok, err := s.Visible(t.Context(), info, "@carol:test", []*storage.Event{&onlyAfter}); err != nil || !ok[0] {
		t.Errorf("an event of which only the state after it is known is not judged by it, error %v", err)
	}
}

// A server that is in no way in a room gets only what everybody may read.
func TestVisibleToStrangeServer(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		s, _ := newServer(t, o)
		for visibility, want := range map[string]roomserver.Exposure{
			"world_readable": roomserver.Whole, "shared": roomserver.Withheld, "invited": roomserver.Withheld, "joined": roomserver.Withheld,
		} {
			room, said := history(t, s, visibility, stages("say"))
			info, err := s.Info(t.Context(), room)
			if err != nil {
				t.Fatal(err)
			}
			events := eventList(t, s, info, said)
			got, err := s.VisibleToServer(t.Context(), info, "elsewhere", events)
			if err != nil || got[0] != want {
				t.Errorf("%s: exposure %v, want %v, error %v", visibility, got, want, err)
			}
			if got, err = s.VisibleToServer(t.Context(), info, "test", events); err != nil || got[0] != roomserver.Whole {
				t.Errorf("%s: a server's own event is exposed to it as %v, error %v", visibility, got, err)
			}
			rejected := *events[0]
			rejected.Status = storage.Rejected
			if got, err = s.VisibleToServer(t.Context(), info, "test", []*storage.Event{&rejected}); err != nil || got[0] != roomserver.Withheld {
				t.Errorf("a rejected event is exposed as %v, error %v", got, err)
			}
		}
	})
}
