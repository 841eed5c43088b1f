package inbound

import (
	"context"
	"encoding/json"

	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// maxReceipts bounds the receipts of one transaction.
const maxReceipts = 2000

// Receipt is what a peer's user has read.
type Receipt struct {
	Room    *storage.RoomInfo
	User    id.UserID
	EventID id.EventID
	// Timestamp is in milliseconds since 1970, and not in the future.
	Timestamp int64
	// Thread is the thread's root or "main"; empty for an unthreaded receipt.
	Thread string
}

// Presence is what a peer's user is doing.
type Presence struct {
	User id.UserID `json:"user_id"`
	// Presence is online, unavailable or offline.
	Presence        string `json:"presence"`
	StatusMsg       string `json:"status_msg"`
	LastActiveAgo   int64  `json:"last_active_ago"`
	CurrentlyActive bool   `json:"currently_active"`
}

// edu is an ephemeral data unit. Spec: server-server-api/#edus
type edu struct {
	Type    string          `json:"edu_type"`
	Content json.RawMessage `json:"content"`
}

// receiveEDUs takes the ephemeral data of a transaction. What is unknown,
// malformed or not the peer's to send is ignored; an error is a failure of
// ours.
//
// Spec: server-server-api/#edus
func (s *Server) receiveEDUs(ctx context.Context, origin string, raws []json.RawMessage) error {
	in := ephemeral{Server: s, ctx: ctx, origin: origin, members: map[member]bool{}}
	for _, raw := range raws {
		var e edu
		if err := json.Unmarshal(raw, &e); err != nil {
			s.metrics.edus.WithLabelValues("ignored").Inc()
			continue
		}
		take := in.taker(e.Type)
		if take == nil {
			s.metrics.edus.WithLabelValues("ignored").Inc()
			continue
		}
		if s.o.Policy.EDU(origin, e.Type) != nil {
			s.metrics.edus.WithLabelValues("refused").Inc()
			continue
		}
		taken, err := take(e.Content)
		if err != nil {
			return err
		}
		s.metrics.edus.WithLabelValues(outcome(taken)).Inc()
	}
	if len(in.receipts) == 0 {
		return nil
	}
	return s.o.EDUs.Receipts(ctx, in.receipts)
}

func outcome(taken bool) string {
	if taken {
		return "taken"
	}
	return "ignored"
}

// ephemeral is the ephemeral data of one transaction.
type ephemeral struct {
	*Server
	ctx      context.Context
	origin   string
	members  map[member]bool // what was looked up
	receipts []Receipt
}

type member struct {
	room storage.RoomNID
	user id.UserID
}

// taker takes data of a type; nil takes none.
func (in *ephemeral) taker(kind string) func(json.RawMessage) (taken bool, err error) {
	switch {
	case kind == "m.typing" && in.o.EDUs.Typing != nil:
		return in.typing
	case kind == "m.receipt" && in.o.EDUs.Receipts != nil:
		return in.receipt
	case kind == "m.presence" && in.o.EDUs.Presence != nil:
		return in.presence
	}
	return nil
}

// typing: the user must be the peer's and in the room.
//
// Spec: server-server-api/#typing-notifications
func (in *ephemeral) typing(content json.RawMessage) (bool, error) {
	var t struct {
		Room   id.RoomID `json:"room_id"`
		User   id.UserID `json:"user_id"`
		Typing bool      `json:"typing"`
	}
	if json.Unmarshal(content, &t) != nil {
		return false, nil
	}
	info, err := in.room(t.Room)
	if err != nil || info == nil {
		return false, err
	}
	joined, err := in.joined(info, t.User)
	if err != nil || !joined {
		return false, err
	}
	return true, in.o.EDUs.Typing(in.ctx, info, t.User, t.Typing)
}

// receipt gathers receipts, which are stored together.
//
// Spec: server-server-api/#receipts
func (in *ephemeral) receipt(content json.RawMessage) (bool, error) {
	var rooms map[id.RoomID]struct {
		Read map[id.UserID]json.RawMessage `json:"m.read"`
	}
	if json.Unmarshal(content, &rooms) != nil {
		return false, nil
	}
	taken := false
	for roomID, r := range rooms {
		info, err := in.room(roomID)
		if err != nil {
			return false, err
		}
		if info == nil {
			continue
		}
		for user, raw := range r.Read {
			if len(in.receipts) == maxReceipts {
				return taken, nil
			}
			receipt, ok := in.readReceipt(raw)
			if !ok {
				continue
			}
			joined, err := in.joined(info, user)
			if err != nil {
				return false, err
			}
			if joined {
				receipt.Room, receipt.User = info, user
				in.receipts, taken = append(in.receipts, receipt), true
			}
		}
	}
	return taken, nil
}

func (in *ephemeral) readReceipt(raw json.RawMessage) (Receipt, bool) {
	var r struct {
		EventIDs []id.EventID `json:"event_ids"`
		Data     struct {
			Timestamp int64  `json:"ts"`
			Thread    string `json:"thread_id"`
		} `json:"data"`
	}
	if json.Unmarshal(raw, &r) != nil || len(r.EventIDs) == 0 || !event.ValidEventID(r.EventIDs[0]) {
		return Receipt{}, false
	}
	if thread := r.Data.Thread; thread != "" && thread != "main" && !event.ValidEventID(id.EventID(thread)) {
		return Receipt{}, false
	}
	at := max(0, min(r.Data.Timestamp, in.o.Now().UnixMilli()))
	return Receipt{EventID: r.EventIDs[0], Timestamp: at, Thread: r.Data.Thread}, true
}

// presence: the users must be the peer's.
//
// Spec: server-server-api/#presence
func (in *ephemeral) presence(content json.RawMessage) (bool, error) {
	var p struct {
		Push []Presence `json:"push"`
	}
	if json.Unmarshal(content, &p) != nil {
		return false, nil
	}
	var updates []Presence
	for _, u := range p.Push {
		switch u.Presence {
		case "online", "unavailable", "offline":
			if isUserOf(u.User, in.origin) && u.LastActiveAgo >= 0 {
				updates = append(updates, u)
			}
		}
	}
	if len(updates) == 0 {
		return false, nil
	}
	return true, in.o.EDUs.Presence(in.ctx, updates)
}

// room finds a room that the peer may speak in; nil when there is none.
//
// Spec: server-server-api/#server-access-control-lists-acls
func (in *ephemeral) room(room id.RoomID) (*storage.RoomInfo, error) {
	info, err := in.rooms.Info(in.ctx, room)
	if err == nil {
		err = in.admit(in.ctx, info, in.origin)
	}
	switch {
	case fault.Is(err, fault.NotFound), fault.Is(err, fault.Forbidden):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return info, nil
}

// joined reports whether a user is the peer's and has joined a room.
func (in *ephemeral) joined(info *storage.RoomInfo, user id.UserID) (bool, error) {
	if !isUserOf(user, in.origin) {
		return false, nil
	}
	key := member{info.NID, user}
	if joined, known := in.members[key]; known {
		return joined, nil
	}
	m, err := in.o.DB.Latest().Member(in.ctx, info.NID, user)
	joined := m != nil && m.Membership == storage.Join
	in.members[key] = joined
	return joined, err
}
