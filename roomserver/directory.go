package roomserver

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"entente/federation/client"
	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// PublicRoom is a room as the directory shows it.
//
// Spec: client-server-api/#get_matrixclientv3publicrooms
type PublicRoom struct {
	AvatarURL      string       `json:"avatar_url,omitempty"`
	CanonicalAlias id.RoomAlias `json:"canonical_alias,omitempty"`
	GuestCanJoin   bool         `json:"guest_can_join"`
	JoinRule       string       `json:"join_rule,omitempty"`
	Name           string       `json:"name,omitempty"`
	NumJoined      int64        `json:"num_joined_members"`
	RoomID         id.RoomID    `json:"room_id"`
	RoomType       string       `json:"room_type,omitempty"`
	Topic          string       `json:"topic,omitempty"`
	WorldReadable  bool         `json:"world_readable"`
}

// DirectoryRequest asks for a page of the published rooms.
type DirectoryRequest struct {
	// Limit is how many are wanted; zero is the server's choice.
	Limit int
	// Since is NextBatch or PrevBatch of another page.
	Since string
	// Term is looked for in names, topics and aliases; empty is no matter.
	Term string
	// RoomTypes are the types wanted, empty being the type of rooms without
	// one; nil is any.
	RoomTypes []string
}

// DirectoryPage is a page of published rooms.
type DirectoryPage struct {
	Chunk     []PublicRoom `json:"chunk"`
	NextBatch string       `json:"next_batch,omitempty"`
	PrevBatch string       `json:"prev_batch,omitempty"`
	Total     int          `json:"total_room_count_estimate"`
}

const (
	directoryPage    = 100
	maxDirectoryPage = 500
)

// Publish lists a room in the directory, or takes it out.
//
// Spec: client-server-api/#put_matrixclientv3directorylistroomroomid
func (s *Server) Publish(ctx context.Context, user id.UserID, admin bool, roomID id.RoomID, published bool) error {
	if !admin {
		if err := s.mayDirect(ctx, user, roomID); err != nil {
			return err
		}
	}
	info, err := s.Info(ctx, roomID)
	if err != nil {
		return err
	}
	_, err = s.db.Commit(ctx, storage.Commit{Write: []storage.Row{&storage.Publish{Room: info.NID, Published: published}}})
	return busy(err)
}

// Published reports whether a room is listed in the directory. The error is
// NotFound for a room that this server does not know.
//
// Spec: client-server-api/#get_matrixclientv3directorylistroomroomid
func (s *Server) Published(ctx context.Context, roomID id.RoomID) (bool, error) {
	// Not from the cache of rooms: it does not follow this.
	info, err := s.db.Latest().Room(ctx, roomID)
	if err == nil && info == nil {
		err = fault.New(fault.NotFound, "This server does not know the room %s", roomID)
	}
	return info != nil && info.Published, err
}

// PublicRooms lists the published rooms, the largest first.
//
// Spec: client-server-api/#post_matrixclientv3publicrooms
func (s *Server) PublicRooms(ctx context.Context, req DirectoryRequest) (DirectoryPage, error) {
	from := 0
	if req.Since != "" {
		var err error
		if from, err = strconv.Atoi(req.Since); err != nil || from < 0 {
			return DirectoryPage{}, fault.New(fault.InvalidParam, "since is not of this directory")
		}
	}
	infos, err := s.db.Latest().PublicRooms(ctx)
	if err != nil {
		return DirectoryPage{}, err
	}
	listed := make([]PublicRoom, 0, len(infos))
	for _, info := range infos {
		room, ok, err := s.publicRoom(ctx, info)
		if err != nil {
			return DirectoryPage{}, err
		}
		if ok && req.wants(&room) {
			listed = append(listed, room)
		}
	}
	slices.SortFunc(listed, func(a, b PublicRoom) int {
		return cmp.Or(cmp.Compare(b.NumJoined, a.NumJoined), cmp.Compare(a.RoomID, b.RoomID))
	})
	return req.page(listed, from), nil
}

