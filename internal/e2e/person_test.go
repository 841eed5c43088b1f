package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

const password = "correct horse battery staple"

// person is someone with an account at an agency and a mautrix client, which
// syncs all the time.
type person struct {
	*mautrix.Client
	t *testing.T

	mu   sync.Mutex
	seen []*event.Event // by sync, in order; guarded by mu
	news chan struct{}  // closed when something is seen; guarded by mu
}

// newPerson registers, logs in with the password, as a client does that knows
// only that, and starts to sync.
func newPerson(t *testing.T, at *agency, name string) *person {
	t.Helper()
	p := login(t, at, at.Judged, name)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if err := p.SyncWithContext(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("%s syncs: %v", p.UserID, err)
				return
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return p
}

// login registers a user and logs in at a base URL of the agency.
func login(t *testing.T, at *agency, base, name string) *person {
	t.Helper()
	client, err := mautrix.NewClient(base, "", "")
	if err != nil {
		t.Fatal(err)
	}
	client.Client = &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	t.Cleanup(client.Client.CloseIdleConnections)
	p := &person{Client: client, t: t, news: make(chan struct{})}
	if _, err := client.RegisterDummy(t.Context(), &mautrix.ReqRegister[any]{Username: name, Password: password, InhibitLogin: true}); err != nil {
		t.Fatalf("register %s at %s: %v", name, at.Name, err)
	}
	_, err = client.Login(t.Context(), &mautrix.ReqLogin{
		Type:             mautrix.AuthTypePassword,
		Identifier:       mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: name},
		Password:         password,
		StoreCredentials: true,
	})
	if err != nil {
		t.Fatalf("log in as %s at %s: %v", name, at.Name, err)
	}
	if want := id.NewUserID(name, at.Name); client.UserID != want {
		t.Fatalf("logged in as %s, not %s", client.UserID, want)
	}
	client.Syncer.(*mautrix.DefaultSyncer).OnEvent(func(_ context.Context, e *event.Event) { p.see(e) })
	return p
}

func (p *person) see(e *event.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, e)
	close(p.news)
	p.news = make(chan struct{})
}

// await waits until something was seen that matches.
func (p *person) await(what string, matches func(*event.Event) bool) *event.Event {
	p.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		p.mu.Lock()
		found, news := slices.IndexFunc(p.seen, matches), p.news
		var e *event.Event
		if found >= 0 {
			e = p.seen[found]
		}
		p.mu.Unlock()
		if e != nil {
			return e
		}
		select {
		case <-news:
		case <-late.C:
			p.t.Fatalf("%s never saw %s", p.UserID, what)
		}
	}
}

// awaitMessages waits until all the events were seen in the room's timeline.
func (p *person) awaitMessages(what string, events []id.EventID) {
	p.t.Helper()
	for _, want := range events {
		p.await(fmt.Sprintf("%s (%s)", what, want), func(e *event.Event) bool { return e.ID == want })
	}
}

// say sends a text and returns its event.
func (p *person) say(room id.RoomID, text string) id.EventID {
	p.t.Helper()
	sent, err := p.SendText(p.t.Context(), room, text)
	if err != nil {
		p.t.Fatalf("%s says %q: %v", p.UserID, text, err)
	}
	return sent.EventID
}

// createRoom creates a private room and invites others.
func (p *person) createRoom(name string, invited ...id.UserID) id.RoomID {
	p.t.Helper()
	room, err := p.CreateRoom(p.t.Context(), &mautrix.ReqCreateRoom{Name: name, Preset: "private_chat", Invite: invited})
	if err != nil {
		p.t.Fatalf("%s creates a room: %v", p.UserID, err)
	}
	return room.RoomID
}

// accept waits for the invitation to a room and joins.
func (p *person) accept(room id.RoomID) {
	p.t.Helper()
	p.awaitMember(room, p.UserID, event.MembershipInvite)
	if _, err := p.JoinRoomByID(p.t.Context(), room); err != nil {
		p.t.Fatalf("%s joins: %v", p.UserID, err)
	}
}

func (p *person) awaitMember(room id.RoomID, user id.UserID, membership event.Membership) {
	p.t.Helper()
	p.await(fmt.Sprintf("%s of %s", membership, user), func(e *event.Event) bool {
		return e.RoomID == room && e.Type == event.StateMember && e.GetStateKey() == user.String() &&
			e.Content.AsMember().Membership == membership
	})
}

// awaitTyping waits until the room's list of who types is, or is not, empty
// of the user.
func (p *person) awaitTyping(room id.RoomID, user id.UserID, typing bool) {
	p.t.Helper()
	p.await(fmt.Sprintf("that %s types: %v", user, typing), func(e *event.Event) bool {
		return e.RoomID == room && e.Type == event.EphemeralEventTyping &&
			slices.Contains(e.Content.AsTyping().UserIDs, user) == typing
	})
}

func (p *person) awaitReceipt(room id.RoomID, user id.UserID, read id.EventID) {
	p.t.Helper()
	p.await(fmt.Sprintf("the receipt of %s", user), func(e *event.Event) bool {
		if e.RoomID != room || e.Type != event.EphemeralEventReceipt {
			return false
		}
		_, ok := (*e.Content.AsReceipt())[read][event.ReceiptTypeRead][user]
		return ok
	})
}

// history pages back from now to the beginning, some events at a time, and
// returns what it saw, newest first.
func (p *person) history(room id.RoomID, page int) []*event.Event {
	p.t.Helper()
	var all []*event.Event
	for from := ""; ; {
		res, err := p.Messages(p.t.Context(), room, from, "", mautrix.DirectionBackward, nil, page)
		if err != nil {
			p.t.Fatalf("%s pages back from %q: %v", p.UserID, from, err)
		}
		all = append(all, res.Chunk...)
		if res.End == "" {
			return all
		}
		if res.End == from {
			p.t.Fatalf("%s pages back and stays at %q", p.UserID, from)
		}
		from = res.End
	}
}

// saying is say, for those who wait for it.
func (p *person) saying(room id.RoomID, text string) []id.EventID {
	p.t.Helper()
	return []id.EventID{p.say(room, text)}
}
