package roomserver

import (
	"context"
	"fmt"

	"entente/internal/lru"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// eventCache keeps events in memory by number, and their numbers by ID. Events
// that are kept do not change, but for redactions, which remove them.
type eventCache struct {
	events *lru.Cache[event.NID, *storage.Event]
	ids    *lru.Cache[eventName, event.NID]
}

type eventName struct {
	room storage.RoomNID
	id   id.EventID
}

// eventOverhead is about what an event takes in the cache beside its PDU.
const eventOverhead = 400

func newEventCache(bytes int) *eventCache {
	return &eventCache{
		events: lru.New[event.NID](bytes, func(e *storage.Event) int { return e.PDU.Size() + eventOverhead }),
		ids:    lru.New[eventName](bytes/(4*eventOverhead), func(event.NID) int { return 1 }),
	}
}

// get finds an event of a room by number.
func (c *eventCache) get(room storage.RoomNID, nid event.NID) *storage.Event {
	if e, ok := c.events.Get(nid); ok && e.Room == room {
		return e
	}
	return nil
}

// put keeps an event that is, or is about to be, committed.
func (c *eventCache) put(e *storage.Event) { c.events.Put(e.NID, e) }

// name keeps the number of a committed event.
func (c *eventCache) name(e *storage.Event) { c.ids.Put(eventName{e.Room, e.PDU.ID()}, e.NID) }

// eventsOf finds events of a room by number, in the order asked. One that is
// missing is an error.
func (s *Server) eventsOf(ctx context.Context, info *storage.RoomInfo, nids []event.NID) ([]*storage.Event, error) {
	out := make([]*storage.Event, len(nids))
	var missing []event.NID
	for i, nid := range nids {
		if out[i] = s.events.get(info.NID, nid); out[i] == nil {
			missing = append(missing, nid)
		}
	}
	if missing == nil {
		return out, nil
	}
	found, err := s.db.Latest().Events(ctx, info, missing)
	if err != nil {
		return nil, err
	}
	read := make(map[event.NID]*storage.Event, len(found))
	for _, e := range found {
		read[e.NID] = e
		s.events.put(e)
		s.events.name(e)
	}
	for i, nid := range nids {
		if out[i] == nil {
			if out[i] = read[nid]; out[i] == nil {
				return nil, fmt.Errorf("event %d of room %s is missing", nid, info.ID)
			}
		}
	}
	return out, nil
}

// eventOf is eventsOf for one event.
func (s *Server) eventOf(ctx context.Context, info *storage.RoomInfo, nid event.NID) (*storage.Event, error) {
	if e := s.events.get(info.NID, nid); e != nil {
		return e, nil
	}
	found, err := s.eventsOf(ctx, info, []event.NID{nid})
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// eventsByID finds those events of a room that this server has, by ID.
func (s *Server) eventsByID(ctx context.Context, info *storage.RoomInfo, ids []id.EventID) (map[id.EventID]*storage.Event, error) {
	out := make(map[id.EventID]*storage.Event, len(ids))
	var missing []id.EventID
	for _, eventID := range ids {
		if nid, ok := s.events.ids.Get(eventName{info.NID, eventID}); ok {
			if e := s.events.get(info.NID, nid); e != nil {
				out[eventID] = e
				continue
			}
		}
		missing = append(missing, eventID)
	}
	if missing == nil {
		return out, nil
	}
	found, err := s.db.Latest().EventsByID(ctx, info, missing)
	for _, e := range found {
		out[e.PDU.ID()] = e
		s.events.put(e)
		s.events.name(e)
	}
	return out, err
}
