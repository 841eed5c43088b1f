package storage

import (
	"context"

	"maunium.net/go/mautrix/id"
)

// Destination is how far a peer has what we must send it. As a Row it is
// written under the epoch of the lease of whoever sends; a row that was written
// under a later one stays as it is.
type Destination struct {
	Server string
	// Cursor: up to this position the peer has everything, or is not to get it.
	Cursor Position
	// Newest is the position of the last event that it must get.
	Newest Position
	// Failures counts attempts since the last success.
	Failures int64
	// RetryAt and Succeeded are in milliseconds since 1970.
	RetryAt, Succeeded int64
	// Epoch is that of the lease.
	Epoch int64
}

const (
	upsertDestination = `INSERT INTO destination (server, cursor, newest, failures, retry_at, succeeded, epoch) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (server) DO UPDATE SET cursor = excluded.cursor, failures = excluded.failures, retry_at = excluded.retry_at,
		succeeded = excluded.succeeded, epoch = excluded.epoch,
		newest = CASE WHEN destination.newest < excluded.newest THEN excluded.newest ELSE destination.newest END
		WHERE destination.epoch <= excluded.epoch`
	raiseNewest = `INSERT INTO destination (server, cursor, newest, failures, retry_at, succeeded, epoch) VALUES ($1, $2, $3, 0, 0, 0, 0)
		ON CONFLICT (server) DO UPDATE SET newest = excluded.newest WHERE destination.newest < excluded.newest`
	upsertScanned = `INSERT INTO destination_scan (id, pos) VALUES (1, $1)
		ON CONFLICT (id) DO UPDATE SET pos = excluded.pos WHERE destination_scan.pos < excluded.pos`
	selectScanned    = `SELECT pos FROM destination_scan WHERE id = 1`
	destinationTable = `SELECT s.name, d.cursor, d.newest, d.failures, d.retry_at, d.succeeded, d.epoch
		FROM destination d JOIN server_name s ON s.nid = d.server `
	selectDestination = destinationTable + `WHERE s.name = $1`
	selectBehind      = destinationTable + `WHERE d.cursor < d.newest`
	selectOutgoing    = `SELECT pos, dests FROM event WHERE pos > $1 AND pos <= $2 AND dests IS NOT NULL ORDER BY pos LIMIT $3`
	selectOutgoingAt  = `SELECT pos, event_id, json FROM event WHERE pos = ANY($1) AND dests IS NOT NULL ORDER BY pos`
)

func (d *Destination) write(w *writer) {
	w.exec(upsertDestination, w.number(servers, d.Server), int64(d.Cursor), int64(d.Newest), d.Failures, d.RetryAt, d.Succeeded, d.Epoch)
}

// DestinationNewest notes that a peer must get an event. A peer that is new
// has nothing from First on.
type DestinationNewest struct {
	Server        string
	First, Newest Position
}

func (d *DestinationNewest) write(w *writer) {
	w.exec(raiseNewest, w.number(servers, d.Server), int64(d.First)-1, int64(d.Newest))
}

// DestinationsScanned notes up to where events were looked through for
// destinations. It is written with what was found.
type DestinationsScanned struct{ Pos Position }

func (d *DestinationsScanned) write(w *writer) { w.exec(upsertScanned, int64(d.Pos)) }

// DestinationsScanned is the position that was noted last; zero if none was.
func (v *View) DestinationsScanned(ctx context.Context) (pos Position, err error) {
	_, err = one(ctx, v.q, selectScanned, nil, (*int64)(&pos))
	return pos, err
}

// Destination finds what is known of a peer; nil when nothing is.
func (v *View) Destination(ctx context.Context, server string) (*Destination, error) {
	found, err := v.destinations(ctx, selectDestination, server)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

// Behind lists the peers that do not have everything yet, in no order.
func (v *View) Behind(ctx context.Context) ([]*Destination, error) {
	return v.destinations(ctx, selectBehind)
}

func (v *View) destinations(ctx context.Context, sql string, args ...any) (out []*Destination, err error) {
	err = each(ctx, v.q, sql, args, func(r rowScanner) error {
		var d Destination
		err := r.Scan(&d.Server, (*int64)(&d.Cursor), (*int64)(&d.Newest), &d.Failures, &d.RetryAt, &d.Succeeded, &d.Epoch)
		out = append(out, &d)
		return err
	})
	return out, err
}

// Outgoing is an event that must be sent to peers.
type Outgoing struct {
	Pos Position
	To  Servers
}

// Outgoing lists at most limit events after one position and up to another
// that must be sent, in order.
func (v *View) Outgoing(ctx context.Context, after, upTo Position, limit int) ([]Outgoing, error) {
	var out []Outgoing
	var sets []int64 // parallel to out
	err := each(ctx, v.q, selectOutgoing, []any{int64(after), int64(upTo), limit}, func(r rowScanner) error {
		var o Outgoing
		var set int64
		err := r.Scan((*int64)(&o.Pos), &set)
		out, sets = append(out, o), append(sets, set)
		return err
	})
	if err != nil {
		return nil, err
	}
	names, err := v.db.interner.resolve(ctx, v.q, serverSets, sets)
	for i := range out {
		out[i].To = Servers(names[sets[i]])
	}
	return out, err
}

// OutgoingEvent is an event as it is sent.
type OutgoingEvent struct {
	Pos  Position
	ID   id.EventID
	JSON []byte
}

// OutgoingEvents reads events that must be sent by their positions, in order.
func (v *View) OutgoingEvents(ctx context.Context, at []Position) ([]OutgoingEvent, error) {
	out := make([]OutgoingEvent, 0, len(at))
	err := each(ctx, v.q, selectOutgoingAt, []any{numbers(at)}, func(r rowScanner) error {
		var e OutgoingEvent
		var raw []byte
		err := r.Scan((*int64)(&e.Pos), (*string)(&e.ID), &raw)
		if err == nil {
			e.JSON, err = decodeJSON(raw)
		}
		out = append(out, e)
		return err
	})
	return out, err
}
