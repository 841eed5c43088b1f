package syncapi

import (
	"slices"
	"strconv"

	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// The event types that sync itself understands.
const (
	typeMember         = "m.room.member"
	typeName           = "m.room.name"
	typeCanonicalAlias = "m.room.canonical_alias"
	typeCreate         = "m.room.create"
	typePowerLevels    = "m.room.power_levels"
)

// summary is what names a room that has no name. Members share it.
type summary struct {
	pos             storage.Position // as of when
	joined, invited int64
	named           bool
	first           []id.UserID // one more than there are heroes: a reader is none of their own
}

// heroes is how many users name a room.
const heroesShown = 5

// findSummary reads the summary of the room as it is now.
func (b *block) findSummary() error {
	if kept := b.view.line.summary.Load(); kept != nil && kept.pos >= b.view.memberPos {
		b.summary = kept
		return nil
	}
	made := &summary{pos: b.until}
	var root storage.Head
	err := b.server.db.View(b.ctx, func(v *storage.View) error {
		head, err := v.Head(b.ctx, b.view.Room)
		if err != nil || head == nil {
			return err
		}
		root, made.joined, made.invited = *head, head.Joined, head.Invited
		for _, with := range [...]storage.Membership{storage.Join, storage.Invite, storage.Leave, storage.Ban} {
			if with == storage.Leave && len(made.first) > 1 {
				break
			}
			found, err := v.FirstMembers(b.ctx, b.view.Room, with, heroesShown+1-len(made.first))
			if err != nil {
				return err
			}
			for _, h := range found {
				made.first = append(made.first, h.User)
			}
			if len(made.first) > heroesShown {
				break
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	found, err := b.server.rooms.StateEvents(b.ctx, b.info, root.Root, []event.Key{{Type: typeName}, {Type: typeCanonicalAlias}})
	if err != nil {
		return err
	}
	made.named = says(found[0], "name") || says(found[1], "alias")
	b.summary = made
	b.view.line.summary.Store(made)
	return nil
}

// says reports whether an event has a text that is not empty.
func says(e *storage.Event, field string) bool {
	if e == nil {
		return false
	}
	text, _ := event.Value(e.PDU.Content()).Get(field).Str()
	return text != ""
}

// heroes are the users that name the room for the reader; none when it has a
// name.
func (b *block) heroes() []id.UserID {
	if b.summary == nil || b.summary.named {
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(b.summary.first), func(user id.UserID) bool { return user == b.req.User })
	return others[:min(len(others), heroesShown)]
}

// appendSummary appends the summary.
//
// Spec: client-server-api/#get_matrixclientv3sync
func (c *composer) appendSummary(dst []byte, b *block) ([]byte, error) {
	if b.summary == nil {
		if err := b.findSummary(); err != nil {
			return nil, err
		}
	}
	dst = append(dst, `,"summary":{`...)
	if !b.summary.named {
		dst = append(dst, `"m.heroes":[`...)
		for i, user := range b.heroes() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, string(user))
		}
		dst = append(dst, `],`...)
	}
	dst = append(dst, `"m.joined_member_count":`...)
	dst = strconv.AppendInt(dst, b.summary.joined, 10)
	dst = append(dst, `,"m.invited_member_count":`...)
	dst = strconv.AppendInt(dst, b.summary.invited, 10)
	return append(dst, '}'), nil
}
