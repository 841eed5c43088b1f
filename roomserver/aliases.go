package roomserver

import (
	"context"
	"errors"
	"slices"
	"strings"

	"entente/internal/fault"
	"entente/roomserver/auth"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// AliasTarget is what an alias points to.
type AliasTarget struct {
	Room id.RoomID
	// Servers are servers that are in the room or know of the alias.
	Servers []string
}

// maxAliasServers bounds the servers that a directory answer names.
const maxAliasServers = 50

// ResolveAlias finds the room of an alias, by its own server if that is not
// this one.
//
// Spec: client-server-api/#get_matrixclientv3directoryroomroomalias
func (s *Server) ResolveAlias(ctx context.Context, alias id.RoomAlias) (AliasTarget, error) {
	server := serverOfAlias(alias)
	if server == s.name {
		return s.LocalAlias(ctx, alias)
	}
	if s.peers == nil {
		return AliasTarget{}, noAlias(alias)
	}
	answer, err := s.peers.QueryDirectory(ctx, server, alias)
	if err != nil {
		return AliasTarget{}, err
	}
	if !strings.HasPrefix(string(answer.RoomID), "!") {
		return AliasTarget{}, noAlias(alias)
	}
	servers := answer.Servers[:min(len(answer.Servers), maxAliasServers)]
	if !slices.Contains(servers, server) {
		servers = append(slices.Clip(servers), server)
	}
	return AliasTarget{Room: answer.RoomID, Servers: servers}, nil
}

// LocalAlias finds the room of an alias of this server.
//
// Spec: server-server-api/#get_matrixfederationv1querydirectory
func (s *Server) LocalAlias(ctx context.Context, alias id.RoomAlias) (AliasTarget, error) {
	found, err := s.db.Latest().Alias(ctx, alias)
	if err != nil {
		return AliasTarget{}, err
	}
	if found == nil {
		return AliasTarget{}, noAlias(alias)
	}
	info, err := s.InfoOf(ctx, found.Room)
	if err != nil {
		return AliasTarget{}, err
	}
	h, err := s.db.Latest().Head(ctx, info.NID)
	if err != nil {
		return AliasTarget{}, err
	}
	target := AliasTarget{Room: info.ID, Servers: []string{s.name}}
	if h != nil {
		names := h.Destinations.Names()
		target.Servers = append(target.Servers, names[:min(len(names), maxAliasServers-1)]...)
	}
	return target, nil
}

func noAlias(alias id.RoomAlias) error {
	return fault.New(fault.NotFound, "There is no room alias %s", alias)
}

// serverOfAlias is the server name in an alias.
func serverOfAlias(alias id.RoomAlias) string {
	_, server, _ := strings.Cut(string(alias), ":")
	return server
}

// AddAlias makes a local alias for a room that the user is in.
//
// Spec: client-server-api/#put_matrixclientv3directoryroomroomalias
func (s *Server) AddAlias(ctx context.Context, user id.UserID, alias id.RoomAlias, roomID id.RoomID) error {
	if serverOfAlias(alias) != s.name || !event.ValidRoomAlias(alias) {
		return fault.New(fault.InvalidParam, "%s cannot be an alias of this server", alias)
	}
	info, _, err := s.memberOf(ctx, user, roomID)
	if err != nil {
		return err
	}
	taken, err := s.db.Latest().Alias(ctx, alias)
	if err != nil {
		return err
	}
	if taken == nil {
		_, err = s.db.Commit(ctx, storage.Commit{Write: []storage.Row{&storage.Alias{Alias: alias, Room: info.NID, Creator: user}}})
	}
	if taken != nil || errors.Is(err, storage.ErrExists) {
		return fault.New(fault.Conflict, "The alias %s is taken", alias)
	}
	return busy(err)
}

// RemoveAlias removes a local alias: for its creator, for those who may set
// the room's canonical alias, and for administrators.
//
// Spec: client-server-api/#delete_matrixclientv3directoryroomroomalias
func (s *Server) RemoveAlias(ctx context.Context, user id.UserID, admin bool, alias id.RoomAlias) error {
	if serverOfAlias(alias) != s.name {
		return noAlias(alias)
	}
	found, err := s.db.Latest().Alias(ctx, alias)
	if err != nil {
		return err
	}
	if found == nil {
		return noAlias(alias)
	}
	if found.Creator != user && !admin {
		info, err := s.InfoOf(ctx, found.Room)
		if err != nil {
			return err
		}
		if err := s.mayDirect(ctx, user, info.ID); err != nil {
			return err
		}
	}
	_, err = s.db.Commit(ctx, storage.Commit{Write: []storage.Row{&storage.NoAlias{Alias: alias}}})
	return busy(err)
}

// Aliases lists the local aliases of a room.
//
// Spec: client-server-api/#get_matrixclientv3roomsroomidaliases
func (s *Server) Aliases(ctx context.Context, info *storage.RoomInfo) ([]id.RoomAlias, error) {
	found, err := s.db.Latest().Aliases(ctx, info.NID)
	out := make([]id.RoomAlias, len(found))
	for i, a := range found {
		out[i] = a.Alias
	}
	return out, err
}

// memberOf finds a room that the user has joined, and its head. Others are
// told no more than that they are not in it.
func (s *Server) memberOf(ctx context.Context, user id.UserID, roomID id.RoomID) (*storage.RoomInfo, *storage.Head, error) {
	refused := NotInRoom(user)
	info, err := s.Info(ctx, roomID)
	if fault.Is(err, fault.NotFound) {
		return nil, nil, refused
	}
	if err != nil {
		return nil, nil, err
	}
	m, err := s.db.Latest().Member(ctx, info.NID, user)
	if err != nil {
		return nil, nil, err
	}
	if m == nil || m.Membership != storage.Join {
		return nil, nil, refused
	}
	h, err := s.db.Latest().Head(ctx, info.NID)
	if err == nil && h == nil {
		err = refused
	}
	return info, h, err
}

// mayDirect refuses users who may not say how a room is listed: that takes
// the power to set its canonical alias.
func (s *Server) mayDirect(ctx context.Context, user id.UserID, roomID id.RoomID) error {
	info, h, err := s.memberOf(ctx, user, roomID)
	if err != nil {
		return err
	}
	levels, err := s.levelsAt(ctx, info, h)
	if err != nil {
		return err
	}
	if !levels.CanSend(user, typeCanonicalAlias, true) {
		return fault.New(fault.Forbidden, "You need the power to set the room's canonical alias")
	}
	return nil
}

// levelsAt are a room's current power levels.
func (s *Server) levelsAt(ctx context.Context, info *storage.RoomInfo, h *storage.Head) (*auth.PowerLevels, error) {
	found, err := s.stateEvents(ctx, info, h.Root, []event.Key{{Type: typeCreate}, {Type: typePowerLevels}})
	if err != nil {
		return nil, err
	}
	if found[0] == nil {
		return nil, fault.Wrap(ErrNotInRoom, fault.NotFound, "This server is not in the room %s", info.ID)
	}
	var levels *event.PDU
	if found[1] != nil {
		levels = found[1].PDU
	}
	return auth.ParsePowerLevels(found[0].PDU, levels)
}
