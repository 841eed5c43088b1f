package storage

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// SubjectKind says what kind of thing a commit changed.
type SubjectKind byte

// The kinds of subject. They are stored: numbers are never reused.
const (
	// Room: its timeline or its state changed. ID is a RoomNID.
	Room SubjectKind = 1
	// RoomReceipts: receipts in the room changed. ID is a RoomNID.
	RoomReceipts SubjectKind = 2
	// User: the user's account data, membership or push rules changed. ID is the user's number.
	User SubjectKind = 3
	// Sessions: the user's sessions or account state changed. ID is the user's number.
	Sessions SubjectKind = 4
	// Policy: agreements or other governance changed. ID is zero.
	Policy SubjectKind = 5
	// Outbox: something other than an event waits for a destination. ID is the server's number.
	Outbox SubjectKind = 6
	// Staged: received events wait to be processed. ID is a RoomNID, or zero.
	Staged SubjectKind = 7
	// Device: to-device messages for a user's devices. ID is the user's number.
	Device SubjectKind = 8
	// Profile: the user's profile changed. ID is the user's number.
	Profile SubjectKind = 9
	// Redacted: a stored event was redacted. ID is the event's number.
	Redacted SubjectKind = 10
)

// Subject is one thing that a commit changed.
type Subject struct {
	Kind SubjectKind
	ID   int64
}

// Applied is one commit of a group as followers see it.
type Applied struct {
	First, Last Position
	Touched     []Subject
	// Attachment is what the committing caller attached; nil on other nodes.
	Attachment any
}

// LogEntry is one group commit. On the node that wrote it the commits are told
// apart; on others there is one Applied with all that was touched.
type LogEntry struct {
	First, Last Position
	// Prev is the last position of the entry before this one.
	Prev Position
	// Own reports whether this node wrote it.
	Own     bool
	Commits []Applied
}

// Touched calls fn for every subject of the entry, with the position of the
// commit that touched it.
func (e *LogEntry) Touched(fn func(s Subject, at Position)) {
	for _, c := range e.Commits {
		for _, s := range c.Touched {
			fn(s, c.Last)
		}
	}
}

const (
	insertLog = `INSERT INTO log (pos, first, prev, node, at, subjects) VALUES ($1, $2, $3, $4, $5, $6)`
	selectLog = `SELECT pos, first, prev, node, subjects FROM log WHERE pos > $1 AND pos <= $2 ORDER BY pos LIMIT 500`
	trimLog   = `DELETE FROM log WHERE at < $1 AND pos < $2 RETURNING 1`
)

// logKept is how long log rows are kept for nodes that have not applied them;
// a node that is further behind starts afresh.
const logKept = time.Hour

func (e *LogEntry) statement(db *DB) statement {
	seen := map[Subject]bool{}
	packed := []byte{}
	e.Touched(func(s Subject, _ Position) {
		if !seen[s] {
			seen[s] = true
			packed = binary.AppendVarint(append(packed, byte(s.Kind)), s.ID)
		}
	})
	return statement{insertLog, []any{int64(e.Last), int64(e.First), int64(e.Prev), db.node, now(), packed}}
}

func unpackSubjects(b []byte) ([]Subject, error) {
	var out []Subject
	for len(b) > 0 {
		n, size := binary.Varint(b[1:])
		if size <= 0 {
			return nil, errors.New("storage: a log row's subjects are damaged")
		}
		out = append(out, Subject{SubjectKind(b[0]), n})
		b = b[1+size:]
	}
	return out, nil
}

// pollEvery backs up the wake-ups that hurry the log.
const pollEvery = 250 * time.Millisecond

// follower applies the log in order to whoever follows it.
type follower struct {
	db      *DB
	applied atomic.Int64

	mu        sync.Mutex
	followers []func(*LogEntry) // guarded by mu
	waiting   chan struct{}     // closed and replaced when applied moves; guarded by mu
	trimmed   time.Time         // guarded by mu
	orphaned  Position          // own entries up to here are applied from the database; guarded by mu
}

func newFollower(db *DB) *follower { return &follower{db: db, waiting: make(chan struct{})} }

