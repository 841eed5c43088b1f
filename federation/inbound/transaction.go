package inbound

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"entente/federation/client"
	"entente/internal/fault"
	"entente/internal/web"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// transaction is what a peer pushes.
//
// Spec: server-server-api/#transactions
type transaction struct {
	Origin string            `json:"origin"`
	PDUs   []json.RawMessage `json:"pdus"`
	EDUs   []json.RawMessage `json:"edus"`
}

// check refuses a transaction that is not the origin's, or too large.
func (t *transaction) check(origin string) error {
	if t.Origin != "" && t.Origin != origin {
		return fault.New(fault.Forbidden, "The transaction is of %q, and the request of %s", t.Origin, origin)
	}
	if len(t.PDUs) > client.MaxPDUs || len(t.EDUs) > client.MaxEDUs {
		return fault.New(fault.BadJSON, "A transaction has at most %d PDUs and %d EDUs", client.MaxPDUs, client.MaxEDUs)
	}
	return nil
}

// results say what became of the events of a transaction. Events that were
// processed or staged have no error.
type results map[id.EventID]result

type result struct {
	Error string `json:"error,omitempty"`
}

// putSend takes a transaction. What it answers, it answers again when the same
// transaction comes again.
func (s *Server) putSend(ctx context.Context, c *web.Call) (any, error) {
	origin, txn := c.Origin(), c.Path("txnId")
	leave, err := s.gates.enter(ctx, origin)
	if err != nil {
		s.metrics.limited.Inc()
		return nil, err
	}
	defer leave()
	if answer, err := s.answered(ctx, origin, txn); err != nil || answer != nil {
		return web.Raw(answer), err
	}
	var t transaction
	if err := c.Decode(&t); err != nil {
		return nil, err
	}
	if err := t.check(origin); err != nil {
		return nil, err
	}
	done := results{}
	if err := s.receivePDUs(ctx, origin, t.PDUs, done); err != nil {
		if fault.Is(err, fault.Limited) {
			s.metrics.limited.Inc()
		}
		return nil, err
	}
	if err := s.receiveEDUs(ctx, origin, t.EDUs); err != nil {
		return nil, err
	}
	answer, err := json.Marshal(map[string]results{"pdus": done})
	if err != nil {
		return nil, err
	}
	return web.Raw(answer), s.remember(ctx, origin, txn, answer, len(t.PDUs) > 0)
}

// answered is what a transaction was answered before; nil when it is new. What
// this process answered is in memory; what was answered before it started can
// only be among the first that each peer sends.
func (s *Server) answered(ctx context.Context, origin, txn string) ([]byte, error) {
	answer, ok := s.answers.Get(origin + "\n" + txn)
	if !ok && s.count(origin) <= lookUps {
		var err error
		if answer, err = s.o.DB.Latest().ReceivedTransaction(ctx, origin, txn); err != nil {
			return nil, err
		}
	}
	if answer != nil {
		s.metrics.repeated.Inc()
	}
	return answer, nil
}

const (
	// lookUps is how many transactions of a peer are looked for in the database.
	lookUps = 16
	// maxTransactionID bounds the IDs that are worth remembering.
	maxTransactionID = 255
	// rememberAtOnce is how many answers are written together, unless
	// rememberEvery passed before.
	rememberAtOnce = 256
	rememberEvery  = time.Second
)

// count counts the transactions of a peer since this process started.
func (s *Server) count(origin string) int64 {
	n, ok := s.counts.Get(origin)
	if !ok {
		n = &atomic.Int64{}
		s.counts.Put(origin, n)
	}
	return n.Add(1)
}

// memory holds answers that are not written yet.
type memory struct {
	mu   sync.Mutex
	rows []storage.Row // guarded by mu
}

func (m *memory) take() []storage.Row {
	m.mu.Lock()
	defer m.mu.Unlock()
	rows := m.rows
	m.rows = nil
	return rows
}

