package clientapi

import (
	"context"

	"entente/clientapi/syncapi"
	"entente/internal/fault"
	"entente/internal/web"
)

func (s *Server) postReceipt(ctx context.Context, c *web.Call) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	read, err := c.EventID("eventId")
	if err != nil {
		return nil, err
	}
	var form struct {
		Thread *string `json:"thread_id"`
	}
	if err := c.DecodeOptional(&form); err != nil {
		return nil, err
	}
	var mark syncapi.Mark
	switch c.Path("receiptType") {
	case "m.read":
		mark.Read = read
	case "m.read.private":
		mark.Private = read
	case "m.fully_read":
		mark.FullyRead = read
	default:
		return nil, fault.New(fault.InvalidParam, "The receipt type is m.read, m.read.private or m.fully_read")
	}
	if form.Thread != nil {
		if *form.Thread == "" || mark.FullyRead != "" {
			return nil, fault.New(fault.InvalidParam, "thread_id is empty, or with a type that has no threads")
		}
		mark.Thread = *form.Thread
	}
	return web.Empty, s.sync.Read(ctx, room, c.User(), mark)
}
