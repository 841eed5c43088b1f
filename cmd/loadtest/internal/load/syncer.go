package load

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"
)

// syncFilter is what a client in use asks for: members as they are needed,
// and a timeline long enough for a busy room.
const syncFilter = `{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":100,"lazy_load_members":true}}}`

// syncTimeout is how long a sync may stay open, the usual of clients.
const syncTimeout = 30 * time.Second

// Syncer keeps one client's sync open, as a real client does.
type Syncer struct {
	client   *Client
	ledger   *Ledger // nil: only keep the sync open
	receiver int     // the client's place in the ledger
	since    string
	buf      bytes.Buffer
}

// begin does the initial sync, so that run starts from now.
func (s *Syncer) begin(ctx context.Context) error {
	next, err := s.client.Sync(ctx, "", syncFilter, 0, &s.buf)
	if err != nil {
		return fmt.Errorf("initial sync of %s: %w", s.client.User, err)
	}
	s.since = next
	return nil
}

// run syncs until ctx ends. A failing sync ends it with an error, since a
// measurement with clients missing would not be one.
func (s *Syncer) run(ctx context.Context) error {
	for ctx.Err() == nil {
		next, err := s.client.Sync(ctx, s.since, syncFilter, syncTimeout, &s.buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("sync of %s: %w", s.client.User, err)
		}
		s.since = next
		if s.ledger == nil {
			continue
		}
		if err := s.read(ctx, time.Now()); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// read enters the messages of a sync's answer into the ledger. Where the
// timeline has a gap it pages back, as a client must.
func (s *Syncer) read(ctx context.Context, now time.Time) error {
	type gap struct {
		room id.RoomID
		from string
	}
	var gaps []gap
	gjson.GetBytes(s.buf.Bytes(), "rooms.join").ForEach(func(room, v gjson.Result) bool {
		timeline := v.Get("timeline")
		if fresh, _ := s.enter(timeline.Get("events"), now, false); fresh && timeline.Get("limited").Bool() {
			gaps = append(gaps, gap{id.RoomID(room.String()), timeline.Get("prev_batch").String()})
		}
		return true
	})
	for _, g := range gaps {
		if err := s.fill(ctx, g.room, g.from); err != nil {
			return err
		}
	}
	return nil
}

// maxPages bounds how far a gap is filled.
const maxPages = 200

// fill pages back until it meets what the client already has, or what was
// before the run.
func (s *Syncer) fill(ctx context.Context, room id.RoomID, from string) error {
	var buf bytes.Buffer
	for range maxPages {
		if from == "" {
			return nil
		}
		if err := s.client.Back(ctx, room, from, &buf); err != nil {
			return fmt.Errorf("fill a gap in %s: %w", room, err)
		}
		page := gjson.ParseBytes(buf.Bytes())
		if fresh, met := s.enter(page.Get("chunk"), time.Now(), true); !fresh || met {
			return nil
		}
		from = page.Get("end").String()
	}
	return nil
}

// enter notes the run's messages among events. It reports whether one of them
// was new, and whether one was already there.
func (s *Syncer) enter(events gjson.Result, now time.Time, paged bool) (fresh, met bool) {
	events.ForEach(func(_, event gjson.Result) bool {
		content := event.Get("content")
		n := content.Get("n")
		if !n.Exists() || content.Get("run").String() != s.ledger.run {
			return true
		}
		if s.ledger.receive(s.receiver, int(n.Int()), now, paged) {
			fresh = true
		} else {
			met = true
		}
		return true
	})
	return fresh, met
}
