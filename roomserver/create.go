package roomserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// StateDraft is a state event of CreateRequest.InitialState.
type StateDraft struct {
	Type     string          `json:"type"`
	StateKey string          `json:"state_key"`
	Content  json.RawMessage `json:"content"`
}

// CreateRequest asks for a new room. The fields are the specification's.
//
// Spec: client-server-api/#post_matrixclientv3createroom
type CreateRequest struct {
	Creator                   id.UserID                  `json:"-"`
	Visibility                string                     `json:"visibility"`
	AliasName                 string                     `json:"room_alias_name"`
	Name                      string                     `json:"name"`
	Topic                     string                     `json:"topic"`
	Invite                    []id.UserID                `json:"invite"`
	Invite3PID                []json.RawMessage          `json:"invite_3pid"`
	Version                   event.Version              `json:"room_version"`
	CreationContent           map[string]json.RawMessage `json:"creation_content"`
	InitialState              []StateDraft               `json:"initial_state"`
	Preset                    string                     `json:"preset"`
	IsDirect                  bool                       `json:"is_direct"`
	PowerLevelContentOverride map[string]json.RawMessage `json:"power_level_content_override"`
	// Member is the profile that the creator's membership shows.
	Member Profile `json:"-"`
}

// Profile is what a membership shows of a user.
type Profile struct {
	DisplayName string `json:"displayname,omitempty"`
	AvatarURL   string `json:"avatar_url,omitempty"`
}

// preset is what createRoom's presets stand for.
type preset struct{ joinRule, visibility, guests string }

var presets = map[string]preset{
	"private_chat":         {"invite", "shared", "can_join"},
	"trusted_private_chat": {"invite", "shared", "can_join"},
	"public_chat":          {"public", "shared", "forbidden"},
}

const (
	maxInitialState = 200
	maxInvites      = 100
)

// Create makes a room, joins its creator and sets its state, in one commit;
// then it invites. An invite that fails does not undo the room.
func (s *Server) Create(ctx context.Context, req CreateRequest) (id.RoomID, error) {
	c, err := s.newCreation(req)
	if err != nil {
		return "", err
	}
	if err := c.checkAlias(ctx); err != nil {
		return "", err
	}
	create, err := c.createEvent()
	if err != nil {
		return "", err
	}
	info, err := s.db.AddRoom(ctx, create.RoomID(), c.rules.Version)
	if err != nil {
		return "", err
	}
	r, err := s.room(info)
	if err != nil {
		return "", err
	}
	defer s.release(r)
	if _, err := s.update(ctx, r, func(p *proposal) error { return c.build(p, create) }); err != nil {
		return "", err
	}
	if err := c.invite(ctx, info.ID); err != nil {
		return "", err
	}
	return info.ID, nil
}

// creation is a room while it is made.
type creation struct {
	CreateRequest
	server *Server
	rules  *event.Rules
	preset preset
	alias  id.RoomAlias
}

func (s *Server) newCreation(req CreateRequest) (*creation, error) {
	c := &creation{CreateRequest: req, server: s}
	if c.Version == "" {
		c.Version = event.DefaultVersion
	}
	var ok bool
	if c.rules, ok = event.RulesOf(c.Version); !ok {
		return nil, fault.New(fault.UnsupportedVersion, "This server does not make rooms of version %q", c.Version)
	}
	switch c.Visibility {
	case "":
		c.Visibility = "private"
	case "public", "private":
	default:
		return nil, fault.New(fault.InvalidParam, "visibility is public or private")
	}
	if c.Preset == "" {
		c.Preset = map[string]string{"public": "public_chat", "private": "private_chat"}[c.Visibility]
	}
	if c.preset, ok = presets[c.Preset]; !ok {
		return nil, fault.New(fault.InvalidParam, "There is no preset %q", c.Preset)
	}
	if len(c.InitialState) > maxInitialState || len(c.Invite) > maxInvites {
		return nil, fault.New(fault.TooLarge, "A room is made with at most %d initial state events and %d invites", maxInitialState, maxInvites)
	}
	if len(c.Invite3PID) > 0 {
		return nil, fault.New(fault.InvalidParam, "This server has no identity server to invite through")
	}
	for _, user := range c.Invite {
		if !event.ValidUserID(user) {
			return nil, fault.New(fault.InvalidParam, "%q is not a user ID", user)
		}
	}
	for _, e := range c.InitialState {
		if e.Type == typeCreate || e.Type == typeMember || e.Type == "" || !event.Value(e.Content).IsObject() {
			return nil, fault.New(fault.InvalidParam, "initial_state cannot hold %q with this content", e.Type)
		}
	}
	if c.AliasName != "" {
		c.alias = id.RoomAlias("#" + c.AliasName + ":" + s.name)
		if strings.ContainsAny(c.AliasName, ":\x00") || !event.ValidRoomAlias(c.alias) {
			return nil, fault.New(fault.InvalidParam, "%q cannot be the name of an alias", c.AliasName)
		}
	}
	return c, nil
}

