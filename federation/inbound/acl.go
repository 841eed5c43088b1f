package inbound

import (
	"context"
	"sync/atomic"

	"entente/internal/fault"
	"entente/internal/lru"
	"entente/roomserver/auth"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

const typeServerACL = "m.room.server_acl"

// acls caches the server ACLs of rooms. They are forgotten when the state of
// their room changes.
type acls struct {
	cache   *lru.Cache[storage.RoomNID, *auth.ServerACL]
	changes atomic.Int64 // counts forgettings, so that none is undone by a slow reader
}

func newACLs() *acls {
	return &acls{cache: lru.New[storage.RoomNID](aclsKept, func(*auth.ServerACL) int { return 1 })}
}

func (a *acls) forget(room storage.RoomNID) {
	a.changes.Add(1)
	a.cache.Remove(room)
}

// admit refuses a server that a room's ACL denies. A room that this server was
// never in has none.
//
// Spec: server-server-api/#server-access-control-lists-acls
func (s *Server) admit(ctx context.Context, info *storage.RoomInfo, server string) error {
	acl, ok := s.acls.cache.Get(info.NID)
	if !ok {
		before := s.acls.changes.Load()
		var err error
		if acl, err = s.readACL(ctx, info); err != nil {
			return err
		}
		s.acls.cache.Put(info.NID, acl)
		if s.acls.changes.Load() != before {
			s.acls.cache.Remove(info.NID)
		}
	}
	if !acl.Admits(server) {
		s.metrics.denied.Inc()
		return fault.New(fault.Forbidden, "The room's access control list denies %s", server)
	}
	return nil
}

func (s *Server) readACL(ctx context.Context, info *storage.RoomInfo) (*auth.ServerACL, error) {
	root, err := s.rooms.CurrentRoot(ctx, info)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found, err := s.rooms.StateEvents(ctx, info, root, []event.Key{{Type: typeServerACL}})
	if err != nil || found[0] == nil {
		return nil, err
	}
	return auth.ParseServerACL(event.Value(found[0].PDU.Content())), nil
}

// admitTo is admit for a room ID, which this server may not have heard of.
func (s *Server) admitTo(ctx context.Context, room id.RoomID, server string) error {
	info, err := s.rooms.Info(ctx, room)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.admit(ctx, info, server)
}
