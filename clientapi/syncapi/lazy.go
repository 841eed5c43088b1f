package syncapi

import (
	"slices"
	"sync"

	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// audience is a device that loads the members of a room lazily.
type audience struct {
	user   id.UserID
	device id.DeviceID
	room   storage.RoomNID
}

// sentMembers remembers whose memberships a device has, so that they are not
// sent again and again. Those that change are sent as changes.
//
// Spec: client-server-api/#lazy-loading-room-members
type sentMembers struct {
	mu sync.Mutex
	// by says of each member since which answer the device has them: an answer
	// that got lost is asked for again, from before it. Guarded by mu.
	by map[id.UserID]storage.Position
}

// cost is what it takes in the cache; members that came later are not counted.
func (m *sentMembers) cost() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return 1 + len(m.by)
}

// maxSentMembers bounds what is remembered of one room.
const maxSentMembers = 2000

// addSenders adds the memberships of those who sent what is in the timeline,
// and of the heroes of a new summary, unless the device has them.
func (b *block) addSenders() error {
	name := audience{b.req.User, b.req.Device, b.view.Room}
	sent, ok := b.server.sent.Get(name)
	if !ok || b.full {
		sent = &sentMembers{by: map[id.UserID]storage.Position{}}
	}
	if !b.full {
		missing := b.missingMembers(sent)
		if err := b.addMembers(missing); err != nil {
			return err
		}
	}
	sent.note(b)
	b.server.sent.Put(name, sent)
	return nil
}

// missingMembers are those whose memberships the device lacks.
func (b *block) missingMembers(sent *sentMembers) []id.UserID {
	users := b.senders()
	if b.members {
		users = append(users, b.heroes()...)
	}
	redundant := b.filter.Room.State.IncludeRedundantMembers || b.filter.Room.Timeline.IncludeRedundantMembers
	sent.mu.Lock()
	defer sent.mu.Unlock()
	return slices.DeleteFunc(users, func(user id.UserID) bool {
		at, ok := sent.by[user]
		return ok && at <= b.from() && !redundant
	})
}

func (b *block) addMembers(users []id.UserID) error {
	if len(users) == 0 {
		return nil
	}
	at := b.start()
	if b.req.StateAfter != "" {
		at = b.until
	}
	root, err := b.root(at)
	if err != nil || root == 0 {
		return err
	}
	found, err := b.memberEvents(root, users)
	if err != nil {
		return err
	}
	for _, e := range found {
		if e == nil || slices.ContainsFunc(b.events, func(x *storage.Event) bool { return keyOf(x) == keyOf(e) }) {
			continue
		}
		b.events = append(b.events, e)
	}
	return nil
}

// note remembers the memberships that an answer holds.
func (m *sentMembers) note(b *block) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.by) > maxSentMembers {
		clear(m.by)
	}
	have := func(e *storage.Event) {
		if e.PDU.Type() != typeMember {
			return
		}
		key, _ := e.PDU.StateKey()
		if _, ok := m.by[id.UserID(key)]; !ok {
			m.by[id.UserID(key)] = b.until
		}
	}
	for _, e := range b.events {
		have(e)
	}
	for _, e := range b.window.entries {
		have(e.Event)
	}
}