func (c *creation) checkAlias(ctx context.Context) error {
	if c.alias == "" {
		return nil
	}
	taken, err := c.server.db.Latest().Alias(ctx, c.alias)
	if err == nil && taken != nil {
		return fault.New(fault.RoomInUse, "The alias %s is taken", c.alias)
	}
	return err
}

// createEvent builds the first event, which in room version 12 names the room.
func (c *creation) createEvent() (*event.PDU, error) {
	fields := maps.Clone(c.CreationContent)
	if fields == nil {
		fields = map[string]json.RawMessage{}
	}
	fields["room_version"] = content(c.Version)
	delete(fields, "creator")
	if !c.rules.ImplicitCreator {
		fields["creator"] = content(c.Creator)
	}
	if c.rules.PrivilegedCreators && c.Preset == "trusted_private_chat" {
		if err := c.addCreators(fields); err != nil {
			return nil, err
		}
	}
	d := event.Draft{
		Type: typeCreate, StateKey: new(string), Sender: c.Creator, Content: content(fields), Depth: 1, Timestamp: c.server.now().UnixMilli(),
	}
	if !c.rules.RoomIDIsCreateHash {
		d.Room = id.RoomID("!" + rand.Text() + ":" + c.server.name)
	}
	if c.rules.EventIDInBody {
		d.EventID = id.EventID("$" + rand.Text() + ":" + c.server.name)
	}
	return d.Build(c.rules, c.server.sign())
}

// addCreators makes those invited to a trusted private chat creators too.
func (c *creation) addCreators(fields map[string]json.RawMessage) error {
	var creators []id.UserID
	if raw, ok := fields["additional_creators"]; ok {
		if err := json.Unmarshal(raw, &creators); err != nil {
			return fault.New(fault.BadJSON, "additional_creators is a list of user IDs")
		}
	}
	for _, user := range c.Invite {
		if !slices.Contains(creators, user) && user != c.Creator {
			creators = append(creators, user)
		}
	}
	if len(creators) > 0 {
		fields["additional_creators"] = content(creators)
	}
	return nil
}

// build proposes the room's first events, in the specification's order.
func (c *creation) build(p *proposal, create *event.PDU) error {
	if err := p.start(create); err != nil {
		return err
	}
	drafts, err := c.drafts()
	if err != nil {
		return err
	}
	for _, d := range drafts {
		if _, err := p.append(d); err != nil {
			return err
		}
	}
	if c.alias != "" {
		p.write = append(p.write, &storage.Alias{Alias: c.alias, Room: p.room.info.NID, Creator: c.Creator})
	}
	if c.Visibility == "public" {
		p.write = append(p.write, &storage.Publish{Room: p.room.info.NID, Published: true})
	}
	return nil
}

// start enters a room's create event.
func (p *proposal) start(create *event.PDU) error {
	if err := p.allow(create); err != nil {
		return err
	}
	e := &storage.Event{Room: p.room.info.NID, PDU: create, Status: storage.Accepted}
	return p.enterLinear(e, nil)
}

