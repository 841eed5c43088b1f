package syncapi

import (
	"entente/clientapi/filter"
	"entente/clientapi/render"
	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/storage"
)

func errChanging() error {
	return fault.New(fault.Unavailable, "Your rooms are changing too fast; try again")
}

// joinedRoom adds what there is to tell of a room that the reader has joined.
func (c *composer) joinedRoom(v *view) error {
	info, err := c.server.rooms.InfoOf(c.ctx, v.Room)
	if err != nil {
		return err
	}
	if !c.filter.admitsRoom(info.ID) {
		return nil
	}
	arrived, err := c.arrived(v, info)
	if err != nil {
		return err
	}
	out, err := c.roomParts(v, info, arrived)
	if err != nil || out == nil {
		return err
	}
	c.tells = true
	c.join = append(append(append(begin(c.join, info.ID), '{'), out[1:]...), '}')
	return nil
}

// roomParts are the parts of a joined room, each after a comma; nil when there
// is nothing to tell.
func (c *composer) roomParts(v *view, info *storage.RoomInfo, arrived bool) ([]byte, error) {
	var out []byte
	full := arrived || c.req.FullState || c.since == nil
	if v.pos > c.from() || full || v.owed {
		var err error
		if out, err = c.appendRoom(out, v, info, arrived, full); err != nil {
			return nil, err
		}
	}
	out, err := c.appendEphemeral(out, v, info, arrived)
	if err != nil {
		return nil, err
	}
	if out, err = c.appendRoomData(out, v.Room, info, arrived); err != nil {
		return nil, err
	}
	return c.appendUnread(out, v, info, out != nil)
}

// arrived reports whether the reader was not in the room all the time since:
// then they get it as if for the first time.
func (c *composer) arrived(v *view, info *storage.RoomInfo) (bool, error) {
	from := c.from()
	if c.since == nil || v.Pos <= from {
		return c.since == nil, nil
	}
	for next := v.Event; next != 0; {
		found, err := c.server.rooms.Events(c.ctx, info, []event.NID{next})
		if err != nil {
			return false, err
		}
		e := found[0]
		if e.PDU.Membership() != "join" {
			return true, nil
		}
		if e.Pos != 0 && e.Pos <= from {
			return false, nil
		}
		next = e.Replaces
	}
	return true, nil
}

// appendRoom appends summary, state and timeline.
func (c *composer) appendRoom(dst []byte, v *view, info *storage.RoomInfo, arrived, full bool) ([]byte, error) {
	low := c.from()
	if arrived {
		low = 0
	}
	w, err := c.window(v, info, low, v.Pos <= c.from())
	if err != nil {
		return nil, err
	}
	b := &block{composer: c, view: v, info: info, window: w, low: low, full: full}
	if err := b.find(); err != nil {
		return nil, err
	}
	if len(w.entries) == 0 && !w.limited && len(b.events) == 0 && !full {
		return dst, nil
	}
	if full || b.members {
		if dst, err = c.appendSummary(dst, b); err != nil {
			return nil, err
		}
	}
	dst, err = c.appendState(dst, b)
	if err != nil {
		return nil, err
	}
	return c.appendTimeline(append(dst, ','), info, w)
}

// appendState appends state or state_after.
func (c *composer) appendState(dst []byte, b *block) ([]byte, error) {
	name := c.req.StateAfter
	if name == "" {
		name = "state"
		if len(b.events) == 0 && !b.full {
			return dst, nil
		}
	}
	dst = append(append(append(dst, `,"`...), name...), `":{"events":[`...)
	dst, err := c.appendPlainEvents(dst, b.info, b.events)
	return append(dst, `]}`...), err
}

// appendPlainEvents appends events of the state.
func (c *composer) appendPlainEvents(dst []byte, info *storage.RoomInfo, events []*storage.Event) ([]byte, error) {
	begun := len(dst)
	for _, e := range events {
		if len(dst) > begun {
			dst = append(dst, ',')
		}
		x := &render.Extra{Age: c.now - e.PDU.Timestamp()}
		if e.RedactedBy != 0 {
			because, err := c.server.rooms.Events(c.ctx, info, []event.NID{e.RedactedBy})
			if err != nil {
				return nil, err
			}
			x.Because = because[0]
		}
		dst = c.appendFiltered(dst, e, x)
	}
	return dst, nil
}

// appendAnyhow appends events of a timeline with all that unsigned can say, in
// the format that the filter asks for.
func (c *composer) appendAnyhow(dst []byte, info *storage.RoomInfo, events []*storage.Event) ([]byte, error) {
	if len(events) == 0 {
		return dst, nil
	}
	viewer, err := c.server.rooms.Viewer(c.ctx, info, c.req.User)
	if err != nil {
		return nil, err
	}
	to := &render.For{Viewer: viewer, Device: c.req.Device, OmitRoom: true}
	if err := c.server.renderer.Aggregate(c.ctx, info, to, events); err != nil {
		return nil, err
	}
	if c.filter.plain {
		list, err := c.server.renderer.AppendList(c.ctx, nil, info, to, events)
		if err != nil {
			return nil, err
		}
		return append(dst, list[1:len(list)-1]...), nil
	}
	for i, e := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		if c.filter.Format == "federation" {
			dst = append(dst, e.PDU.JSON()...)
			continue
		}
		one, err := c.server.renderer.AppendOne(c.ctx, nil, info, to, e)
		if err != nil {
			return nil, err
		}
		dst = appendFields(dst, one, c.filter.Fields)
	}
	return dst, nil
}

// appendFiltered appends an event in the format that the filter asks for.
func (c *composer) appendFiltered(dst []byte, e *storage.Event, x *render.Extra) []byte {
	switch {
	case c.filter.plain:
		return render.Append(dst, e, x, true)
	case c.filter.Format == "federation":
		return append(dst, e.PDU.JSON()...)
	}
	return appendFields(dst, render.Append(nil, e, x, true), c.filter.Fields)
}

// admitsState reports whether the client wants a piece of the state.
func (c *composer) admitsState(info *storage.RoomInfo, e *storage.Event) bool {
	f := &c.filter.Room.State
	return f.AdmitsRoom(info.ID) && f.Admits(e.PDU)
}

// admitsIn reports whether a filter admits something of a room that is no event
// of its timeline.
func admitsIn(f *filter.Room, info *storage.RoomInfo, typ string) bool {
	return f.AdmitsRoom(info.ID) && admits(f, typ, "")
}
