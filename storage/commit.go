package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"entente/roomserver/event"

	"maunium.net/go/mautrix/id"
)

// Position is a reading of the one clock: later commits have higher positions.
// Zero is before everything.
type Position int64

// Commit is one change, built without the database: all of it is written, or
// nothing.
type Commit struct {
	// Positions is how many positions the rows use, through Tick. A commit
	// of none is unclocked: nobody is told of it.
	Positions int
	// Expect must hold when the commit is written.
	Expect []Precondition
	// Write is written in order. At most MaxRows.
	Write []Row
	// Touch names what changed, for the log.
	Touch []Subject
	// Audit is appended to the audit log in the same transaction.
	Audit []AuditRecord
	// Attachment is handed to this node's followers with the log entry, so
	// that they need not read back what this node wrote.
	Attachment any
}

// MaxRows bounds a clocked commit: an update is a cluster-wide mutex. Nearly
// all have a few rows; what is known to be large is staged by unclocked commits
// first. The bound leaves room for what cannot be: a long fork that changes
// thousands of memberships at once when it is merged.
const MaxRows = 50_000

// Row is something to write. Rows are defined beside the table they write.
type Row interface {
	// write appends the row's statements.
	write(w *writer)
}

// tick stands for the i-th position of a commit among a statement's arguments.
type tick int

// statement is one SQL text with its arguments.
type statement struct {
	sql  string
	args []any
}

// at is the statement with positions in the place of its ticks. The statement
// itself keeps them, since its transaction may be run again.
func (s statement) at(first Position) statement {
	args := slices.Clone(s.args)
	for i, a := range args {
		if t, ok := a.(tick); ok {
			args[i] = int64(first) + int64(t)
		}
	}
	return statement{s.sql, args}
}

// writer collects the statements of a commit.
type writer struct {
	db      *DB
	out     []statement
	unknown [spaces][]string // names that have no number in memory
}

func (w *writer) exec(sql string, args ...any) {
	w.out = append(w.out, statement{sql, args})
}

// number is a name's number. When it is not in memory the rows are written
// again, once all that were missing are.
func (w *writer) number(s space, name string) int64 {
	n, ok := w.db.interner.cached(s, name)
	if !ok {
		w.unknown[s] = append(w.unknown[s], name)
	}
	return n
}

// render turns rows into statements. Names are numbered all at once, since
// each new one would cost a transaction.
func (db *DB) render(ctx context.Context, rows []Row) ([]statement, error) {
	const attempts = 3 // the memory of names may be emptied meanwhile
	for range attempts {
		w := &writer{db: db}
		for _, row := range rows {
			row.write(w)
		}
		complete := true
		for s, names := range w.unknown {
			if len(names) == 0 {
				continue
			}
			complete = false
			if _, err := db.interner.ensure(ctx, space(s), distinct(names)); err != nil {
				return nil, err
			}
		}
		if complete {
			return w.out, nil
		}
	}
	return nil, errors.New("storage: a commit has more names than memory holds")
}

// Precondition is something that must still hold when a commit is written.
type Precondition struct {
	kind preconditionKind
	room RoomNID
	want int64
	key  string
}

type preconditionKind int

const (
	expectHead preconditionKind = iota
	expectOnce
	expectPolicy
	expectCollection
	expectNewEvent
	expectAccount
)

// RoomHead expects the room's head to be at version, a value that no other
// head of any room ever has. Zero expects a room without a head.
func RoomHead(room RoomNID, version event.NID) Precondition {
	return Precondition{kind: expectHead, room: room, want: int64(version)}
}

// Once expects that no commit with the same transaction key was written. The
// loser's error is a *Duplicate.
func Once(key TransactionKey) Precondition {
	return Precondition{kind: expectOnce, key: string(key)}
}

// PolicyVersion expects that the policy has not changed since version.
func PolicyVersion(version int64) Precondition {
	return Precondition{kind: expectPolicy, want: version}
}

// Collection expects that no state node of the room was collected since epoch.
func Collection(room RoomNID, epoch int64) Precondition {
	return Precondition{kind: expectCollection, room: room, want: epoch}
}

// NewEvent expects the room to hold no event with this ID.
func NewEvent(room RoomNID, eventID id.EventID) Precondition {
	return Precondition{kind: expectNewEvent, room: room, key: string(eventID)}
}

// AccountRevision expects that an account has not been revised since, and zero
// that there is no such account.
func AccountRevision(user id.UserID, revision int64) Precondition {
	return Precondition{kind: expectAccount, want: revision, key: string(user)}
}

// ErrConflict is wrapped by the error of a commit whose preconditions no
// longer held: build it again from a fresh reading.
var ErrConflict = errors.New("the data changed meanwhile")

// ErrPolicyChanged is wrapped by the error of a commit that was decided by
// another version of the policy, beside ErrConflict.
var ErrPolicyChanged = errors.New("the policy changed meanwhile")

// ErrBusy is the error of a commit that found the queue full.
var ErrBusy = errors.New("too many writes are waiting")

// ErrClosed is the error of a commit after the database was closed.
var ErrClosed = errors.New("the database is closed")

// conflict says which precondition failed.
type conflict struct{ Precondition }

func (c conflict) Error() string {
	what := [...]string{"room head", "transaction", "policy", "state collection", "event", "account"}[c.kind]
	return fmt.Sprintf("%s changed meanwhile", what)
}

func (c conflict) Unwrap() []error {
	if c.kind == expectPolicy {
		return []error{ErrConflict, ErrPolicyChanged}
	}
	return []error{ErrConflict}
}

// Duplicate is the error of a commit whose transaction key was used before.
type Duplicate struct {
	// EventID is what the first commit with that key made.
	EventID id.EventID
}

func (d *Duplicate) Error() string { return "this transaction was already processed" }

// Ticket is a commit that is under way.
type Ticket struct {
	commit  Commit
	done    chan struct{}
	first   Position
	last    Position
	err     error
	winner  *Ticket     // whose success a duplicate in the same group waits for
	written []statement // positions are ticks still
}

// Wait waits until the commit is durable, or failed. When ctx ends first the
// commit may still happen.
func (t *Ticket) Wait(ctx context.Context) (Position, error) {
	select {
	case <-t.done:
		return t.last, t.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Commit writes c and returns its last position when it is durable and
// applied on this node.
func (db *DB) Commit(ctx context.Context, c Commit) (Position, error) {
	t, err := db.Enqueue(ctx, c)
	if err != nil {
		return 0, err
	}
	return t.Wait(ctx)
}

// Enqueue hands c to the committer. Commits are written in the order in which
// they were enqueued; a later one may build on an earlier one that is not yet
// durable, if its preconditions say so.
func (db *DB) Enqueue(ctx context.Context, c Commit) (*Ticket, error) {
	if c.Positions > 0 && len(c.Write) > MaxRows {
		return nil, fmt.Errorf("storage: a commit of %d rows is over the limit of %d", len(c.Write), MaxRows)
	}
	written, err := db.render(ctx, c.Write)
	if err != nil {
		return nil, err
	}
	t := &Ticket{commit: c, done: make(chan struct{}), written: written}
	return t, db.committer.add(t)
}
