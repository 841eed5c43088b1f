package roomserver

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"entente/internal/fault"
	"entente/roomserver/auth"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

const typeTombstone = "m.room.tombstone"

// transferred is the state that an upgrade takes along.
//
// Spec: client-server-api/#room-upgrades
var transferred = [...]string{
	typeServerACL, typeEncryption, typeName, typeAvatar, typeTopic, typeGuestAccess, typeHistoryVisibility, typeJoinRules, typePowerLevels,
}

// UpgradeRequest asks to replace a room by one of another version.
type UpgradeRequest struct {
	Room id.RoomID
	User id.UserID
	// Version is the new room's.
	Version event.Version
	// AdditionalCreators are the new room's, where its version has them.
	AdditionalCreators []id.UserID
	// Member is the profile that the user's membership shows.
	Member Profile
}

// Upgrade replaces a room: it makes a new one with what can be transferred,
// moves the local aliases there, and closes the old one.
//
// Spec: client-server-api/#post_matrixclientv3roomsroomidupgrade
func (s *Server) Upgrade(ctx context.Context, req UpgradeRequest) (id.RoomID, error) {
	rules, ok := event.RulesOf(req.Version)
	if !ok {
		return "", fault.New(fault.UnsupportedVersion, "This server does not make rooms of version %q", req.Version)
	}
	info, h, err := s.memberOf(ctx, req.User, req.Room)
	if err != nil {
		return "", err
	}
	u := &upgrade{server: s, ctx: ctx, req: req, rules: rules, info: info, head: h}
	if u.levels, err = s.levelsAt(ctx, info, h); err != nil {
		return "", err
	}
	if !u.levels.CanSend(req.User, typeTombstone, true) {
		return "", fault.New(fault.Forbidden, "You may not upgrade this room")
	}
	create, err := u.creation()
	if err != nil {
		return "", err
	}
	replacement, err := s.Create(ctx, create)
	if err != nil {
		return "", err
	}
	if err := u.move(replacement); err != nil {
		return "", err
	}
	return replacement, u.close(replacement)
}

// upgrade is a room while it is replaced.
type upgrade struct {
	server *Server
	ctx    context.Context
	req    UpgradeRequest
	rules  *event.Rules // of the new room
	info   *storage.RoomInfo
	head   *storage.Head
	levels *auth.PowerLevels
}

// creation asks for the new room.
func (u *upgrade) creation() (CreateRequest, error) {
	keys := []event.Key{{Type: typeCreate}}
	for _, typ := range transferred {
		keys = append(keys, event.Key{Type: typ})
	}
	found, err := u.server.stateEvents(u.ctx, u.info, u.head.Root, keys)
	if err != nil {
		return CreateRequest{}, err
	}
	create := CreateRequest{Creator: u.req.User, Version: u.req.Version, Preset: "private_chat", Member: u.req.Member}
	if create.CreationContent, err = u.creationContent(found[0]); err != nil {
		return create, err
	}
	for _, e := range found[1:] {
		if e == nil {
			continue
		}
		d := StateDraft{Type: e.PDU.Type(), Content: e.PDU.Content()}
		if d.Type == typePowerLevels {
			if d.Content, err = u.powerLevels(d.Content); err != nil {
				return create, err
			}
		}
		create.InitialState = append(create.InitialState, d)
	}
	return create, nil
}

func (u *upgrade) creationContent(old *storage.Event) (map[string]json.RawMessage, error) {
	fields := map[string]json.RawMessage{}
	for _, name := range []string{"type", "m.federate"} {
		if v := event.Value(old.PDU.Content()).Get(name); v != nil {
			fields[name] = json.RawMessage(v)
		}
	}
	predecessor := map[string]any{"room_id": u.info.ID}
	if !u.rules.RoomIDIsCreateHash {
		latest, err := u.server.eventsOf(u.ctx, u.info, u.head.Latest)
		if err != nil {
			return nil, err
		}
		predecessor["event_id"] = latest[0].PDU.ID()
	}
	fields["predecessor"] = content(predecessor)
	if u.rules.PrivilegedCreators && len(u.req.AdditionalCreators) > 0 {
		for _, user := range u.req.AdditionalCreators {
			if !event.ValidUserID(user) {
				return nil, fault.New(fault.InvalidParam, "%q is not a user ID", user)
			}
		}
		fields["additional_creators"] = content(u.req.AdditionalCreators)
	}
	return fields, nil
}

