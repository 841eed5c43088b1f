package sender

import (
	"context"
	"encoding/json"
	"strconv"

	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// The types of ephemeral data that this server sends.
const (
	typing   = "m.typing"
	receipt  = "m.receipt"
	presence = "m.presence"
)

// maxEDUs bounds the ephemeral data that waits for one destination.
const maxEDUs = 500

// Receipt is a read receipt of a local user.
type Receipt struct {
	Room    id.RoomID
	User    id.UserID
	EventID id.EventID
	// Timestamp is in milliseconds since 1970.
	Timestamp int64
	// Thread is the thread's root or "main"; empty for an unthreaded receipt.
	Thread string
}

// Presence is what a local user is doing.
type Presence struct {
	User id.UserID `json:"user_id"`
	// Presence is online, unavailable or offline.
	Presence        string `json:"presence"`
	StatusMsg       string `json:"status_msg,omitempty"`
	LastActiveAgo   int64  `json:"last_active_ago"`
	CurrentlyActive bool   `json:"currently_active,omitempty"`
}

// Typing tells servers that a local user types in a room, or stopped.
//
// Spec: server-server-api/#typing-notifications
func (s *Sender) Typing(to storage.Servers, room id.RoomID, user id.UserID, is bool) {
	s.ephemeral(to, typing, string(room)+"\n"+string(user), true, map[string]any{"room_id": room, "user_id": user, "typing": is})
}

// Receipt tells servers what a local user has read. The last one of a user,
// room and thread replaces those that wait.
//
// Spec: server-server-api/#receipts
func (s *Sender) Receipt(to storage.Servers, r Receipt) {
	data := map[string]any{"ts": r.Timestamp}
	if r.Thread != "" {
		data["thread_id"] = r.Thread
	}
	s.ephemeral(to, receipt, string(r.Room)+"\n"+string(r.User)+"\n"+r.Thread, false, map[id.RoomID]any{
		r.Room: map[string]any{"m.read": map[id.UserID]any{
			r.User: map[string]any{"event_ids": []id.EventID{r.EventID}, "data": data},
		}},
	})
}

// Presence tells servers what a local user is doing.
//
// Spec: server-server-api/#presence
func (s *Sender) Presence(to storage.Servers, p Presence) {
	s.ephemeral(to, presence, string(p.User), true, map[string]any{"push": []Presence{p}})
}

// InRoom are the servers in a room to tell of something, for Typing and
// Receipt.
func (s *Sender) InRoom(ctx context.Context, room storage.RoomNID) (storage.Servers, error) {
	head, err := s.o.DB.Latest().Head(ctx, room)
	if err != nil || head == nil {
		return "", err
	}
	return head.Destinations, nil
}

// ephemeral queues data for servers. What has the same kind and key replaces
// what waits; what is volatile is not kept for a server that does not answer.
func (s *Sender) ephemeral(to storage.Servers, kind, key string, volatile bool, content any) {
	names := to.Names()
	if len(names) == 0 {
		return
	}
	body, err := eduBody(kind, content)
	if err != nil {
		s.o.Log.Warn("ephemeral data could not be written", "type", kind, "error", err)
		return
	}
	for _, name := range names {
		s.queue(name, &edu{kind: kind, key: kind + "\n" + key, body: body, volatile: volatile})
	}
}

func (s *Sender) queue(name string, e *edu) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.destinationLocked(name)
	d.mu.Lock()
	switch {
	case e.volatile && d.failing.Load():
		s.metrics.dropped.WithLabelValues("stale").Inc()
	case !d.edus.put(e):
		s.metrics.dropped.WithLabelValues("full").Inc()
	}
	d.mu.Unlock()
	s.startLocked(d)
}

// eduBody is an EDU in canonical JSON.
//
// Spec: server-server-api/#edus
func eduBody(kind string, content any) (json.RawMessage, error) {
	raw, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	out := append([]byte(`{"content":`), raw...)
	out = append(out, `,"edu_type":`...)
	out = strconv.AppendQuote(out, kind)
	return event.Canonical(append(out, '}'))
}

// edu is ephemeral data that waits.
type edu struct {
	kind     string
	key      string
	body     json.RawMessage
	volatile bool
	seq      uint64
}

// eduQueue holds the ephemeral data for a destination in the order in which it
// was queued, the last of each key.
type eduQueue struct {
	order []*edu // those that were replaced are nil
	at    map[string]int
	seq   uint64
}

func (q *eduQueue) len() int { return len(q.at) }

// put queues e in the place of what has its key. It answers false when
// something else had to go for it.
func (q *eduQueue) put(e *edu) bool {
	q.seq++
	e.seq = q.seq
	if q.at == nil {
		q.at = map[string]int{}
	}
	if i, ok := q.at[e.key]; ok {
		q.order[i] = nil
		delete(q.at, e.key)
	}
	fits := len(q.at) < maxEDUs
	if !fits {
		q.evict()
	}
	if len(q.order) >= 2*maxEDUs {
		q.compact()
	}
	q.at[e.key] = len(q.order)
	q.order = append(q.order, e)
	return fits
}

// evict drops the oldest volatile data, or the oldest of all.
func (q *eduQueue) evict() {
	victim := -1
	for i, e := range q.order {
		if e == nil {
			continue
		}
		if victim < 0 {
			victim = i
		}
		if e.volatile {
			victim = i
			break
		}
	}
	if victim >= 0 {
		delete(q.at, q.order[victim].key)
		q.order[victim] = nil
	}
}

func (q *eduQueue) compact() {
	kept := make([]*edu, 0, len(q.at)+1)
	for _, e := range q.order {
		if e != nil {
			q.at[e.key] = len(kept)
			kept = append(kept, e)
		}
	}
	q.order = kept
}

// take takes up to n, the oldest first.
func (q *eduQueue) take(n int) []*edu {
	if len(q.at) == 0 {
		return nil
	}
	out := make([]*edu, 0, min(n, len(q.at)))
	i := 0
	for ; i < len(q.order) && len(out) < n; i++ {
		if e := q.order[i]; e != nil {
			out = append(out, e)
			delete(q.at, e.key)
		}
	}
	q.order = q.order[i:]
	q.compact()
	return out
}

// giveBack queues what was taken and not sent, unless it was replaced
// meanwhile or is out of date. It answers how many were dropped.
func (q *eduQueue) giveBack(taken []*edu) (dropped int) {
	kept := make([]*edu, 0, len(taken)+len(q.at))
	for _, e := range taken {
		_, replaced := q.at[e.key]
		switch {
		case replaced:
		case e.volatile || len(kept)+len(q.at) >= maxEDUs:
			dropped++
		default:
			kept = append(kept, e)
		}
	}
	if len(kept) == 0 {
		return dropped
	}
	q.order = append(kept, q.order...)
	if q.at == nil {
		q.at = map[string]int{}
	}
	q.compact()
	return dropped
}

func (q *eduQueue) clear() int {
	n := len(q.at)
	q.order, q.at = nil, nil
	return n
}
