package sender

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"entente/roomserver"
	"entente/storage"
)

const (
	maxNews  = 4096 // outgoing events of the log that wait for the pump
	scanPage = 1000 // of a destination that reads for itself
	pumpPage = 100
	// tailBytes bounds the events that are kept in memory for workers.
	tailBytes = 32 << 20
	flushRows = 500
)

// outgoing is an event on its way to some destinations.
type outgoing struct {
	storage.Outgoing
	// event is the event itself; nil when it must be read.
	event atomic.Pointer[storage.OutgoingEvent]
}

// news is what the log said since the pump last looked.
type news struct {
	wake chan struct{}

	mu    sync.Mutex
	queue []*outgoing      // guarded by mu
	scan  bool             // the queue does not hold everything; guarded by mu
	upTo  storage.Position // guarded by mu
}

// follow takes note of a log entry. Commits of this node bring their events
// along; what others wrote must be read.
func (s *Sender) follow(e *storage.LogEntry) {
	n := &s.news
	n.mu.Lock()
	defer n.mu.Unlock()
	n.upTo = e.Last
	for _, c := range e.Commits {
		done, ok := c.Attachment.(*roomserver.Committed)
		if !ok || !e.Own {
			n.scan = n.scan || touchesRoom(c.Touched)
			continue
		}
		for _, ev := range done.Events {
			if ev.Destinations == "" {
				continue
			}
			if ev.Pos == 0 {
				ev = ev.Placed(c.First)
			}
			o := &outgoing{Outgoing: storage.Outgoing{Pos: ev.Pos, To: ev.Destinations}}
			o.event.Store(&storage.OutgoingEvent{Pos: ev.Pos, ID: ev.PDU.ID(), JSON: ev.PDU.JSON()})
			n.queue = append(n.queue, o)
		}
	}
	n.scan = n.scan || len(n.queue) > maxNews
	if n.scan {
		n.queue = nil
	}
	if n.scan || n.queue != nil {
		n.signal()
	}
}

func touchesRoom(subjects []storage.Subject) bool {
	return slices.ContainsFunc(subjects, func(s storage.Subject) bool { return s.Kind == storage.Room })
}

func (n *news) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// rescan has everything up to a position read.
func (n *news) rescan(upTo storage.Position) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queue, n.scan, n.upTo = nil, true, max(n.upTo, upTo)
	n.signal()
}

func (n *news) take() (queue []*outgoing, scan bool, upTo storage.Position) {
	n.mu.Lock()
	defer n.mu.Unlock()
	queue, scan = n.queue, n.scan
	n.queue, n.scan = nil, false
	return queue, scan, n.upTo
}

// pumpRetry is the pause after the database failed.
const pumpRetry = time.Second

// pump tells destinations what they must get.
func (s *Sender) pump(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.news.wake:
		}
		queue, scan, upTo := s.news.take()
		var err error
		if scan {
			err = s.scan(ctx, upTo)
		} else {
			s.tell(queue, upTo)
		}
		if err != nil && ctx.Err() == nil {
			s.o.Log.Warn("looking for events to send failed; trying again", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(pumpRetry):
			}
			s.news.rescan(upTo)
		}
	}
}

// scan reads what must be sent up to a position.
func (s *Sender) scan(ctx context.Context, upTo storage.Position) error {
	s.mu.Lock()
	after := s.scanned
	s.mu.Unlock()
	for after < upTo {
		page, err := s.o.DB.Latest().Outgoing(ctx, after, upTo, pumpPage)
		if err != nil {
			return err
		}
		through := upTo
		if len(page) == pumpPage {
			through = page[len(page)-1].Pos
		}
		found, err := s.bodies(ctx, page)
		if err != nil {
			return err
		}
		s.tell(found, through)
		after = through
	}
	return nil
}

// bodies reads events once for all the destinations that they have.
func (s *Sender) bodies(ctx context.Context, page []storage.Outgoing) ([]*outgoing, error) {
	found := make([]*outgoing, len(page))
	at := make([]storage.Position, len(page))
	for i, o := range page {
		found[i], at[i] = &outgoing{Outgoing: o}, o.Pos
	}
	events, err := s.o.DB.Latest().OutgoingEvents(ctx, at)
	i := 0
	for n := range events { // both are in order
		for found[i].Pos != events[n].Pos {
			i++
		}
		found[i].event.Store(&events[n])
	}
	return found, err
}

// tell tells destinations of events, and wakes their workers.
func (s *Sender) tell(events []*outgoing, through storage.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range events {
		if o.Pos <= s.scanned {
			continue
		}
		s.tail.add(o)
		for _, name := range o.To.Names() {
			if n := s.newest[name]; n != nil {
				n.Newest = o.Pos
			} else {
				s.newest[name] = &storage.DestinationNewest{Server: name, First: o.Pos, Newest: o.Pos}
			}
			d := s.destinationLocked(name)
			d.tell(o)
			s.startLocked(d)
		}
	}
	s.scanned = max(s.scanned, through)
}

// tail keeps the latest events in memory, up to a size.
type tail struct {
	events []*outgoing
	bytes  int
}

func (t *tail) add(o *outgoing) {
	e := o.event.Load()
	if e == nil {
		return
	}
	t.events = append(t.events, o)
	t.bytes += len(e.JSON)
	for t.bytes > tailBytes {
		old := t.events[0]
		t.bytes -= len(old.event.Load().JSON)
		old.event.Store(nil)
		t.events[0] = nil
		t.events = t.events[1:]
	}
}

// flush persists cursors, and what the pump has told destinations of: first
// what it told, then that it did.
func (s *Sender) flush(ctx context.Context) error {
	s.mu.Lock()
	unsaved, newest, scanned := maps.Clone(s.unsaved), s.newest, s.scanned
	s.newest = map[string]*storage.DestinationNewest{}
	s.mu.Unlock()
	rows := make([]storage.Row, 0, len(unsaved)+len(newest))
	for _, name := range slices.Sorted(maps.Keys(newest)) {
		rows = append(rows, newest[name])
	}
	for _, name := range slices.Sorted(maps.Keys(unsaved)) {
		rows = append(rows, unsaved[name])
	}
	if len(newest) > 0 {
		rows = append(rows, &storage.DestinationsScanned{Pos: scanned})
	}
	for chunk := range slices.Chunk(rows, flushRows) {
		if err := s.o.DB.Stage(ctx, chunk...); err != nil {
			s.restore(newest)
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, row := range unsaved {
		if s.unsaved[name] == row {
			delete(s.unsaved, name)
		}
	}
	return nil
}

// restore puts back what could not be persisted.
func (s *Sender) restore(newest map[string]*storage.DestinationNewest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, old := range newest {
		if n := s.newest[name]; n != nil {
			n.First = min(old.First, n.First)
		} else {
			s.newest[name] = old
		}
	}
}
