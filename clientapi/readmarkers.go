package clientapi

import (
	"context"

	"maunium.net/go/mautrix/id"

	"entente/clientapi/syncapi"
	"entente/internal/fault"
	"entente/internal/web"
)

func (s *Server) postReadMarkers(ctx context.Context, c *web.Call) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	var form struct {
		FullyRead id.EventID `json:"m.fully_read"`
		Read      id.EventID `json:"m.read"`
		Private   id.EventID `json:"m.read.private"`
	}
	if err := c.Decode(&form); err != nil {
		return nil, err
	}
	for _, e := range []id.EventID{form.FullyRead, form.Read, form.Private} {
		if e != "" && !web.ValidEventID(string(e)) {
			return nil, fault.New(fault.InvalidParam, "%q is not an event ID", e)
		}
	}
	mark := syncapi.Mark{FullyRead: form.FullyRead, Read: form.Read, Private: form.Private}
	return web.Empty, s.sync.Read(ctx, room, c.User(), mark)
}
