package syncapi

import (
	"context"
	"encoding/json"
	"entente/accounts/pushmatch"
	"slices"

	"entente/accounts"
	"entente/clientapi/filter"
	"entente/internal/fault"
	"entente/roomserver/event"

	"maunium.net/go/mautrix/id"
)

// Filter is what a client wants of sync.
//
// Spec: client-server-api/#filtering
type Filter struct {
	Fields      []string    `json:"event_fields"`
	Format      string      `json:"event_format"`
	Presence    filter.Room `json:"presence"`
	AccountData filter.Room `json:"account_data"`
	Room        struct {
		Rooms        []id.RoomID `json:"rooms"`
		NotRooms     []id.RoomID `json:"not_rooms"`
		IncludeLeave bool        `json:"include_leave"`
		Ephemeral    filter.Room `json:"ephemeral"`
		State        filter.Room `json:"state"`
		Timeline     filter.Room `json:"timeline"`
		AccountData  filter.Room `json:"account_data"`
	} `json:"room"`

	limit int // of events in a timeline
	plain bool
}

const (
	defaultTimeline = 10
	maxTimeline     = 500
)

// filterName names a filter that was parsed: the text of one that came with the
// request, or the ID of one that a user keeps.
type filterName struct {
	user id.UserID
	text string
}

// filter finds what the request names: the ID of a filter, or a filter.
func (s *Server) filter(ctx context.Context, user id.UserID, text string) (*Filter, error) {
	name := filterName{text: text}
	if text != "" && text[0] != '{' {
		name.user = user
	}
	if f, ok := s.filters.Get(name); ok {
		return f, nil
	}
	body := []byte(text)
	if name.user != "" {
		var err error
		if body, err = s.opts.Accounts.Filter(ctx, user, text); err != nil {
			return nil, err
		}
	}
	f, err := parseFilter(body)
	if err != nil {
		return nil, err
	}
	s.filters.Put(name, f)
	return f, nil
}

// parseFilter reads a filter; empty text wants everything.
func parseFilter(body []byte) (*Filter, error) {
	f := &Filter{limit: defaultTimeline}
	if len(body) > 0 {
		if err := accounts.CheckFilter(body); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(body, f); err != nil {
			return nil, fault.Wrap(err, fault.BadJSON, "The filter does not have the form of a filter")
		}
	}
	if l := f.Room.Timeline.Limit; l != nil {
		f.limit = min(*l, maxTimeline)
	}
	f.plain = f.Fields == nil && f.Format != "federation"
	return f, nil
}

// admitsRoom reports whether anything of a room is wanted.
func (f *Filter) admitsRoom(room id.RoomID) bool {
	return (f.Room.Rooms == nil || slices.Contains(f.Room.Rooms, room)) && !slices.Contains(f.Room.NotRooms, room)
}

// lazy reports whether only the memberships of senders are wanted.
func (f *Filter) lazy() bool { return f.Room.State.LazyLoadMembers || f.Room.Timeline.LazyLoadMembers }

// admits reports whether an event without a room is wanted; sender may be
// empty.
func admits(f *filter.Room, typ string, sender id.UserID) bool {
	if !filter.AdmitsType(f.Types, f.NotTypes, typ) {
		return false
	}
	if sender == "" {
		return true
	}
	return (f.Senders == nil || slices.Contains(f.Senders, sender)) && !slices.Contains(f.NotSenders, sender)
}

// appendFields appends those members of an event that the filter's fields name.
//
// Spec: appendices/#dot-separated-property-paths
func appendFields(dst []byte, e []byte, fields []string) []byte {
	tree := fieldTree{}
	for _, f := range fields {
		tree.add(pushmatch.SplitPath(f))
	}
	// What clients need to make anything of an event is always there.
	for _, always := range []string{"event_id", "type", "sender", "origin_server_ts", "state_key"} {
		tree.add([]string{always})
	}
	if tree["content"] == nil {
		tree["content"] = fieldTree{"": {}}
	}
	return tree.append(dst, event.Value(e))
}

// fieldTree is a set of paths, as a tree; one without branches is everything
// below it.
type fieldTree map[string]fieldTree

func (t fieldTree) add(path []string) {
	if len(path) == 0 {
		clear(t)
		t["*"] = nil
		return
	}
	if _, all := t["*"]; all {
		return
	}
	sub := t[path[0]]
	if sub == nil {
		sub = fieldTree{}
		t[path[0]] = sub
	}
	sub.add(path[1:])
}

func (t fieldTree) append(dst []byte, v event.Value) []byte {
	if _, all := t["*"]; all {
		return append(dst, v...)
	}
	dst = append(dst, '{')
	begun := false
	for name, member := range v.Members() {
		sub, wanted := t[name]
		if _, all := sub["*"]; !wanted || !all && !member.IsObject() {
			continue
		}
		if begun {
			dst = append(dst, ',')
		}
		begun = true
		dst = appendString(dst, name)
		dst = append(dst, ':')
		dst = sub.append(dst, member)
	}
	return append(dst, '}')
}
