package roomserver_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"entente/roomserver"
	"entente/roomserver/event"
	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

func newServer(t testing.TB, o storage.Options) (*roomserver.Server, *storage.DB) {
	t.Helper()
	db := storagetest.Open(t, o)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return roomserver.New(roomserver.Options{
		DB: db, ServerName: "test", Log: storagetest.Logger(t),
		Sign: func() event.Signer { return event.Signer{Server: "test", KeyID: "ed25519:1", Key: key} },
	}), db
}

// Every room version can be created with all that a request can ask for, and
// joined, spoken in and left.
func TestRoomLife(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		s, db := newServer(t, o)
		for _, version := range event.SupportedVersions() {
			room, err := s.Create(t.Context(), roomserver.CreateRequest{
				Creator: "@alice:test", Version: version, Preset: "public_chat", Name: "Name", Topic: "Topic", AliasName: "a" + string(version),
				Visibility: "public", Invite: []id.UserID{"@carol:test"},
				InitialState: []roomserver.StateDraft{{Type: "m.room.encryption", Content: json.RawMessage(`{"algorithm":"m.megolm.v1.aes-sha2"}`)}},
			})
			if err != nil {
				t.Fatalf("version %s: %v", version, err)
			}
			if err := s.Join(t.Context(), roomserver.MemberRequest{Room: room, Sender: "@bob:test", Target: "@bob:test"}); err != nil {
				t.Fatalf("version %s: join: %v", version, err)
			}
			sent, err := s.Send(t.Context(), message(room, "@bob:test", "hello"))
			if err != nil {
				t.Fatalf("version %s: send: %v", version, err)
			}
			if _, err := s.Send(t.Context(), roomserver.SendRequest{Room: room, Draft: roomserver.Draft{
				Type: "m.room.redaction", Sender: "@bob:test", Redacts: sent.EventID, Content: json.RawMessage(`{}`),
			}}); err != nil {
				t.Fatalf("version %s: redact: %v", version, err)
			}
			if err := s.Ban(t.Context(), roomserver.MemberRequest{Room: room, Sender: "@alice:test", Target: "@bob:test"}); err != nil {
				t.Fatalf("version %s: ban: %v", version, err)
			}
			if _, err := s.Send(t.Context(), message(room, "@bob:test", "again")); err == nil {
				t.Fatalf("version %s: a banned user sent a message", version)
			}
			info, err := s.Info(t.Context(), room)
			if err != nil {
				t.Fatal(err)
			}
			h, err := db.Latest().Head(t.Context(), info.NID)
			if err != nil || h.Joined != 1 || h.Invited != 1 {
				t.Fatalf("version %s: head %+v, error %v", version, h, err)
			}
		}
	})
}

func message(room id.RoomID, sender id.UserID, body string) roomserver.SendRequest {
	return roomserver.SendRequest{Room: room, Draft: roomserver.Draft{
		Type: "m.room.message", Sender: sender, Content: json.RawMessage(fmt.Sprintf(`{"msgtype":"m.text","body":%q}`, body)),
	}}
}

// Many clients that send into one room at once all succeed, in one chain: the
// room ends with a single forward extremity.
func TestConcurrentSends(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		s, db := newServer(t, o)
		room, err := s.Create(t.Context(), roomserver.CreateRequest{Creator: "@alice:test"})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				for j := range 10 {
					if _, err := s.Send(t.Context(), message(room, "@alice:test", fmt.Sprint(i, j))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		info, err := s.Info(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		h, err := db.Latest().Head(t.Context(), info.NID)
		if err != nil || len(h.Latest) != 1 {
			t.Fatalf("head %+v, error %v", h, err)
		}
		events, err := db.Latest().Events(t.Context(), info, h.Latest)
		if err != nil || events[0].PDU.Depth() != 166 {
			t.Errorf("the last event is %+v, error %v", events, err)
		}
	})
}
