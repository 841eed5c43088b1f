package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// The main job: people of two agencies in one room.
func TestTwoAgenciesShareARoom(t *testing.T) {
	onBothDatabases(t, func(t *testing.T, north, south *agency) {
		alice, bob := newPerson(t, north, "alice"), newPerson(t, south, "bob")
		room := alice.createRoom("Harbour", bob.UserID)

		// What was said before Bob joined he can read: history is shared.
		var said []id.EventID
		for i := range 30 {
			said = append(said, alice.say(room, fmt.Sprintf("before %d", i)))
		}
		bob.accept(room)
		alice.awaitMember(room, bob.UserID, event.MembershipJoin)

		// Both ways, in turn.
		for i := range 10 {
			a := alice.say(room, fmt.Sprintf("from the north %d", i))
			bob.awaitMessages("Alice's message", []id.EventID{a})
			b := bob.say(room, fmt.Sprintf("from the south %d", i))
			alice.awaitMessages("Bob's message", []id.EventID{b})
			said = append(said, a, b)
		}

		t.Run("typing", func(t *testing.T) { typing(t, alice, bob, room) })
		t.Run("receipts", func(t *testing.T) { receipts(t, alice, bob, room, said[len(said)-1]) })
		t.Run("history", func(t *testing.T) {
			for _, p := range []*person{alice, bob} {
				checkHistory(t, p, room, said)
			}
		})
		t.Run("leaving", func(t *testing.T) { leaving(t, alice, bob, room) })
	})
}

func typing(t *testing.T, alice, bob *person, room id.RoomID) {
	if _, err := alice.UserTyping(t.Context(), room, true, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	bob.awaitTyping(room, alice.UserID, true)
	if _, err := alice.UserTyping(t.Context(), room, false, 0); err != nil {
		t.Fatal(err)
	}
	bob.awaitTyping(room, alice.UserID, false)
}

func receipts(t *testing.T, alice, bob *person, room id.RoomID, last id.EventID) {
	for _, p := range []*person{alice, bob} {
		if err := p.MarkRead(t.Context(), room, last); err != nil {
			t.Fatal(err)
		}
	}
	alice.awaitReceipt(room, bob.UserID, last)
	bob.awaitReceipt(room, alice.UserID, last)
}

// checkHistory pages back through the room and wants every message once, in
// order, and the creation of the room at the end.
func checkHistory(t *testing.T, p *person, room id.RoomID, said []id.EventID) {
	t.Helper()
	events := p.history(room, 7)
	if len(events) == 0 || events[len(events)-1].Type != event.StateCreate {
		t.Fatalf("%s does not see the creation of the room at the end of %d events", p.UserID, len(events))
	}
	var messages []id.EventID
	once := make(map[id.EventID]bool)
	for _, e := range slices.Backward(events) {
		if once[e.ID] {
			t.Errorf("%s sees %s twice", p.UserID, e.ID)
		}
		once[e.ID] = true
		if e.Type == event.EventMessage {
			messages = append(messages, e.ID)
		}
	}
	if !slices.Equal(messages, said) {
		t.Errorf("%s pages back through\n%v, but what was said is\n%v", p.UserID, messages, said)
	}
}

func leaving(t *testing.T, alice, bob *person, room id.RoomID) {
	if _, err := bob.LeaveRoom(t.Context(), room); err != nil {
		t.Fatal(err)
	}
	alice.awaitMember(room, bob.UserID, event.MembershipLeave)
	if _, err := bob.SendText(t.Context(), room, "after leaving"); err == nil {
		t.Error("Bob spoke in a room that he left")
	}
}

// shareRoom makes a room of two people who do not sync.
func shareRoom(t *testing.T, host, guest *person) id.RoomID {
	t.Helper()
	room := host.createRoom("Harbour", guest.UserID)
	eventually(t, "the guest can join", func(ctx context.Context) error {
		_, err := guest.JoinRoomByID(ctx, room)
		return err
	})
	eventually(t, "the host sees the guest", func(ctx context.Context) error {
		members, err := host.JoinedMembers(ctx, room)
		if err == nil && len(members.Joined) != 2 {
			err = fmt.Errorf("%d members", len(members.Joined))
		}
		return err
	})
	return room
}

// A peer that was away gets everything that it missed, in order, when it
// returns, although its peer was restarted meanwhile.
func TestAgencyCatchesUp(t *testing.T) {
	onBothDatabases(t, func(t *testing.T, north, south *agency) {
		// Neither syncs: their servers will be gone for a while.
		alice, bob := login(t, north, north.Client, "alice"), login(t, south, south.Client, "bob")
		room := shareRoom(t, alice, bob)

		south.stop()
		var said []id.EventID
		for i := range 70 { // more than fits in one transaction
			said = append(said, alice.say(room, fmt.Sprintf("while South is away %d", i)))
		}
		north.kill()
		north.start()
		south.start()

		eventually(t, "Bob has everything", func(ctx context.Context) error {
			_, err := bob.GetEvent(ctx, room, said[len(said)-1])
			return err
		})
		checkHistory(t, bob, room, said)
	})
}

// Who was removed while away learns that, and nothing that came after.
func TestRemovedWhileAway(t *testing.T) {
	onBothDatabases(t, func(t *testing.T, north, south *agency) {
		// Neither syncs: their servers will be gone for a while.
		alice, bob := login(t, north, north.Client, "alice"), login(t, south, south.Client, "bob")
		room := shareRoom(t, alice, bob)

		south.stop()
		before := alice.say(room, "one more for Bob")
		if _, err := alice.KickUser(t.Context(), room, &mautrix.ReqKickUser{UserID: bob.UserID, Reason: "closing"}); err != nil {
			t.Fatal(err)
		}
		after := alice.say(room, "not for Bob")
		south.start()

		sync := func(ctx context.Context) (*mautrix.SyncLeftRoom, error) {
			res, err := bob.FullSyncRequest(ctx, mautrix.ReqSync{FilterID: `{"room":{"include_leave":true}}`})
			if err != nil {
				return nil, err
			}
			if left := res.Rooms.Leave[room]; left != nil {
				return left, nil
			}
			return nil, errors.New("the room is not among those left")
		}
		var left *mautrix.SyncLeftRoom
		eventually(t, "Bob sees that he was removed", func(ctx context.Context) (err error) {
			left, err = sync(ctx)
			return err
		})
		var ids []id.EventID
		for _, e := range left.Timeline.Events {
			ids = append(ids, e.ID)
		}
		if !slices.Contains(ids, before) {
			t.Errorf("Bob missed what was said before he was removed: %v", ids)
		}
		if slices.Contains(ids, after) {
			t.Errorf("Bob was shown what was said after he was removed: %v", ids)
		}
		if _, err := bob.GetEvent(t.Context(), room, after); err == nil {
			t.Error("Bob can read what was said after he was removed")
		}
	})
}
