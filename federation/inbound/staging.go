package inbound

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/storage"
)

const (
	lastRetry = time.Hour
	// stagedFor is how long an event is tried before it is given up.
	stagedFor = 3 * 24 * time.Hour
	// heldUpAttempts is how often an event is tried before what its peer sent
	// after it is let pass: one that can never be processed, because a third
	// server hides its keys, say, must not part two others for days.
	heldUpAttempts = 5
	// stagedPatience bounds one attempt at a staged event, which may fetch much.
	stagedPatience = 2 * time.Minute
	stagedLease    = stagedPatience + time.Minute
	stagedPage     = 50
	stagedRooms    = 8 // rooms worked on at once
	fullRetry      = 30 * time.Second
	leaseRetry     = 30 * time.Second
)

// staging knows which rooms may have staged events.
type staging struct {
	wake chan struct{}

	mu    sync.Mutex
	rooms map[storage.RoomNID]*stagedRoom // guarded by mu
}

// stagedRoom is when a room's staged events are due.
type stagedRoom struct {
	due     time.Time
	running bool
	again   bool // more came while it was worked on
}

func newStaging() *staging {
	return &staging{wake: make(chan struct{}, 1), rooms: map[storage.RoomNID]*stagedRoom{}}
}

// mark notes that a room has staged events that are due at a time.
func (g *staging) mark(room storage.RoomNID, due time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.rooms[room]
	if r == nil {
		r = &stagedRoom{due: due}
		g.rooms[room] = r
	}
	if due.Before(r.due) {
		r.due = due
	}
	r.again = true
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *staging) has(room storage.RoomNID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rooms[room] != nil
}

// next takes a room that is due, or says when the next one will be; zero is
// never.
func (g *staging) next(now time.Time) (room storage.RoomNID, ok bool, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for nid, r := range g.rooms {
		if r.running {
			continue
		}
		if left := r.due.Sub(now); left > 0 {
			if wait == 0 || left < wait {
				wait = left
			}
			continue
		}
		r.running, r.again = true, false
		return nid, true, 0
	}
	return 0, false, wait
}

// done notes when a room's staged events are due again; zero when none are left.
func (g *staging) done(room storage.RoomNID, due time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.rooms[room]
	if r.running = false; due.IsZero() && !r.again {
		delete(g.rooms, room)
	} else if r.due = due; r.again {
		r.due = time.Time{}
	}
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// waits reports whether events of a peer wait in a room, so that later ones
// must wait too.
func (s *Server) waits(ctx context.Context, room storage.RoomNID, origin string) (bool, error) {
	if !s.staging.has(room) {
		return false, nil
	}
	return s.o.DB.Latest().HasStaged(ctx, room, origin, heldUpAttempts)
}

// stage keeps events durably until they can be processed. The error is of kind
// Limited when too much of the peer waits.
func (s *Server) stage(ctx context.Context, origin string, left []received) error {
	if len(left) == 0 {
		return nil
	}
	events, bytes, err := s.o.DB.Latest().StagedSize(ctx, origin)
	if err != nil {
		return err
	}
	if events+int64(len(left)) > s.o.StagedEvents || bytes > s.o.StagedBytes {
		return limited("Too many events of your server wait to be processed", fullRetry)
	}
	now := s.o.Now().UnixMilli()
	c := storage.Commit{Positions: 1}
	touched := map[storage.RoomNID]bool{}
	for i, e := range left {
		c.Write = append(c.Write, &storage.StagedEvent{
			Room: e.room.NID, Origin: origin, EventID: e.pdu.ID(), JSON: e.pdu.JSON(), At: now, RetryAt: now, Num: int64(i),
		})
		if !touched[e.room.NID] {
			touched[e.room.NID] = true
			c.Touch = append(c.Touch, storage.Subject{Kind: storage.Staged, ID: int64(e.room.NID)})
		}
	}
	if _, err := s.o.DB.Commit(ctx, c); err != nil {
		return fault.Wrap(err, fault.Unavailable, "The events could not be kept; try again")
	}
	s.metrics.pdus.WithLabelValues("staged").Add(float64(len(left)))
	return nil
}

// Run processes staged events until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	err := s.o.DB.Latest().StagedRooms(ctx, func(room storage.RoomNID, retryAt int64) {
		s.staging.mark(room, time.UnixMilli(retryAt))
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	workers.Go(func() { s.writeAnswersAgain(ctx) })
	slots := make(chan struct{}, stagedRooms)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		room, ok := s.nextRoom(ctx)
		if !ok {
			return nil
		}
		workers.Go(func() {
			defer func() { <-slots }()
			s.staging.done(room, s.drain(ctx, room))
		})
	}
}

