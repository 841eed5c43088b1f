package sender

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"entente/federation/client"
	"entente/storage"
)

const (
	// maxBytes bounds the events of a transaction, unless one alone is larger.
	maxBytes = 1 << 20
	// scanAtOnce bounds the pages that one step looks through.
	scanAtOnce = 20
	// poisonAfter is how often a peer must refuse one event alone, as the
	// event's fault, before it goes without it.
	poisonAfter = 5
)

// batch is what one transaction carries.
type batch struct {
	events []storage.OutgoingEvent
	edus   []*edu
	// through: with the batch, the destination has everything up to here.
	through storage.Position
	// end is where the log ended when it was read up to there; zero otherwise.
	end storage.Position
	// more: there may be more to read, although nothing was found.
	more bool
}

func (b *batch) empty() bool { return len(b.events) == 0 && len(b.edus) == 0 }

func (b *batch) pdus() []json.RawMessage {
	out := make([]json.RawMessage, len(b.events))
	for i := range b.events {
		out[i] = b.events[i].JSON
	}
	return out
}

func (b *batch) bodies() []json.RawMessage {
	out := make([]json.RawMessage, len(b.edus))
	for i, e := range b.edus {
		out[i] = e.body
	}
	return out
}

// transactionID derives from what is in the transaction: the range of events,
// and the last of the ephemeral data, which this process counts. A retry of
// the same has the same ID.
//
// Spec: server-server-api/#put_matrixfederationv1sendtxnid
func (w *worker) transactionID(b *batch) string {
	var id strings.Builder
	id.WriteString(strconv.FormatInt(w.o.DB.Epoch(), 36))
	if n := len(b.events); n > 0 {
		id.WriteString("." + strconv.FormatInt(int64(b.events[0].Pos), 36) + "." + strconv.FormatInt(int64(b.events[n-1].Pos), 36))
	}
	if n := len(b.edus); n > 0 {
		id.WriteString("." + w.o.DB.Node() + "." + strconv.FormatUint(b.edus[n-1].seq, 36))
	}
	return id.String()
}

// next composes the next transaction.
func (w *worker) next(ctx context.Context) (*batch, error) {
	limit := client.MaxPDUs
	if w.single > 0 {
		limit = 1
	}
	b := &batch{through: w.row.Cursor}
	w.d.mu.Lock()
	behind := w.d.behind
	told := w.d.pending[:min(len(w.d.pending), limit)]
	w.d.mu.Unlock()
	var err error
	if behind {
		err = w.read(ctx, b, limit)
	} else {
		err = w.collect(ctx, b, told)
	}
	if err != nil {
		return nil, err
	}
	b.cut()
	if w.single == 0 || len(b.events) == 0 {
		w.addEDUs(b)
	}
	return b, nil
}

// addEDUs takes ephemeral data along.
func (w *worker) addEDUs(b *batch) {
	w.d.mu.Lock()
	taken := w.d.edus.take(client.MaxEDUs)
	w.d.mu.Unlock()
	for _, e := range taken {
		if w.o.AllowEDU(w.d.name, e.kind) != nil {
			w.metrics.dropped.WithLabelValues("policy").Inc()
			continue
		}
		b.edus = append(b.edus, e)
	}
}

// collect takes the events that the destination was told of: from memory, or
// those that are no more there from the database.
func (w *worker) collect(ctx context.Context, b *batch, told []*outgoing) error {
	if len(told) == 0 {
		return nil
	}
	b.events = make([]storage.OutgoingEvent, 0, len(told))
	at := make([]storage.Position, 0, len(told))
	for _, o := range told {
		at = append(at, o.Pos)
		if e := o.event.Load(); e != nil {
			b.events = append(b.events, *e)
		}
	}
	if len(b.events) < len(told) {
		var err error
		if b.events, err = w.o.DB.Latest().OutgoingEvents(ctx, at); err != nil {
			return err
		}
	}
	b.through = at[len(at)-1]
	return nil
}

// read looks for what follows the cursor in the database.
func (w *worker) read(ctx context.Context, b *batch, limit int) error {
	upTo := w.o.DB.Applied()
	member := map[storage.Servers]bool{}
	var at []storage.Position
	for range scanAtOnce {
		page, err := w.o.DB.Latest().Outgoing(ctx, b.through, upTo, scanPage)
		if err != nil {
			return err
		}
		for _, o := range page {
			mine, known := member[o.To]
			if !known {
				mine = o.To.Has(w.d.name)
				member[o.To] = mine
			}
			b.through = o.Pos
			if mine {
				if at = append(at, o.Pos); len(at) == limit {
					return w.fetch(ctx, b, at)
				}
			}
		}
		if len(page) < scanPage {
			b.through, b.end = max(b.through, upTo), upTo
			return w.fetch(ctx, b, at)
		}
	}
	b.more = true
	return w.fetch(ctx, b, at)
}

func (w *worker) fetch(ctx context.Context, b *batch, at []storage.Position) (err error) {
	if len(at) > 0 {
		b.events, err = w.o.DB.Latest().OutgoingEvents(ctx, at)
	}
	return err
}

// cut leaves out the events that make the transaction too large.
func (b *batch) cut() {
	size := 0
	for i := range b.events {
		size += len(b.events[i].JSON)
		if i > 0 && size > maxBytes {
			b.events = b.events[:i]
			b.through, b.end = b.events[i-1].Pos, 0
			return
		}
	}
}

// failed notes that a transaction failed, and when to try again.
func (w *worker) failed(b *batch, err error) {
	w.metrics.transactions.WithLabelValues("failed").Inc()
	w.d.failing.Store(true)
	w.row.Failures++
	pause := w.backoff(w.row.Failures)
	var e *client.Error
	if errors.As(err, &e) {
		pause = max(pause, min(e.RetryAfter, w.o.LongestBackoff))
		w.suspect(b, e)
	}
	now := w.o.Now()
	w.retryAt = now.Add(pause)
	w.row.RetryAt = w.retryAt.UnixMilli()
	w.save()
	w.o.Log.Info("a server could not be reached", "server", w.d.name, "failures", w.row.Failures, "retry_in", pause, "error", err)
}

// suspect handles a peer that calls the request itself wrong: its events go
// out one by one, and one that is refused again and again is left out, since
// everything behind it would wait for ever.
func (w *worker) suspect(b *batch, e *client.Error) {
	wrong := e.Status == http.StatusBadRequest || e.Status == http.StatusRequestEntityTooLarge
	if !wrong || !strings.HasPrefix(e.Errcode, "M_") || len(b.events) == 0 {
		return
	}
	if w.single == 0 {
		w.single = client.MaxPDUs
		return
	}
	if w.row.Failures < poisonAfter {
		return
	}
	w.metrics.skipped.WithLabelValues("refused").Add(float64(len(b.events)))
	w.o.Log.Warn("a server does not take an event, which it will not get", "server", w.d.name, "event", b.events[0].ID, "error", e)
	w.settle(b)
	w.row.Failures = 0
}