// drafts lists what follows the create event.
func (c *creation) drafts() ([]Draft, error) {
	levels, err := c.powerLevels()
	if err != nil {
		return nil, err
	}
	self := string(c.Creator)
	out := []Draft{
		{Type: typeMember, StateKey: &self, Content: memberContent("join", c.Member, "", false)},
		{Type: typePowerLevels, StateKey: new(string), Content: levels},
	}
	set := func(typ string, v any) {
		out = append(out, Draft{Type: typ, StateKey: new(string), Content: content(v)})
	}
	if c.alias != "" {
		set(typeCanonicalAlias, map[string]any{"alias": c.alias})
	}
	initial := map[event.Key]bool{}
	for _, e := range c.InitialState {
		initial[event.Key{Type: e.Type, StateKey: e.StateKey}] = true
	}
	unlessInitial := func(typ, field, value string) {
		if !initial[event.Key{Type: typ}] {
			set(typ, map[string]any{field: value})
		}
	}
	unlessInitial(typeJoinRules, "join_rule", c.preset.joinRule)
	unlessInitial(typeHistoryVisibility, "history_visibility", c.preset.visibility)
	unlessInitial(typeGuestAccess, "guest_access", c.preset.guests)
	for _, e := range c.InitialState {
		if e.Type == typePowerLevels && e.StateKey == "" {
			continue // they are the power levels above
		}
		out = append(out, Draft{Type: e.Type, StateKey: &e.StateKey, Content: e.Content})
	}
	if c.Name != "" {
		set(typeName, map[string]any{"name": c.Name})
	}
	if c.Topic != "" {
		set(typeTopic, map[string]any{"topic": c.Topic, "m.topic": map[string]any{
			"m.text": []map[string]string{{"body": c.Topic, "mimetype": "text/plain"}},
		}})
	}
	for i := range out {
		out[i].Sender = c.Creator
	}
	return out, nil
}

// powerLevels are the default levels, with the request's laid over them.
func (c *creation) powerLevels() (json.RawMessage, error) {
	users := map[id.UserID]int{}
	if !c.rules.PrivilegedCreators {
		users[c.Creator] = 100
		if c.Preset == "trusted_private_chat" {
			for _, user := range c.Invite {
				users[user] = 100
			}
		}
	}
	tombstone := 100
	if c.rules.PrivilegedCreators {
		tombstone = 150
	}
	levels := map[string]json.RawMessage{
		"users": content(users), "users_default": content(0),
		"events": content(map[string]int{
			typeName: 50, typePowerLevels: 100, typeHistoryVisibility: 100, typeCanonicalAlias: 50, typeAvatar: 50,
			"m.room.tombstone": tombstone, typeServerACL: 100, typeEncryption: 100,
		}),
		"events_default": content(0), "state_default": content(50), "ban": content(50), "kick": content(50), "redact": content(50),
		"invite": content(0), "notifications": content(map[string]int{"room": 50}),
	}
	maps.Copy(levels, c.PowerLevelContentOverride)
	for _, e := range c.InitialState {
		if e.Type == typePowerLevels && e.StateKey == "" {
			return e.Content, nil
		}
	}
	return content(levels), nil
}

// invite invites whom the request names.
func (c *creation) invite(ctx context.Context, room id.RoomID) error {
	for _, user := range c.Invite {
		req := MemberRequest{Room: room, Sender: c.Creator, Target: user, IsDirect: c.IsDirect}
		if err := c.server.Invite(ctx, req); err != nil {
			return err
		}
	}
	return nil
}

// memberContent is the content of a membership.
func memberContent(membership string, profile Profile, reason string, direct bool) json.RawMessage {
	return content(struct {
		AvatarURL   string `json:"avatar_url,omitempty"`
		DisplayName string `json:"displayname,omitempty"`
		IsDirect    bool   `json:"is_direct,omitempty"`
		Membership  string `json:"membership"`
		Reason      string `json:"reason,omitempty"`
	}{profile.AvatarURL, profile.DisplayName, direct, membership, reason})
}
