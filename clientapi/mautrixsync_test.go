package clientapi_test

import (
	"context"
	"errors"
	"testing"

	"maunium.net/go/mautrix"
	mxevent "maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// A client that we did not write syncs: it hears messages, receipts and typing
// as they come, and joins where it is invited.
func TestSyncWithMautrix(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		client, err := mautrix.NewClient(w.url, bob.user, bob.token)
		if err != nil {
			w.Fatal(err)
		}
		ctx, stop := context.WithCancel(w.Context())
		heard := make(chan string, 100)
		syncer := mautrix.NewDefaultSyncer()
		client.Syncer = syncer
		syncer.OnEventType(mxevent.StateMember, func(ctx context.Context, e *mxevent.Event) {
			if e.GetStateKey() == string(bob.user) && e.Content.AsMember().Membership == mxevent.MembershipInvite {
				if _, err := client.JoinRoomByID(ctx, e.RoomID); err != nil {
					w.Error(err)
				}
				heard <- "invited"
			}
		})
		syncer.OnEventType(mxevent.EventMessage, func(_ context.Context, e *mxevent.Event) { heard <- e.Content.AsMessage().Body })
		syncer.OnEventType(mxevent.EphemeralEventTyping, func(_ context.Context, e *mxevent.Event) {
			for _, user := range e.Content.AsTyping().UserIDs {
				heard <- "typing " + string(user)
			}
		})
		syncer.OnEventType(mxevent.EphemeralEventReceipt, func(_ context.Context, e *mxevent.Event) {
			for range *e.Content.AsReceipt() {
				heard <- "receipt"
			}
		})
		ended := make(chan error, 1)
		go func() { ended <- client.SyncWithContext(ctx) }()

		roomID := alice.create(object{"invite": []id.UserID{bob.user}})
		expect := func(want string) {
			w.Helper()
			for {
				select {
				case got := <-heard:
					if got == want {
						return
					}
				case err := <-ended:
					w.Fatalf("the client stopped before it heard %s: %v", want, err)
				}
			}
		}
		expect("invited")
		said := alice.say(roomID, "hello")
		expect("hello")
		alice.put(room(roomID)+"/typing/"+esc(alice.user), object{"typing": true}).ok()
		expect("typing " + string(alice.user))
		alice.post(room(roomID)+"/receipt/m.read/"+esc(said), object{}).ok()
		expect("receipt")
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			w.Errorf("the client stopped with %v", err)
		}
	})
}