// powerLevels are the old room's for the new one: whole numbers, and nobody
// listed who is a creator where creators outrank every level.
func (u *upgrade) powerLevels(old json.RawMessage) (json.RawMessage, error) {
	var fields map[string]any
	if err := json.Unmarshal(old, &fields); err != nil {
		return nil, fault.Wrap(err, fault.InvalidRoomState, "The room's power levels cannot be read")
	}
	fields = wholeNumbers(fields)
	users, _ := fields["users"].(map[string]any)
	if users == nil {
		users = map[string]any{}
	}
	if u.rules.PrivilegedCreators {
		delete(users, string(u.req.User))
		for _, user := range u.req.AdditionalCreators {
			delete(users, string(user))
		}
	} else if level, _ := users[string(u.req.User)].(int64); level < 100 {
		users[string(u.req.User)] = int64(100) // whoever makes the room must be able to set it up
	}
	fields["users"] = users
	return content(fields), nil
}

// wholeNumbers turns what old room versions take for numbers into numbers, and
// leaves out what is none.
func wholeNumbers(fields map[string]any) map[string]any {
	out := make(map[string]any, len(fields))
	for name, v := range fields {
		switch v := v.(type) {
		case float64:
			out[name] = int64(v)
		case string:
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				out[name] = n
			}
		case map[string]any:
			out[name] = wholeNumbers(v)
		}
	}
	return out
}

// move points the local aliases, and the directory, to the new room.
func (u *upgrade) move(replacement id.RoomID) error {
	s := u.server
	info, err := s.Info(u.ctx, replacement)
	if err != nil {
		return err
	}
	aliases, err := s.db.Latest().Aliases(u.ctx, u.info.NID)
	if err != nil {
		return err
	}
	var rows []storage.Row
	for _, a := range aliases {
		rows = append(rows, &storage.NoAlias{Alias: a.Alias}, &storage.Alias{Alias: a.Alias, Room: info.NID, Creator: a.Creator})
	}
	published, err := s.Published(u.ctx, u.info.ID)
	if err != nil {
		return err
	}
	if published {
		rows = append(rows, &storage.Publish{Room: u.info.NID}, &storage.Publish{Room: info.NID, Published: true})
	}
	for chunk := range slices.Chunk(rows, storage.MaxRows) {
		if _, err := s.db.Commit(u.ctx, storage.Commit{Write: chunk}); err != nil {
			return busy(err)
		}
	}
	found, err := s.stateEvents(u.ctx, u.info, u.head.Root, []event.Key{{Type: typeCanonicalAlias}})
	if err != nil || found[0] == nil || len(aliases) == 0 {
		return err
	}
	return u.set(replacement, typeCanonicalAlias, found[0].PDU.Content())
}

// close says in the old room where to go, and takes from most the power to
// speak there, if the user has the power to.
func (u *upgrade) close(replacement id.RoomID) error {
	body := map[string]any{"body": "This room has been replaced", "replacement_room": replacement}
	if err := u.set(u.info.ID, typeTombstone, content(body)); err != nil {
		return err
	}
	found, err := u.server.stateEvents(u.ctx, u.info, u.head.Root, []event.Key{{Type: typePowerLevels}})
	if err != nil || found[0] == nil {
		return err
	}
	levels := map[string]json.RawMessage{}
	for name, v := range event.Value(found[0].PDU.Content()).Members() {
		levels[name] = json.RawMessage(v)
	}
	closed := maps.Clone(levels)
	usersDefault, _ := event.Value(levels["users_default"]).Int()
	quiet := max(50, usersDefault+1)
	for name, now := range map[string]int64{"events_default": u.levels.EventLevel("", false), "invite": u.levels.InviteLevel()} {
		if now < quiet {
			closed[name] = content(quiet)
		}
	}
	err = u.set(u.info.ID, typePowerLevels, content(closed))
	if fault.Is(err, fault.Forbidden) {
		return nil
	}
	return err
}

func (u *upgrade) set(room id.RoomID, typ string, content json.RawMessage) error {
	_, err := u.server.Send(u.ctx, SendRequest{Room: room, Draft: Draft{Type: typ, StateKey: new(string), Sender: u.req.User, Content: content}})
	return err
}
