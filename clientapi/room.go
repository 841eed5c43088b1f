package clientapi

import (
	"context"
	"encoding/json"
	"errors"

	"entente/clientapi/render"
	"entente/internal/fault"
	"entente/internal/web"
	"entente/roomserver"
	"entente/roomserver/state"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// sight is a room as the caller may look at it.
type sight struct {
	info   *storage.RoomInfo
	viewer roomserver.Viewer
	root   state.Root // the state that the caller may read
	device id.DeviceID
}

// hideRoom answers for rooms that do not exist as for rooms that the caller is
// not in.
func hideRoom(c *web.Call, err error) error {
	if errors.Is(err, roomserver.ErrNotInRoom) {
		return roomserver.NotInRoom(c.User())
	}
	return err
}

// noEvent answers alike for events that the caller may not see, events of
// other rooms, and events that do not exist.
func noEvent() error { return fault.New(fault.NotFound, "There is no such event that you may see") }

// look finds the room that the path names, for reading.
func (s *Server) look(ctx context.Context, c *web.Call) (*sight, error) {
	roomID, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	return s.lookAt(ctx, c, roomID)
}

func (s *Server) lookAt(ctx context.Context, c *web.Call, roomID id.RoomID) (*sight, error) {
	info, err := s.rooms.Info(ctx, roomID)
	if err != nil {
		return nil, hideRoom(c, err)
	}
	v := &sight{info: info, device: c.Device()}
	if v.viewer, err = s.rooms.Viewer(ctx, info, c.User()); err != nil {
		return nil, err
	}
	var ok bool
	if v.root, ok, err = s.rooms.Root(ctx, info, v.viewer); err != nil {
		return nil, err
	}
	if !ok {
		return nil, roomserver.NotInRoom(c.User())
	}
	return v, nil
}

// lookAtEvent finds the event that the path names, in the room that it names.
func (s *Server) lookAtEvent(ctx context.Context, c *web.Call) (*sight, *storage.Event, error) {
	eventID, err := c.EventID("eventId")
	if err != nil {
		return nil, nil, err
	}
	v, err := s.look(ctx, c)
	if fault.Is(err, fault.Forbidden) {
		return nil, nil, noEvent()
	}
	if err != nil {
		return nil, nil, err
	}
	e, err := s.visibleEvent(ctx, v, eventID)
	return v, e, err
}

// visibleEvent finds an event of the room that the caller may see.
func (s *Server) visibleEvent(ctx context.Context, v *sight, eventID id.EventID) (*storage.Event, error) {
	found, err := s.rooms.EventsByID(ctx, v.info, []id.EventID{eventID})
	if err != nil {
		return nil, err
	}
	e := found[eventID]
	if e == nil {
		return nil, noEvent()
	}
	visible, err := s.rooms.VisibleTo(ctx, v.info, v.viewer, []*storage.Event{e})
	if err != nil {
		return nil, err
	}
	if !visible[0] {
		return nil, noEvent()
	}
	return e, nil
}

// to says whom events of the room are rendered for.
func (v *sight) to() *render.For { return &render.For{Viewer: v.viewer, Device: v.device} }

// list renders events of the room as a JSON array.
func (s *Server) list(ctx context.Context, v *sight, events []*storage.Event) (json.RawMessage, error) {
	return s.render.AppendList(ctx, nil, v.info, v.to(), events)
}

// memberProfile is what the caller's memberships show.
func (s *Server) memberProfile(ctx context.Context, user id.UserID) (roomserver.Profile, error) {
	var shown roomserver.Profile
	profile, err := s.accounts.Profile(ctx, user)
	if fault.Is(err, fault.NotFound) {
		return shown, nil // a user of an application service may have none
	}
	if err != nil {
		return shown, err
	}
	// What is no string is not shown.
	_ = json.Unmarshal(profile["displayname"], &shown.DisplayName)
	_ = json.Unmarshal(profile["avatar_url"], &shown.AvatarURL)
	return shown, nil
}