// nextRoom waits for a room that is due.
func (s *Server) nextRoom(ctx context.Context) (storage.RoomNID, bool) {
	for {
		room, ok, wait := s.staging.next(s.o.Now())
		if ok {
			return room, ctx.Err() == nil
		}
		if wait == 0 {
			wait = lastRetry
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return 0, false
		case <-s.staging.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// drain processes a room's staged events in order, and answers when what is
// left is due; zero when nothing is. What one peer sent waits behind what that
// peer sent before, and not behind others'.
func (s *Server) drain(ctx context.Context, room storage.RoomNID) time.Time {
	due, err := s.tryDrain(ctx, room)
	if err != nil && ctx.Err() == nil {
		s.o.Log.Warn("staged events could not be processed; trying again", "room", room, "error", err)
	}
	if err != nil {
		return s.o.Now().Add(s.o.FirstRetry)
	}
	return due
}

func (s *Server) tryDrain(ctx context.Context, room storage.RoomNID) (due time.Time, err error) {
	info, err := s.rooms.InfoOf(ctx, room)
	if err != nil {
		return due, err
	}
	lease := "stage/" + strconv.FormatInt(int64(room), 10)
	d := drainage{server: s, info: info, blocked: map[string]bool{}}
	var after *storage.StagedEvent
	for {
		_, mine, err := s.o.DB.Lease(ctx, lease, stagedLease)
		if err != nil {
			return due, err
		}
		if !mine { // the node that has it may be gone when we look again
			return s.o.Now().Add(leaseRetry), nil
		}
		var pos storage.Position
		var num int64
		if after != nil {
			pos, num = after.Pos, after.Num
		}
		page, err := s.o.DB.Latest().Staged(ctx, room, pos, num, stagedPage)
		if err != nil {
			return due, err
		}
		if len(page) == 0 {
			return d.due, s.o.DB.Stage(ctx, &storage.EndLease{Name: lease})
		}
		for _, e := range page {
			if err := d.one(ctx, e); err != nil {
				return due, err
			}
			if _, mine, err = s.o.DB.Lease(ctx, lease, stagedLease); err != nil || !mine {
				return s.o.Now().Add(leaseRetry), err
			}
		}
		after = page[len(page)-1]
	}
}

// drainage is one pass over a room's staged events.
type drainage struct {
	server  *Server
	info    *storage.RoomInfo
	blocked map[string]bool // peers of whom something waits still
	due     time.Time       // of what waits
}

// one processes a staged event, or notes when it is due.
func (d *drainage) one(ctx context.Context, e *storage.StagedEvent) error {
	s := d.server
	now := s.o.Now()
	if d.blocked[e.Origin] {
		return nil
	}
	if retry := time.UnixMilli(e.RetryAt); retry.After(now) {
		d.wait(e, retry)
		return nil
	}
	err := d.process(ctx, e)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && transient(err) && now.Sub(time.UnixMilli(e.At)) < stagedFor {
		retry := now.Add(s.pause(e.Attempts))
		d.wait(e, retry)
		return s.o.DB.Stage(ctx, storage.RetryStaged{StagedEvent: e, RetryAt: retry.UnixMilli()})
	}
	switch {
	case err == nil:
		s.metrics.pdus.WithLabelValues("processed").Inc()
	case transient(err):
		s.metrics.pdus.WithLabelValues("dropped").Inc()
		s.o.Log.Warn("a staged event is given up", "origin", e.Origin, "room", d.info.ID, "event", e.EventID, "attempts", e.Attempts, "error", err)
	default:
		s.metrics.pdus.WithLabelValues("refused").Inc()
		s.o.Log.Info("a staged event is refused", "origin", e.Origin, "room", d.info.ID, "event", e.EventID, "error", err)
	}
	return s.o.DB.Stage(ctx, storage.NoStaged{StagedEvent: e})
}

// wait notes when an event is due. What its peer sent after it waits too, for
// the first few times.
func (d *drainage) wait(e *storage.StagedEvent, until time.Time) {
	if e.Attempts < heldUpAttempts {
		d.blocked[e.Origin] = true
	}
	if d.due.IsZero() || until.Before(d.due) {
		d.due = until
	}
}

// process checks and receives a staged event. Its signatures are checked again:
// it may have been staged because they could not be.
func (d *drainage) process(ctx context.Context, e *storage.StagedEvent) error {
	s := d.server
	ctx, cancel := context.WithTimeout(ctx, stagedPatience)
	defer cancel()
	rules, ok := event.RulesOf(d.info.Version)
	if !ok {
		return fault.New(fault.UnsupportedVersion, "This server does not speak room version %s", d.info.Version)
	}
	pdu, err := event.Parse(rules, e.JSON)
	if err != nil {
		return malformed(err)
	}
	if err := s.admit(ctx, d.info, e.Origin); err != nil {
		return err
	}
	if err := s.o.Keys.VerifyPDU(ctx, pdu); err != nil {
		return err
	}
	return s.rooms.Receive(ctx, e.Origin, pdu)
}

// pause is how long to wait before a staged event is tried again, with a
// jitter of a quarter.
func (s *Server) pause(attempts int64) time.Duration {
	pause := s.o.FirstRetry
	for ; attempts > 0 && pause < lastRetry; attempts-- {
		pause *= 2
	}
	pause = min(pause, lastRetry)
	return pause - pause/4 + time.Duration(rand.Int64N(int64(pause/2)+1))
}
