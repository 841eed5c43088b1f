package main

import (
	"context"
	"time"

	"entente/clientapi/syncapi"
	"entente/federation/inbound"
	"entente/federation/sender"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// ephemeral takes what peers say of their users.
func (s *server) ephemeral() *inbound.EDUs {
	e := &inbound.EDUs{
		Typing: func(_ context.Context, room *storage.RoomInfo, user id.UserID, typing bool) error {
			s.sync.SetTyping(room.NID, user, typing)
			return nil
		},
		Receipts: func(ctx context.Context, receipts []inbound.Receipt) error {
			rows := make([]storage.Receipt, len(receipts))
			for i, r := range receipts {
				rows[i] = storage.Receipt{Room: r.Room.NID, User: r.User, Thread: r.Thread, EventID: r.EventID, Timestamp: r.Timestamp}
			}
			return s.sync.AddReceipts(ctx, rows)
		},
	}
	if s.cfg.Federation.Presence {
		e.Presence = func(_ context.Context, updates []inbound.Presence) error {
			for _, p := range updates {
				s.sync.ReceivePresence(syncapi.Presence{
					User: p.User, State: p.Presence, Message: p.StatusMsg, Active: p.CurrentlyActive,
					LastActive: time.Now().Add(-time.Duration(min(max(p.LastActiveAgo, 0), 1<<40)) * time.Millisecond),
				})
			}
			return nil
		}
	}
	return e
}

// newSync builds what tells clients what changed, and peers what its users do.
func (s *server) newSync(o syncapi.Options) *syncapi.Server {
	o.OnTyping = func(ctx context.Context, room *storage.RoomInfo, user id.UserID, typing bool) {
		to, err := s.sender.InRoom(ctx, room.NID)
		if err != nil {
			s.log.Warn("typing is not told to other servers", "room", room.ID, "error", err)
			return
		}
		s.sender.Typing(to, room.ID, user, typing)
	}
	o.OnReceipt = func(ctx context.Context, room *storage.RoomInfo, r storage.Receipt) {
		to, err := s.sender.InRoom(ctx, room.NID)
		if err != nil {
			s.log.Warn("a receipt is not told to other servers", "room", room.ID, "error", err)
			return
		}
		s.sender.Receipt(to, sender.Receipt{Room: room.ID, User: r.User, EventID: r.EventID, Timestamp: r.Timestamp, Thread: r.Thread})
	}
	if s.cfg.Federation.Presence {
		o.OnPresence = func(p syncapi.Presence) {
			s.later(context.Background(), "tell other servers of presence", func(ctx context.Context) error { return s.tellPresence(ctx, p) })
		}
	}
	return syncapi.New(o)
}

// tellPresence tells the servers that share a room with a user what they do.
func (s *server) tellPresence(ctx context.Context, p syncapi.Presence) error {
	members, err := s.db.Latest().UserRooms(ctx, p.User, storage.Join)
	if err != nil {
		return err
	}
	var to storage.Servers
	for _, m := range members {
		servers, err := s.sender.InRoom(ctx, m.Room)
		if err != nil {
			return err
		}
		for _, name := range servers.Names() {
			to = to.With(name)
		}
	}
	s.sender.Presence(to, sender.Presence{
		User: p.User, Presence: p.State, StatusMsg: p.Message, CurrentlyActive: p.Active, LastActiveAgo: time.Since(p.LastActive).Milliseconds(),
	})
	return nil
}
