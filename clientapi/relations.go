package clientapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"

	"entente/clientapi/render"
	"entente/internal/fault"
	"entente/internal/web"
	"entente/roomserver"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// relationsAnswer is a page of the events that relate to one.
type relationsAnswer struct {
	Chunk          json.RawMessage `json:"chunk"`
	NextBatch      string          `json:"next_batch,omitempty"`
	PrevBatch      string          `json:"prev_batch,omitempty"`
	RecursionDepth int             `json:"recursion_depth,omitempty"`
}

func (s *Server) getRelations(ctx context.Context, c *web.Call) (any, error) {
	return s.relations(ctx, c, "", "")
}

func (s *Server) getRelationsOfType(ctx context.Context, c *web.Call) (any, error) {
	return s.relations(ctx, c, c.Path("relType"), "")
}

func (s *Server) getRelationsOfEventType(ctx context.Context, c *web.Call) (any, error) {
	return s.relations(ctx, c, c.Path("relType"), c.Path("eventType"))
}

// relations pages through the events that relate to an event.
func (s *Server) relations(ctx context.Context, c *web.Call, relType, eventType string) (any, error) {
	recurse, err := c.QueryBool("recurse", false)
	if err != nil {
		return nil, err
	}
	v, of, err := s.lookAtEvent(ctx, c)
	if err != nil {
		return nil, err
	}
	p, err := s.readPage(ctx, c, v)
	if err != nil {
		return nil, err
	}
	targets, err := s.rooms.RelatedTo(ctx, v.info, of.PDU.ID(), recurse)
	if err != nil {
		return nil, err
	}
	p.Related = &storage.Relation{To: targets, Type: relType}
	p.Match = func(e *storage.Event) bool { return eventType == "" || e.PDU.Type() == eventType }
	got, err := s.rooms.History(ctx, v.info, v.viewer, p.HistoryRequest)
	if err != nil {
		return nil, err
	}
	answer := relationsAnswer{PrevBatch: c.QueryString("from")}
	if got.More {
		answer.NextBatch = s.token(got.End)
	}
	if recurse {
		answer.RecursionDepth = roomserver.RelationDepth()
	}
	answer.Chunk, err = s.timeline(ctx, v, got.Events)
	return answer, err
}

// maxThreads bounds a page of threads.
const maxThreads = 100

// getThreads pages through the roots of a room's threads.
func (s *Server) getThreads(ctx context.Context, c *web.Call) (any, error) {
	include, err := c.QueryEnum("include", "all", "all", "participated")
	if err != nil {
		return nil, err
	}
	limit, err := c.QueryInt("limit", pageSize, 1, maxThreads)
	if err != nil {
		return nil, err
	}
	v, err := s.look(ctx, c)
	if err != nil {
		return nil, err
	}
	from, err := parseThread(c.QueryString("from"))
	if err != nil {
		return nil, err
	}
	roots, next, err := s.rooms.Threads(ctx, v.info, v.viewer, from, include == "participated", int(limit))
	if err != nil {
		return nil, err
	}
	chunk, err := s.timeline(ctx, v, roots)
	answer := relationsAnswer{Chunk: chunk}
	if next != nil {
		answer.NextBatch = threadToken(next)
	}
	return answer, err
}

// threadToken names the place after a thread in the list of threads.
func threadToken(t *storage.Thread) string {
	return "h1." + strconv.FormatInt(t.Latest, 36) + "." + base64.RawURLEncoding.EncodeToString([]byte(t.Root))
}

// parseThread reads what threadToken wrote; nil is the beginning.
func parseThread(text string) (*storage.Thread, error) {
	if text == "" {
		return nil, nil
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 || parts[0] != "h1" {
		return nil, fault.New(fault.InvalidParam, "from is not a token of this list")
	}
	latest, err := strconv.ParseInt(parts[1], 36, 64)
	root, failed := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || failed != nil {
		return nil, fault.New(fault.InvalidParam, "from is not a token of this list")
	}
	return &storage.Thread{Root: id.EventID(root), Latest: latest}, nil
}

// timeline renders events as list does, with what is said of the events that
// relate to them.
//
// Spec: client-server-api/#aggregations-of-child-events
func (s *Server) timeline(ctx context.Context, v *sight, events []*storage.Event) (json.RawMessage, error) {
	to, err := s.aggregated(ctx, v, events)
	if err != nil {
		return nil, err
	}
	return s.render.AppendList(ctx, nil, v.info, to, events)
}

// one renders one event as timeline does.
func (s *Server) one(ctx context.Context, v *sight, e *storage.Event) (json.RawMessage, error) {
	to, err := s.aggregated(ctx, v, []*storage.Event{e})
	if err != nil {
		return nil, err
	}
	return s.render.AppendOne(ctx, nil, v.info, to, e)
}

// aggregated says whom events are rendered for, with their aggregations.
func (s *Server) aggregated(ctx context.Context, v *sight, events []*storage.Event) (*render.For, error) {
	to := v.to()
	return to, s.render.Aggregate(ctx, v.info, to, events)
}
