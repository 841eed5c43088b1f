package render

import (
	"context"
	"encoding/json"

	"entente/roomserver"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// threadSummary is what is said of a thread at its root.
//
// Spec: client-server-api/#server-side-aggregation-of-mthread-relationships
type threadSummary struct {
	Latest       json.RawMessage `json:"latest_event"`
	Count        int64           `json:"count"`
	Participated bool            `json:"current_user_participated"`
}

type reference struct {
	EventID id.EventID `json:"event_id"`
}

type references struct {
	Chunk []reference `json:"chunk"`
}

// Aggregate sets what is said of the events that relate to these.
//
// Spec: client-server-api/#aggregations-of-child-events
func (r *Renderer) Aggregate(ctx context.Context, info *storage.RoomInfo, to *For, events []*storage.Event) error {
	found, err := r.Rooms.Aggregations(ctx, info, to.Viewer, events)
	if err != nil || len(found) == 0 {
		return err
	}
	relations := make(map[event.NID]json.RawMessage, len(found))
	for _, e := range events {
		if a := found[e.PDU.ID()]; a != nil {
			if relations[e.NID], err = r.aggregation(ctx, info, to, a); err != nil {
				return err
			}
		}
	}
	to.Relations = relations
	return nil
}

// aggregation is the value of m.relations.
func (r *Renderer) aggregation(ctx context.Context, info *storage.RoomInfo, to *For, a *roomserver.Aggregation) (json.RawMessage, error) {
	var out struct {
		Replace    json.RawMessage `json:"m.replace,omitempty"`
		Thread     *threadSummary  `json:"m.thread,omitempty"`
		References *references     `json:"m.reference,omitempty"`
	}
	var err error
	if a.Replacement != nil {
		if out.Replace, err = r.AppendOne(ctx, nil, info, to, a.Replacement); err != nil {
			return nil, err
		}
	}
	if a.Latest != nil {
		out.Thread = &threadSummary{Count: a.Count, Participated: a.Participated}
		if out.Thread.Latest, err = r.AppendOne(ctx, nil, info, to, a.Latest); err != nil {
			return nil, err
		}
	}
	if len(a.References) > 0 {
		out.References = &references{}
		for _, eventID := range a.References {
			out.References.Chunk = append(out.References.Chunk, reference{eventID})
		}
	}
	return json.Marshal(out)
}