// remember keeps what a transaction was answered: what had no events in memory
// only, the rest in the database soon. If that is lost, the events are known
// all the same when they come again.
func (s *Server) remember(ctx context.Context, origin, txn string, answer []byte, durable bool) error {
	if len(txn) > maxTransactionID {
		return nil
	}
	s.answers.Put(origin+"\n"+txn, answer)
	if !durable {
		return nil
	}
	var n int64
	if count, ok := s.counts.Get(origin); ok {
		n = count.Load()
	}
	s.memory.mu.Lock()
	s.memory.rows = append(s.memory.rows, &storage.ReceivedTransaction{Origin: origin, ID: txn, Slot: s.boot + n, Answer: answer})
	full := len(s.memory.rows) >= rememberAtOnce
	s.memory.mu.Unlock()
	if full {
		return s.writeAnswers(ctx)
	}
	return nil
}

// writeAnswers hands what is remembered to the committer, and does not wait.
func (s *Server) writeAnswers(ctx context.Context) error {
	rows := s.memory.take()
	if len(rows) == 0 {
		return nil
	}
	_, err := s.o.DB.Enqueue(ctx, storage.Commit{Write: rows})
	if errors.Is(err, storage.ErrBusy) || errors.Is(err, storage.ErrClosed) {
		return nil
	}
	return err
}

// writeAnswersAgain does so again and again until ctx ends.
func (s *Server) writeAnswersAgain(ctx context.Context) {
	t := time.NewTicker(rememberEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			ctx = context.WithoutCancel(ctx)
			if err := s.writeAnswers(ctx); err != nil {
				s.o.Log.Warn("answers to transactions were not kept", "error", err)
			}
			return
		}
		if err := s.writeAnswers(ctx); err != nil {
			s.o.Log.Warn("answers to transactions were not kept", "error", err)
		}
	}
}

// waitersPerOrigin bounds the transactions of one peer that wait: it should
// send one after another.
const waitersPerOrigin = 8

// gates let the transactions of each peer in one by one, so that its events
// keep their order and no peer takes more than its share.
type gates struct {
	mu       sync.Mutex
	byOrigin map[string]*gate // guarded by mu
}

type gate struct {
	turn  chan struct{}
	users int // guarded by gates.mu
}

func newGates() *gates { return &gates{byOrigin: map[string]*gate{}} }

// enter waits for the origin's turn.
func (g *gates) enter(ctx context.Context, origin string) (leave func(), err error) {
	g.mu.Lock()
	at := g.byOrigin[origin]
	if at == nil {
		at = &gate{turn: make(chan struct{}, 1)}
		g.byOrigin[origin] = at
	}
	if at.users > waitersPerOrigin {
		g.mu.Unlock()
		return nil, limited("Your server sends too many transactions at once", time.Second)
	}
	at.users++
	g.mu.Unlock()
	release := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if at.users--; at.users == 0 {
			delete(g.byOrigin, origin)
		}
	}
	select {
	case at.turn <- struct{}{}:
		return func() { <-at.turn; release() }, nil
	case <-ctx.Done():
		release()
		return nil, ctx.Err()
	}
}

func limited(text string, retry time.Duration) error {
	err := fault.New(fault.Limited, "%s", text)
	err.RetryAfter = retry
	return err
}

// transient reports whether what failed may succeed later. What another server
// did not give us, whatever it said, it or yet another one may give later.
func transient(err error) bool {
	var call *client.Error
	if errors.As(err, &call) {
		return true
	}
	switch fault.KindOf(err) {
	case fault.Internal, fault.Unavailable, fault.Unreachable, fault.Conflict, fault.Limited:
		return true
	}
	return false
}

// public is what the peer may read of an error.
func public(err error) string {
	var f *fault.Error
	if errors.As(err, &f) && f.Kind != fault.Internal {
		return f.Public
	}
	return "The event could not be processed"
}

// received is an event of a peer whose format and content hash are checked.
type received struct {
	pdu  *event.PDU
	room *storage.RoomInfo
	err  error // of its signatures
}
