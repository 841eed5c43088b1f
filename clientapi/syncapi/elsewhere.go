package syncapi

import (
	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/storage"
)

// otherRoom adds a room that the reader is invited to, knocks on or has left.
func (c *composer) otherRoom(m *membership) error {
	info, err := c.server.rooms.InfoOf(c.ctx, m.Room)
	if err != nil || !c.filter.admitsRoom(info.ID) {
		return err
	}
	switch m.Membership {
	case storage.Invite:
		if c.ignored[m.Sender] { // Spec: client-server-api/#ignoring-users
			return nil
		}
		c.invite, err = c.appendStripped(c.invite, m, info, "invite_state")
	case storage.Knock:
		c.knock, err = c.appendStripped(c.knock, m, info, "knock_state")
	default:
		return c.leftRoom(m, info)
	}
	c.tells = true
	return err
}

// strippedTypes are what a user may know of a room before they join it.
//
// Spec: client-server-api/#stripped-state
var strippedTypes = [...]string{
	typeCreate, typeName, "m.room.avatar", "m.room.topic", "m.room.join_rules", typeCanonicalAlias, "m.room.encryption",
}

// appendStripped appends a room as stripped state: what came with the invite,
// or of a room that this server is in, the state of now.
func (c *composer) appendStripped(part []byte, m *membership, info *storage.RoomInfo, name string) ([]byte, error) {
	part = append(append(begin(part, info.ID), `{"`...), name...)
	part = append(part, `":{"events":`...)
	if m.Stripped != nil {
		return append(append(part, m.Stripped...), `}}`...), nil
	}
	root, err := c.server.rooms.CurrentRoot(c.ctx, info)
	if fault.Is(err, fault.NotFound) { // nobody told us anything of it
		return append(part, `[]}}`...), nil
	}
	if err != nil {
		return nil, err
	}
	keys := []event.Key{memberKey(m.User), memberKey(m.Sender)}
	for _, typ := range strippedTypes {
		keys = append(keys, event.Key{Type: typ})
	}
	if m.Sender == m.User {
		keys = keys[1:]
	}
	found, err := c.server.rooms.StateEvents(c.ctx, info, root, keys)
	if err != nil {
		return nil, err
	}
	part = append(part, '[')
	begun := len(part)
	for _, e := range found {
		if e == nil {
			continue
		}
		if len(part) > begun {
			part = append(part, ',')
		}
		part = e.PDU.AppendStripped(part)
	}
	return append(part, `]}}`...), nil
}

// leftRoom adds a room that the reader has left, or been removed from: what
// they saw of it up to then.
func (c *composer) leftRoom(m *membership, info *storage.RoomInfo) error {
	if c.since == nil { // forgetting takes no position, so that the index may not know
		now, err := c.server.db.Latest().Member(c.ctx, m.Room, m.User)
		if err != nil || now == nil || now.Forgotten {
			return err
		}
	}
	out, err := c.leftParts(m, info)
	if err != nil {
		return err
	}
	if out, err = c.appendRoomData(out, m.Room, info, false); err != nil {
		return err
	}
	c.tells = true
	c.leave = append(append(append(begin(c.leave, info.ID), '{'), out[1:]...), '}')
	return nil
}

func (c *composer) leftParts(m *membership, info *storage.RoomInfo) ([]byte, error) {
	was, err := c.wasMember(m, info)
	if err != nil {
		return nil, err
	}
	// The answer is put together as if the room had stood still since.
	at := *c
	at.until = m.Pos
	at.owed = nil
	v := &view{membership: m, line: &line{nid: m.Room}, pos: m.Pos, from: m.Pos}
	if !was {
		return at.outsiderParts(m, info)
	}
	b := &block{composer: &at, view: v, info: info, low: c.from(), full: c.since == nil}
	if b.window, err = at.window(v, info, b.low, false); err != nil {
		return nil, err
	}
	if err := b.find(); err != nil {
		return nil, err
	}
	out, err := at.appendState(nil, b)
	if err != nil {
		return nil, err
	}
	return at.appendTimeline(append(out, ','), info, b.window)
}

// outsiderParts are the parts of a room that the reader was not in at since
// either: they see their own membership, if this server has it.
func (c *composer) outsiderParts(m *membership, info *storage.RoomInfo) ([]byte, error) {
	w := &window{}
	if m.Event != noEvent {
		found, err := c.server.rooms.Events(c.ctx, info, []event.NID{m.Event})
		if err != nil {
			return nil, err
		}
		w.entries = []*entry{newEntry(found[0])}
	}
	out, err := c.appendState(nil, &block{composer: c, info: info, full: c.req.StateAfter != ""})
	if err != nil {
		return nil, err
	}
	return c.appendTimeline(append(out, ','), info, w)
}

// wasMember reports whether a reader who has left a room was a member at any
// time since.
func (c *composer) wasMember(m *membership, info *storage.RoomInfo) (bool, error) {
	if m.Event == noEvent {
		return false, nil
	}
	v, err := c.server.rooms.Viewer(c.ctx, info, m.User)
	if err != nil {
		return false, err
	}
	return v.Left != nil && v.LeftAt > c.from(), nil
}
