package storage

import (
	"context"

	"maunium.net/go/mautrix/id"
)

// Relation chooses events by what they relate to.
type Relation struct {
	// To are the events that they relate to.
	To []id.EventID
	// Type is the kind of relation; empty is any.
	Type string
}

const (
	relatedWhere  = ` FROM event WHERE room = $1 AND rel_to = ANY($2) AND ($3 = '' OR rel_type = $3) AND status = 1`
	selectRelBack = `SELECT ` + eventColumns + relatedWhere + ` AND (depth, nid) <= ($4, $5) AND (pos IS NULL OR pos < $6)
		ORDER BY depth DESC, nid DESC LIMIT $7`
	selectRelForward = `SELECT ` + eventColumns + relatedWhere + ` AND (depth, nid) > ($4, $5) AND (pos IS NULL OR pos < $6)
		ORDER BY depth, nid LIMIT $7`
	selectRelated = `SELECT event_id` + relatedWhere + ` ORDER BY depth, nid LIMIT $4`
	// selectLatest finds the last event of each relation's target.
	selectLatest = `SELECT ` + eventColumns + ` FROM (SELECT ` + eventColumns + `, ROW_NUMBER() OVER (PARTITION BY rel_to ORDER BY depth DESC, nid DESC) AS place` +
		relatedWhere + `) AS ranked WHERE place = 1`
	selectRelCounts = `SELECT rel_to, COUNT(*), MAX(CASE WHEN sender = $4 THEN 1 ELSE 0 END)` + relatedWhere + ` GROUP BY rel_to`
	selectRelKinds  = `SELECT DISTINCT rel_type` + relatedWhere
	selectThreads   = `SELECT rel_to, latest FROM (SELECT rel_to, MAX(depth) AS latest, MAX(CASE WHEN sender = $2 THEN 1 ELSE 0 END) AS took_part
		FROM event WHERE room = $1 AND rel_to IS NOT NULL AND rel_type = 'm.thread' AND status = 1 GROUP BY rel_to) AS threads
		WHERE (latest < $3 OR latest = $3 AND rel_to > $4) AND took_part >= $5 ORDER BY latest DESC, rel_to LIMIT $6`
)

// RelatedBack reads up to limit related events going back in a room's history.
func (v *View) RelatedBack(ctx context.Context, room *RoomInfo, r Relation, from HistoryRange, limit int) ([]*Event, error) {
	return v.related(ctx, room, selectRelBack, r, from, limit)
}

// RelatedForward reads up to limit related events going forward.
func (v *View) RelatedForward(ctx context.Context, room *RoomInfo, r Relation, from HistoryRange, limit int) ([]*Event, error) {
	return v.related(ctx, room, selectRelForward, r, from, limit)
}

func (v *View) related(ctx context.Context, room *RoomInfo, sql string, r Relation, from HistoryRange, limit int) ([]*Event, error) {
	return v.events(ctx, room, sql, int64(room.NID), texts(r.To), r.Type, from.Depth, int64(from.NID), from.below(), int64(limit))
}

// Related lists up to limit events that relate to others, the oldest first.
func (v *View) Related(ctx context.Context, room RoomNID, r Relation, limit int) ([]id.EventID, error) {
	var out []id.EventID
	err := each(ctx, v.q, selectRelated, []any{int64(room), texts(r.To), r.Type, int64(limit)}, func(row rowScanner) error {
		var eventID id.EventID
		err := row.Scan((*string)(&eventID))
		out = append(out, eventID)
		return err
	})
	return out, err
}

// LatestRelated reads the last related event of each target.
func (v *View) LatestRelated(ctx context.Context, room *RoomInfo, r Relation) ([]*Event, error) {
	return v.events(ctx, room, selectLatest, int64(room.NID), texts(r.To), r.Type)
}

// RelationCount counts the events that relate to one.
type RelationCount struct {
	Count int64
	// Own reports whether the user in question sent one.
	Own bool
}

// CountRelated counts the related events of each target.
func (v *View) CountRelated(ctx context.Context, room RoomNID, r Relation, user id.UserID) (map[id.EventID]RelationCount, error) {
	nid, _, err := v.userNumber(ctx, user)
	if err != nil {
		return nil, err
	}
	out := map[id.EventID]RelationCount{}
	err = each(ctx, v.q, selectRelCounts, []any{int64(room), texts(r.To), r.Type, nid}, func(row rowScanner) error {
		var to string
		var own int64
		var c RelationCount
		err := row.Scan(&to, &c.Count, &own)
		c.Own = own > 0
		out[id.EventID(to)] = c
		return err
	})
	return out, err
}

// RelationKinds tells which kinds of relation there are to any of the events.
func (v *View) RelationKinds(ctx context.Context, room RoomNID, to []id.EventID) (map[string]bool, error) {
	out := map[string]bool{}
	err := each(ctx, v.q, selectRelKinds, []any{int64(room), texts(to), ""}, func(row rowScanner) error {
		var kind string
		err := row.Scan(&kind)
		out[kind] = true
		return err
	})
	return out, err
}

// Thread is a thread of a room.
type Thread struct {
	Root id.EventID
	// Latest is the depth of its last event.
	Latest int64
}

// Threads lists up to limit threads of a room, those with the latest events
// first, after one of the list. participant, if not empty, must have taken
// part.
func (v *View) Threads(ctx context.Context, room RoomNID, after Thread, participant id.UserID, limit int) ([]Thread, error) {
	least := int64(0)
	nid, known, err := int64(0), true, error(nil)
	if participant != "" {
		least = 1
		if nid, known, err = v.userNumber(ctx, participant); err != nil || !known {
			return nil, err
		}
	}
	var out []Thread
	err = each(ctx, v.q, selectThreads, []any{int64(room), nid, after.Latest, string(after.Root), least, int64(limit)}, func(row rowScanner) error {
		var t Thread
		err := row.Scan((*string)(&t.Root), &t.Latest)
		out = append(out, t)
		return err
	})
	return out, err
}
