package syncapi

import (
	"context"
	"errors"
	"time"

	"entente/clientapi/token"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Request is a client's request for what changed.
//
// Spec: client-server-api/#get_matrixclientv3sync
type Request struct {
	User   id.UserID
	Device id.DeviceID
	// Since is a next_batch, or empty for everything.
	Since string
	// Filter is the ID of a filter, a filter, or empty.
	Filter string
	// FullState asks for all state of all rooms.
	FullState bool
	// StateAfter is what state at the end of the timeline is called; empty is
	// for state at its start.
	StateAfter string
	// Presence is what the request makes of the user: online, unavailable or
	// offline; empty is online.
	Presence string
	// Timeout is how long to wait for something to tell.
	Timeout time.Duration
}

// maxTimeout bounds how long a request waits.
const maxTimeout = 5 * time.Minute

// catchUpTime bounds the wait for what another node has told a client already.
const catchUpTime = 2 * time.Second

// Sync answers what changed since, waiting for something to tell for as long
// as the request says. The answer is JSON.
func (s *Server) Sync(ctx context.Context, req Request) ([]byte, error) {
	f, err := s.filter(ctx, req.User, req.Filter)
	if err != nil {
		return nil, err
	}
	since, err := s.since(ctx, req.Since)
	if err != nil {
		return nil, err
	}
	r, err := s.reader(ctx, req.User)
	if err != nil {
		return nil, err
	}
	defer s.done(r)
	s.syncing(req.User, req.Device, req.Presence, true)
	defer s.syncing(req.User, req.Device, req.Presence, false)
	wait := req.Timeout > 0 && since != nil && !req.FullState
	if wait {
		if err := s.pause(ctx, r); err != nil {
			return nil, err
		}
	}
	deadline := time.NewTimer(min(req.Timeout, maxTimeout))
	defer deadline.Stop()
	for {
		c := &composer{server: s, ctx: ctx, req: &req, reader: r, filter: f, since: since, now: s.now().UnixMilli()}
		wake, err := c.compose(wait)
		if err != nil || c.tells || !wait {
			return c.finish(), err
		}
		select {
		case <-wake:
		case <-s.closing:
			wait = false
		case <-deadline.C:
			wait = false
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// since reads a token, and waits until this node has what another one told. A
// token of another epoch, or from the future, is none: the client gets
// everything again.
func (s *Server) since(ctx context.Context, text string) (*token.Sync, error) {
	if text == "" {
		return nil, nil
	}
	since, err := token.ParseSync(text)
	if err != nil {
		return nil, err
	}
	if since.Epoch != s.epoch {
		return nil, nil
	}
	if since.Pos <= s.position() {
		return &since, nil
	}
	waiting, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	switch err := s.db.CatchUp(waiting, since.Pos); {
	case err == nil:
		return &since, nil
	case ctx.Err() == nil && errors.Is(waiting.Err(), context.DeadlineExceeded):
		return nil, nil
	default:
		return nil, err
	}
}

func (s *Server) position() storage.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pos
}

// composer puts one answer together.
type composer struct {
	server *Server
	ctx    context.Context
	req    *Request
	reader *reader
	filter *Filter
	since  *token.Sync // nil: everything
	now    int64       // milliseconds

	until     storage.Position
	ephemeral int64
	presence  []Presence
	ignored   map[id.UserID]bool
	data      map[storage.RoomNID][]*storage.AccountData // what changed, by room; zero is global
	owed      []token.Owed

	tells                      bool // there is something to tell
	join, invite, knock, leave []byte
	globalData, presenceData   []byte
}

// from is the position of since; zero is everything.
func (c *composer) from() storage.Position {
	if c.since == nil {
		return 0
	}
	return c.since.Pos
}

// compose puts the answer together. wake is closed when there may be more to
// tell; it is nil unless the caller means to wait.
func (c *composer) compose(wait bool) (wake <-chan struct{}, err error) {
	look, err := c.look(wait)
	if err != nil {
		return nil, err
	}
	for i := range look.joined {
		if err := c.joinedRoom(&look.joined[i]); err != nil {
			return nil, err
		}
	}
	for _, m := range look.elsewhere {
		if err := c.otherRoom(m); err != nil {
			return nil, err
		}
	}
	if err := c.globalAccountData(); err != nil {
		return nil, err
	}
	return look.wake, c.appendPresence()
}

// finish is the answer as JSON.
func (c *composer) finish() []byte {
	next := token.Sync{Epoch: c.server.epoch, Pos: c.until, Boot: c.server.boot, Ephemeral: c.ephemeral, Owed: c.owed}
	out := make([]byte, 0, 256+len(c.join)+len(c.invite)+len(c.knock)+len(c.leave)+len(c.globalData)+len(c.presenceData))
	out = append(out, `{"next_batch":"`...)
	out = next.Append(out)
	out = append(out, '"')
	if c.globalData != nil {
		out = append(append(append(out, `,"account_data":{"events":[`...), c.globalData...), `]}`...)
	}
	if c.presenceData != nil {
		out = append(append(append(out, `,"presence":{"events":[`...), c.presenceData...), `]}`...)
	}
	begun := false
	for _, part := range [...]struct {
		name  string
		rooms []byte
	}{{"join", c.join}, {"invite", c.invite}, {"knock", c.knock}, {"leave", c.leave}} {
		if part.rooms == nil {
			continue
		}
		if begun {
			out = append(out, `,"`...)
		} else {
			out = append(out, `,"rooms":{"`...)
		}
		begun = true
		out = append(append(append(append(out, part.name...), `":{`...), part.rooms...), '}')
	}
	if begun {
		out = append(out, '}')
	}
	return append(out, `,"device_one_time_keys_count":{},"device_unused_fallback_key_types":[]}`...)
}

// begin begins a room in one of the parts of the answer.
func begin(part []byte, room id.RoomID) []byte {
	if part != nil {
		part = append(part, ',')
	}
	part = appendString(part, string(room))
	return append(part, ':')
}
