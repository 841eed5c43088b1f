package roomserver

import (
	"context"

	"entente/internal/fault"
	"entente/storage"
)

func (s *Server) joinRemote(context.Context, MemberRequest) error   { return s.unreachable() }
func (s *Server) inviteRemote(context.Context, MemberRequest) error { return s.unreachable() }
func (s *Server) knockRemote(context.Context, MemberRequest) error  { return s.unreachable() }
func (s *Server) leaveRemote(context.Context, MemberRequest, *storage.Member) error {
	return s.unreachable()
}

func (s *Server) unreachable() error {
	return fault.New(fault.Unreachable, "No server in the room can be reached")
}
