package event

import (
	"encoding/json"

	"entente/internal/fault"
	"maunium.net/go/mautrix/id"
)

// Template is the draft as make_join, make_leave and make_knock answer it: the
// event without an ID, hashes and signatures.
//
// Spec: server-server-api/#get_matrixfederationv1make_joinroomiduserid
func (d *Draft) Template(rules *Rules) (json.RawMessage, error) {
	if err := d.check(rules); err != nil {
		return nil, err
	}
	anonymous := *d
	anonymous.EventID = ""
	body, _, err := anonymous.appendBody(make([]byte, 0, scratchSize/2), rules)
	if err != nil {
		return nil, err
	}
	return body, nil
}

// Expected is the membership event that a server asked a resident server for.
type Expected struct {
	Room       id.RoomID
	User       id.UserID
	Membership string // join, leave or knock
}

// ParseTemplate reads a resident server's answer to make_join, make_leave or
// make_knock and checks that it is the membership event asked for. Of the
// content, only what joining needs is kept: the membership, and the user who
// authorises a restricted join. The caller adds profile and reason to the
// draft's content, sets Timestamp (and EventID in room versions 1 and 2), and
// builds.
//
// Spec: server-server-api/#joining-rooms
func ParseTemplate(rules *Rules, raw []byte, want Expected) (*Draft, error) {
	if len(raw) > maxRawSize {
		return nil, tooLarge()
	}
	e := encoder{
		in: raw, out: make([]byte, 0, len(raw)), numbers: rules.numbers(),
		dropUnsigned: true, dropEventID: true,
	}
	if err := e.objectDocument(); err != nil {
		return nil, err
	}
	f := format{rules: rules}
	event := Value(e.out)
	const need = hasAuthEvents | hasContent | hasDepth | hasPrevEvents | hasRoomID | hasSender | hasStateKey | hasType
	for name, v := range event.Members() {
		if templateField(name) {
			if err := f.field(name, v); err != nil {
				return nil, err
			}
		}
	}
	content := event.Get("content")
	membership, _ := content.Get("membership").Str()
	if f.seen&need != need || f.typ != typeMember || f.roomID != string(want.Room) ||
		f.sender != string(want.User) || f.stateKey != string(want.User) || membership != want.Membership {
		return nil, fault.New(fault.BadJSON, "The template is not the membership event asked for")
	}
	kept, err := joinContent(rules, content, membership)
	if err != nil {
		return nil, err
	}
	depth, _ := event.Get("depth").Int()
	stateKey := string(want.User)
	return &Draft{
		Room: want.Room, Type: typeMember, StateKey: &stateKey, Sender: want.User,
		Content: kept, Depth: depth,
		Prev: refsIn(rules, event.Get("prev_events")), Auth: refsIn(rules, event.Get("auth_events")),
	}, nil
}

// templateField reports whether a template's field is taken over, and hence
// checked.
func templateField(name string) bool {
	switch name {
	case "auth_events", "content", "depth", "prev_events", "room_id", "sender", "state_key", "type":
		return true
	}
	return false
}

// joinContent is the content that a membership template may dictate.
func joinContent(rules *Rules, content Value, membership string) (json.RawMessage, error) {
	kept := append([]byte(`{"membership":`), appendString(nil, membership)...)
	kept = append(kept, '}')
	authoriser := content.Get("join_authorised_via_users_server")
	if authoriser == nil || !rules.RestrictedJoins || membership != "join" {
		return kept, nil
	}
	if user, ok := authoriser.Str(); !ok || !ValidUserID(id.UserID(user)) {
		return nil, fault.New(fault.InvalidParam, "The template's authorising user is not valid")
	}
	return setMember(nil, kept, "join_authorised_via_users_server", authoriser), nil
}

// refsIn are the references in checked prev_events or auth_events.
func refsIn(rules *Rules, list Value) []Ref {
	var refs []Ref
	for v := range list.Elements() {
		ref := Ref{}
		if rules.EventIDInBody {
			for part := range v.Elements() {
				if part.IsObject() {
					ref.SHA256 = text(part.Get("sha256"))
				} else {
					ref.ID = id.EventID(text(part))
				}
			}
		} else {
			ref.ID = id.EventID(text(v))
		}
		refs = append(refs, ref)
	}
	return refs
}
