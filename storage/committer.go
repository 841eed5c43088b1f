package storage

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"maunium.net/go/mautrix/id"
)

const (
	groupRows     = 1000 // rows in one transaction, unless one commit has more
	queueCapacity = 4096 // commits that may wait
	commitTimeout = 30 * time.Second
)

// committer writes commits in groups.
type committer struct {
	db  *DB
	log *slog.Logger

	mu     sync.Mutex
	wake   *sync.Cond
	queue  []*Ticket // guarded by mu
	closed bool      // guarded by mu
	ended  chan struct{}
}

func newCommitter(db *DB) *committer {
	c := &committer{db: db, log: db.log, ended: make(chan struct{})}
	c.wake = sync.NewCond(&c.mu)
	return c
}

func (c *committer) add(t *Ticket) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if len(c.queue) >= queueCapacity {
		return ErrBusy
	}
	c.queue = append(c.queue, t)
	c.wake.Signal()
	return nil
}

// close ends the loop once everything queued is written.
func (c *committer) close() {
	c.mu.Lock()
	c.closed = true
	c.wake.Signal()
	c.mu.Unlock()
	<-c.ended
}

// loop runs until close. It has its own context: a caller that goes away does
// not take others' commits with it.
func (c *committer) loop(ctx context.Context) {
	defer close(c.ended)
	for {
		group := c.next()
		if group == nil {
			return
		}
		c.run(ctx, group)
	}
}

// next takes what has queued up, at most groupRows rows. No timer: the group is
// what came while the last one was written.
func (c *committer) next() []*Ticket {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) == 0 {
		if c.closed {
			return nil
		}
		c.wake.Wait()
	}
	rows, n := 0, 0
	for n < len(c.queue) {
		rows += len(c.queue[n].commit.Write)
		if n > 0 && rows > groupRows {
			break
		}
		n++
	}
	group := c.queue[:n:n]
	c.queue = append([]*Ticket(nil), c.queue[n:]...)
	return group
}

// run writes a group; when something other than a precondition fails, each
// member gets a transaction of its own, so that one cannot fail the others.
func (c *committer) run(ctx context.Context, group []*Ticket) {
	start := time.Now()
	bounded, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	entry, err := c.write(bounded, group)
	if err != nil && len(group) > 1 {
		c.log.Warn("a group of commits failed, writing its members singly", "members", len(group), "error", err)
		for _, t := range group {
			t.reset()
			c.run(ctx, []*Ticket{t})
		}
		return
	}
	if err == nil && entry != nil {
		c.db.follower.committed(ctx, entry)
	}
	for _, t := range group {
		if t.err != nil && lostTo(t.err, expectPolicy) {
			c.db.Hurry() // another node changed the policy: hear of it before the next attempt
		}
		switch {
		case err != nil:
			t.err = err
		case t.winner != nil:
			t.err = t.winner.err
			if t.err == nil {
				t.err = &Duplicate{EventID: t.winner.commit.onceEvent()}
			}
		}
		close(t.done)
	}
	c.db.metrics.group(group, time.Since(start))
}

// isLost reports whether a commit failed by a precondition.
func isLost(err error) bool {
	var d *Duplicate
	return errors.Is(err, ErrConflict) || errors.As(err, &d)
}

// lostTo reports whether a commit failed by a precondition of a kind.
func lostTo(err error, kind preconditionKind) bool {
	var c conflict
	return errors.As(err, &c) && c.kind == kind
}

func (t *Ticket) reset() { t.err, t.winner, t.first, t.last = nil, nil, 0, 0 }

// write writes the members whose preconditions hold, in one transaction.
func (c *committer) write(ctx context.Context, group []*Ticket) (*LogEntry, error) {
	g := &groupWrite{db: c.db, group: group}
	for _, t := range group {
		g.positions += t.commit.Positions
	}
	err := c.db.driver.transact(ctx, g)
	if errors.Is(err, errOutcomeUnknown) {
		var happened bool
		if happened, err = c.db.driver.committed(ctx, g.last()); err == nil && !happened {
			err = errors.New("storage: the connection was lost and the commit did not happen")
		}
	}
	if err != nil {
		return nil, err
	}
	return g.entry, nil
}

// groupWrite is one transaction of the committer: transact calls checks, then
// statements with the first position taken, then after the commit reads entry.
type groupWrite struct {
	db        *DB
	group     []*Ticket
	positions int
	seen      observed
	first     Position
	prev      Position
	entry     *LogEntry
}

func (g *groupWrite) last() Position { return g.first + Position(g.positions) - 1 }

// audits reports whether the group appends to the audit log.
func (g *groupWrite) audits() bool {
	return slices.ContainsFunc(g.group, func(t *Ticket) bool { return len(t.commit.Audit) > 0 })
}

// rowScanner is the current row of a result.
type rowScanner interface{ Scan(dest ...any) error }

// statements judges the members and returns what the winners write.
func (g *groupWrite) statements(first Position) ([]statement, error) {
	g.first = first
	next := first
	var out []statement
	heads := map[int64]statement{} // of rooms: the last one of the group is where the room stands
	entry := &LogEntry{First: first, Last: g.last(), Prev: g.prev, Own: true}
	for _, t := range g.group {
		t.first, t.last = next, next+Position(t.commit.Positions)-1
		next += Position(t.commit.Positions)
		if t.err = g.seen.judge(t); t.err != nil || t.winner != nil {
			continue
		}
		for _, s := range t.written {
			if s.sql == upsertHead {
				heads[s.args[0].(int64)] = s.at(t.first)
				continue
			}
			out = append(out, s.at(t.first))
		}
		for _, a := range t.commit.Audit {
			out = append(out, g.seen.audit.append(a))
		}
		if t.commit.Positions > 0 {
			entry.Commits = append(entry.Commits, Applied{
				First: t.first, Last: t.last, Touched: t.commit.Touch, Attachment: t.commit.Attachment,
			})
		}
	}
	for _, head := range heads {
		out = append(out, head)
	}
	if len(entry.Commits) > 0 {
		g.entry = entry
		out = append(out, entry.statement(g.db))
	}
	return out, nil
}

// onceEvent is the event that a commit with a transaction key makes.
func (c *Commit) onceEvent() id.EventID {
	for _, row := range c.Write {
		if t, ok := row.(*Transaction); ok {
			return t.EventID
		}
	}
	return ""
}
