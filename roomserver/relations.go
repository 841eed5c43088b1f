package roomserver

import (
	"context"
	"math"

	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// The kinds of relation that are aggregated.
const (
	RelThread    = "m.thread"
	RelReplace   = "m.replace"
	RelReference = "m.reference"
)

const (
	relationDepth = 3   // how far relations of relations are followed
	relationsKept = 200 // how many events of one step are followed
)

// RelatedTo finds the events that relations are looked for at: the event, and
// if recurse is set those that relate to it, and so on for some steps.
//
// Spec: client-server-api/#get_matrixclientv1roomsroomidrelationseventid
func (s *Server) RelatedTo(ctx context.Context, info *storage.RoomInfo, eventID id.EventID, recurse bool) ([]id.EventID, error) {
	all := []id.EventID{eventID}
	if !recurse {
		return all, nil
	}
	step := all
	for range relationDepth - 1 {
		next, err := s.db.Latest().Related(ctx, info.NID, storage.Relation{To: step}, relationsKept)
		if err != nil || len(next) == 0 {
			return all, err
		}
		all, step = append(all, next...), next
	}
	return all, nil
}

// RelationDepth is how far RelatedTo follows relations.
func RelationDepth() int { return relationDepth }

// Threads lists threads of a room, those with the latest events first, and
// reads their roots. Those whose root the viewer may not see are left out.
//
// Spec: client-server-api/#get_matrixclientv1roomsroomidthreads
func (s *Server) Threads(ctx context.Context, info *storage.RoomInfo, v Viewer, after *storage.Thread, participated bool, limit int) (roots []*storage.Event, next *storage.Thread, err error) {
	if after == nil {
		after = &storage.Thread{Latest: math.MaxInt64}
	}
	var participant id.UserID
	if participated {
		participant = v.User
	}
	threads, err := s.db.Latest().Threads(ctx, info.NID, *after, participant, limit+1)
	if err != nil {
		return nil, nil, err
	}
	if len(threads) > limit {
		threads = threads[:limit]
		next = &threads[limit-1]
	}
	ids := make([]id.EventID, len(threads))
	for i, t := range threads {
		ids[i] = t.Root
	}
	found, err := s.eventsByID(ctx, info, ids)
	if err != nil {
		return nil, nil, err
	}
	for _, eventID := range ids {
		if e := found[eventID]; e != nil {
			roots = append(roots, e)
		}
	}
	visible, err := s.VisibleTo(ctx, info, v, roots)
	kept := roots[:0]
	for i, ok := range visible {
		if ok {
			kept = append(kept, roots[i])
		}
	}
	return kept, next, err
}

// Aggregation is what this server says of the events that relate to one.
//
// Spec: client-server-api/#aggregations-of-child-events
type Aggregation struct {
	// Replacement is the latest edit; nil is none.
	Replacement *storage.Event
	// Latest is the last event of the thread that it is the root of; nil is none.
	Latest *storage.Event
	// Count is how many events the thread has, and Participated whether the
	// viewer sent one of them.
	Count        int64
	Participated bool
	// References are the events that refer to it.
	References []id.EventID
}

// Aggregations gathers, for events that the viewer sees, what is said of the
// events that relate to them. Events without any are not in the answer.
func (s *Server) Aggregations(ctx context.Context, info *storage.RoomInfo, v Viewer, events []*storage.Event) (map[id.EventID]*Aggregation, error) {
	g := &gathering{server: s, ctx: ctx, info: info, viewer: v, out: map[id.EventID]*Aggregation{}, of: map[id.EventID]*storage.Event{}}
	for _, e := range events {
		if _, isState := e.PDU.StateKey(); !isState && e.RedactedBy == 0 {
			g.ids = append(g.ids, e.PDU.ID())
			g.of[e.PDU.ID()] = e
		}
	}
	if len(g.ids) == 0 {
		return nil, nil
	}
	// Mostly there is nothing: one look at the index tells.
	kinds, err := s.db.Latest().RelationKinds(ctx, info.NID, g.ids)
	if err != nil {
		return nil, err
	}
	for kind, gather := range map[string]func() error{RelThread: g.threads, RelReplace: g.replacements, RelReference: g.references} {
		if !kinds[kind] {
			continue
		}
		if err := gather(); err != nil {
			return nil, err
		}
	}
	return g.out, nil
}

// gathering is the aggregation of a number of events.
type gathering struct {
	server *Server
	ctx    context.Context
	info   *storage.RoomInfo
	viewer Viewer
	ids    []id.EventID
	of     map[id.EventID]*storage.Event
	out    map[id.EventID]*Aggregation
}

func (g *gathering) at(eventID id.EventID) *Aggregation {
	a := g.out[eventID]
	if a == nil {
		a = &Aggregation{}
		g.out[eventID] = a
	}
	return a
}

func (g *gathering) relation(kind string) storage.Relation {
	return storage.Relation{To: g.ids, Type: kind}
}

func (g *gathering) threads() error {
	view := g.server.db.Latest()
	latest, err := view.LatestRelated(g.ctx, g.info, g.relation(RelThread))
	if err != nil {
		return err
	}
	counts, err := view.CountRelated(g.ctx, g.info.NID, g.relation(RelThread), g.viewer.User)
	if err != nil {
		return err
	}
	visible, err := g.server.VisibleTo(g.ctx, g.info, g.viewer, latest)
	if err != nil {
		return err
	}
	for i, e := range latest {
		if visible[i] {
			a := g.at(e.RelTo)
			a.Latest, a.Count, a.Participated = e, counts[e.RelTo].Count, counts[e.RelTo].Own || g.of[e.RelTo].PDU.Sender() == g.viewer.User
		}
	}
	return nil
}

// replacementsKept bounds the edits that are looked through, and references
// the references that are listed.
const (
	replacementsKept = 500
	referencesKept   = 100
)

// replacements finds the latest valid edit of each event.
//
// Spec: client-server-api/#validity-of-replacement-events
func (g *gathering) replacements() error {
	all, err := g.server.db.Latest().RelatedBack(g.ctx, g.info, g.relation(RelReplace), everything(), replacementsKept)
	if err != nil {
		return err
	}
	visible, err := g.server.VisibleTo(g.ctx, g.info, g.viewer, all)
	if err != nil {
		return err
	}
	for i, e := range all {
		if !visible[i] || !replaces(e, g.of[e.RelTo]) {
			continue
		}
		if a := g.at(e.RelTo); a.Replacement == nil || laterEdit(e.PDU, a.Replacement.PDU) {
			a.Replacement = e
		}
	}
	return nil
}

// replaces reports whether an edit of an event is valid.
func replaces(edit, of *storage.Event) bool {
	_, isState := edit.PDU.StateKey()
	return !isState && edit.RedactedBy == 0 && of.RelType != RelReplace && edit.PDU.Sender() == of.PDU.Sender() && edit.PDU.Type() == of.PDU.Type() &&
		(edit.Flags&storage.Encrypted != 0 || event.Value(edit.PDU.Content()).Get("m.new_content") != nil)
}

// laterEdit orders edits as servers and clients agree to: by the sender's
// clock, then by ID.
func laterEdit(a, b *event.PDU) bool {
	if a.Timestamp() != b.Timestamp() {
		return a.Timestamp() > b.Timestamp()
	}
	return a.ID() > b.ID()
}

func (g *gathering) references() error {
	all, err := g.server.db.Latest().RelatedForward(g.ctx, g.info, g.relation(RelReference), storage.HistoryRange{}, replacementsKept)
	if err != nil {
		return err
	}
	visible, err := g.server.VisibleTo(g.ctx, g.info, g.viewer, all)
	if err != nil {
		return err
	}
	for i, e := range all {
		if a := g.at(e.RelTo); visible[i] && len(a.References) < referencesKept {
			a.References = append(a.References, e.PDU.ID())
		}
	}
	return nil
}

// everything is all of a room's history, going back.
func everything() storage.HistoryRange {
	return storage.HistoryRange{Depth: math.MaxInt64, NID: math.MaxInt64}
}