func (r *DirectoryRequest) page(listed []PublicRoom, from int) DirectoryPage {
	limit := r.Limit
	if limit <= 0 {
		limit = directoryPage
	}
	limit = min(limit, maxDirectoryPage)
	from = min(from, len(listed))
	page := DirectoryPage{Total: len(listed), Chunk: listed[from:min(from+limit, len(listed))]}
	if from+limit < len(listed) {
		page.NextBatch = strconv.Itoa(from + limit)
	}
	if from > 0 {
		page.PrevBatch = strconv.Itoa(max(from-limit, 0))
	}
	return page
}

func (r *DirectoryRequest) wants(room *PublicRoom) bool {
	if r.RoomTypes != nil && !slices.Contains(r.RoomTypes, room.RoomType) {
		return false
	}
	if r.Term == "" {
		return true
	}
	term := strings.ToLower(r.Term)
	for _, text := range []string{room.Name, room.Topic, string(room.CanonicalAlias)} {
		if strings.Contains(strings.ToLower(text), term) {
			return true
		}
	}
	return false
}

// publicRoom describes a room by its current state; ok is false for one that
// nobody is in.
func (s *Server) publicRoom(ctx context.Context, info *storage.RoomInfo) (room PublicRoom, ok bool, err error) {
	h, err := s.db.Latest().Head(ctx, info.NID)
	if err != nil || h == nil || h.Joined == 0 {
		return room, false, err
	}
	found, err := s.stateEvents(ctx, info, h.Root, []event.Key{
		{Type: typeName}, {Type: typeTopic}, {Type: typeAvatar}, {Type: typeCanonicalAlias},
		{Type: typeJoinRules}, {Type: typeGuestAccess}, {Type: typeHistoryVisibility}, {Type: typeCreate},
	})
	if err != nil {
		return room, false, err
	}
	text := func(i int, field string) string {
		if found[i] == nil {
			return ""
		}
		value, _ := event.Value(found[i].PDU.Content()).Get(field).Str()
		return value
	}
	return PublicRoom{
		RoomID: info.ID, NumJoined: h.Joined, Name: text(0, "name"), Topic: text(1, "topic"), AvatarURL: text(2, "url"),
		CanonicalAlias: id.RoomAlias(text(3, "alias")), JoinRule: text(4, "join_rule"), GuestCanJoin: text(5, "guest_access") == "can_join",
		WorldReadable: visibilityOf(found[6]) == worldReadable, RoomType: text(7, "type"),
	}, true, nil
}

// PublicRoomsOf asks another server for a page of its published rooms.
//
// Spec: server-server-api/#post_matrixfederationv1publicrooms
func (s *Server) PublicRoomsOf(ctx context.Context, server string, req client.PublicRoomsRequest) (client.PublicRooms, error) {
	if s.peers == nil {
		return client.PublicRooms{}, fault.New(fault.Unreachable, "This server does not federate")
	}
	page, err := s.peers.PublicRooms(ctx, server, req)
	if page.Chunk == nil {
		page.Chunk = []json.RawMessage{}
	}
	return page, err
}

// ReadFilter reads the filter of a request for the directory, as clients and
// servers write it; nothing is no filter.
//
// Spec: client-server-api/#post_matrixclientv3publicrooms
func (r *DirectoryRequest) ReadFilter(raw json.RawMessage) error {
	if len(raw) == 0 {
		return nil
	}
	var f struct {
		Term  string    `json:"generic_search_term"`
		Types []*string `json:"room_types"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return fault.Wrap(err, fault.BadJSON, "The filter does not have the form of a directory's")
	}
	r.Term = f.Term
	if f.Types == nil {
		return nil
	}
	r.RoomTypes = make([]string, len(f.Types))
	for i, t := range f.Types {
		if t != nil {
			r.RoomTypes[i] = *t
		}
	}
	return nil
}
