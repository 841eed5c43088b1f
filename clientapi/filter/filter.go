// Package filter chooses events as clients ask for them.
//
// Spec: client-server-api/#filtering
package filter

import (
	"encoding/json"
	"slices"
	"strings"

	"entente/internal/fault"
	"entente/roomserver/event"

	"maunium.net/go/mautrix/id"
)

// Room is a RoomEventFilter. A nil list is absent: it admits everything, where
// an empty one admits nothing. A nil *Room admits everything.
type Room struct {
	Limit       *int        `json:"limit"`
	Types       []string    `json:"types"`
	NotTypes    []string    `json:"not_types"`
	Senders     []id.UserID `json:"senders"`
	NotSenders  []id.UserID `json:"not_senders"`
	Rooms       []id.RoomID `json:"rooms"`
	NotRooms    []id.RoomID `json:"not_rooms"`
	ContainsURL *bool       `json:"contains_url"`
	// LazyLoadMembers asks for the memberships of senders only.
	// Spec: client-server-api/#lazy-loading-room-members
	LazyLoadMembers         bool `json:"lazy_load_members"`
	IncludeRedundantMembers bool `json:"include_redundant_members"`
	// UnreadThreadNotifications asks for counts by thread; sync only.
	UnreadThreadNotifications bool `json:"unread_thread_notifications"`
}

// ParseRoom reads a RoomEventFilter; empty text is no filter.
func ParseRoom(text string) (*Room, error) {
	if text == "" {
		return nil, nil
	}
	var f Room
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return nil, fault.Wrap(err, fault.BadJSON, "The filter is not a filter of room events")
	}
	return &f, nil
}

// Everything reports whether no event is left out.
func (f *Room) Everything() bool {
	return f == nil || f.Types == nil && len(f.NotTypes) == 0 && f.Senders == nil && len(f.NotSenders) == 0 &&
		f.Rooms == nil && len(f.NotRooms) == 0 && f.ContainsURL == nil
}

// Lazy reports whether members are loaded lazily.
func (f *Room) Lazy() bool { return f != nil && f.LazyLoadMembers }

// AdmitsRoom reports whether events of a room are wanted at all.
func (f *Room) AdmitsRoom(room id.RoomID) bool {
	return f == nil || (f.Rooms == nil || slices.Contains(f.Rooms, room)) && !slices.Contains(f.NotRooms, room)
}

// Admits reports whether an event is wanted, its room aside.
func (f *Room) Admits(e *event.PDU) bool {
	if f == nil {
		return true
	}
	return AdmitsType(f.Types, f.NotTypes, e.Type()) && f.admitsSender(e.Sender()) && f.admitsURL(e)
}

func (f *Room) admitsSender(sender id.UserID) bool {
	return (f.Senders == nil || slices.Contains(f.Senders, sender)) && !slices.Contains(f.NotSenders, sender)
}

func (f *Room) admitsURL(e *event.PDU) bool {
	if f.ContainsURL == nil {
		return true
	}
	return (event.Value(e.Content()).Get("url") != nil) == *f.ContainsURL
}

// AdmitsType reports whether an event type is in types, which may be nil for
// all, and not in notTypes. A * in them stands for any characters.
func AdmitsType(types, notTypes []string, typ string) bool {
	matches := func(pattern string) bool { return Match(pattern, typ) }
	return (types == nil || slices.ContainsFunc(types, matches)) && !slices.ContainsFunc(notTypes, matches)
}

// Match reports whether text has the form of pattern, in which a * stands for
// any characters.
func Match(pattern, text string) bool {
	head, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, head)
	if !ok {
		return false
	}
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, part)
		}
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text, rest = text[i+len(part):], after
	}
}