// load starts at the end of the log: what a node caches, it reads when needed.
func (f *follower) load(ctx context.Context) error {
	var pos int64
	if _, err := one(ctx, f.db.driver, selectPrev, nil, &pos); err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	f.applied.Store(pos)
	return nil
}

// Follow calls fn with every log entry from now on, in order, one at a time.
// fn must be quick and must not commit; acknowledgements wait for it.
func (db *DB) Follow(fn func(*LogEntry)) {
	db.follower.mu.Lock()
	defer db.follower.mu.Unlock()
	db.follower.followers = append(db.follower.followers, fn)
}

// Applied is the position up to which this node has applied the log.
func (db *DB) Applied() Position { return Position(db.follower.applied.Load()) }

// CatchUp waits until this node has applied the log up to pos: a token that
// another node gave out may be ahead of this one.
func (db *DB) CatchUp(ctx context.Context, pos Position) error {
	for db.Applied() < pos {
		db.Hurry()
		db.follower.mu.Lock()
		moved := db.follower.waiting
		db.follower.mu.Unlock()
		if db.Applied() >= pos {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for position %d: %w", pos, ctx.Err())
		}
	}
	return nil
}

// Hurry makes this node look at the log now: another node has written to it.
func (db *DB) Hurry() {
	select {
	case db.poll <- struct{}{}:
	default:
	}
}

func (f *follower) loop(ctx context.Context) {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-f.db.poll:
		}
		f.mu.Lock()
		err := f.readLocked(ctx, math.MaxInt64)
		f.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			f.db.log.Warn("reading the log failed; retrying", "error", err)
		}
	}
}

// committed applies an entry that this node wrote, after those before it.
func (f *follower) committed(ctx context.Context, e *LogEntry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for at := Position(-1); e.Prev != f.position() && at != f.position(); {
		if at = f.position(); at >= e.Last {
			return
		}
		if err := f.readLocked(ctx, e.Prev); err != nil {
			f.db.log.Warn("reading the log failed; the poll will apply it", "error", err)
			f.orphaned = e.Last
			return
		}
	}
	f.applyLocked(e)
}

func (f *follower) position() Position { return Position(f.applied.Load()) }

// readLocked applies what the database's log has beyond the applied position,
// up to and including until. It stops before an entry of this node: the
// committer, which has just written it, applies it with its attachments.
func (f *follower) readLocked(ctx context.Context, until Position) error {
	var entries []*LogEntry
	own := false
	err := each(ctx, f.db.driver, selectLog, []any{f.applied.Load(), int64(until)}, func(r rowScanner) error {
		e := &LogEntry{Commits: make([]Applied, 1)}
		var packed []byte
		var node string
		if err := r.Scan((*int64)(&e.Last), (*int64)(&e.First), (*int64)(&e.Prev), &node, &packed); err != nil {
			return err
		}
		if own = own || node == f.db.node && e.Last > f.orphaned; own {
			return nil
		}
		touched, err := unpackSubjects(packed)
		e.Commits[0] = Applied{First: e.First, Last: e.Last, Touched: touched}
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return err
	}
	for _, e := range entries {
		f.applyLocked(e)
	}
	return f.trimLocked(ctx)
}

func (f *follower) applyLocked(e *LogEntry) {
	for _, fn := range f.followers {
		fn(e)
	}
	f.applied.Store(int64(e.Last))
	close(f.waiting)
	f.waiting = make(chan struct{})
}

// trimLocked deletes old log rows now and then.
func (f *follower) trimLocked(ctx context.Context) error {
	at := time.Now()
	if at.Sub(f.trimmed) < logKept/4 {
		return nil
	}
	f.trimmed = at
	old := at.Add(-logKept).UnixMilli()
	return f.db.driver.exec(ctx, func(q querier) error {
		return discard(q.query(ctx, trimLog, []any{old, f.applied.Load()}))
	})
}

// newNodeID names a process among nodes.
func newNodeID() string {
	b := make([]byte, 9)
	_, _ = rand.Read(b) // never fails: it would end the process
	return base64.RawURLEncoding.EncodeToString(b)
}
