package auth_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"entente/roomserver/auth"
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// The people of the test room. The creator has power 100, or in room version
// 12 every power; the moderator has 50, everybody else none.
const (
	creator  = "@creator:a.example"
	mod      = "@mod:a.example"
	alice    = "@alice:b.example"
	bob      = "@bob:b.example"
	guest    = "@guest:c.example"    // invited
	outlaw   = "@outlaw:c.example"   // banned
	former   = "@former:c.example"   // left
	knocker  = "@knocker:c.example"  // knocked
	stranger = "@stranger:c.example" // never there
)

// allVersions are the rules of every room version.
func allVersions(t testing.TB) []*event.Rules {
	t.Helper()
	var all []*event.Rules
	for _, v := range event.SupportedVersions() {
		all = append(all, rulesOf(t, v))
	}
	return all
}

func rulesOf(t testing.TB, v event.Version) *event.Rules {
	t.Helper()
	rules, ok := event.RulesOf(v)
	if !ok {
		t.Fatalf("room version %s is unknown", v)
	}
	return rules
}

// draft is an event to be made without any check, so that it may break rules.
type draft struct {
	typ     string
	key     *string
	sender  string
	content string
	prev    []id.EventID
	room    id.RoomID
	redacts id.EventID
	id      id.EventID
}

func message(typ, sender string) draft { return draft{typ: typ, sender: sender, content: `{}`} }

func state(typ, key, sender, content string) draft {
	return draft{typ: typ, key: &key, sender: sender, content: content}
}

func member(sender, target, membership string) draft {
	return state("m.room.member", target, sender, fmt.Sprintf(`{"membership":%q}`, membership))
}

func powerLevels(sender, content string) draft {
	return state("m.room.power_levels", "", sender, content)
}

func (d draft) with(content string) draft {
	d.content = content
	return d
}

func (d draft) after(prev ...id.EventID) draft {
	d.prev = prev
	return d
}

func (d draft) in(room id.RoomID) draft {
	d.room = room
	return d
}

// room is a room's state.
type room struct {
	t      testing.TB
	rules  *event.Rules
	id     id.RoomID
	state  map[event.Key]*event.PDU
	events int
}

// newRoom is a room with a create event, the people above, and the join rule.
func newRoom(t testing.TB, rules *event.Rules, joinRule string) *room {
	r := emptyRoom(t, rules, `{}`)
	users := `"` + mod + `":50`
	if !rules.PrivilegedCreators {
		users += `,"` + creator + `":100`
	}
	r.set(powerLevels(creator, `{"users":{`+users+`},"events":{"secret":75,"m.room.aliases":0,"m.room.redaction":0},"invite":0}`))
	r.set(state("m.room.join_rules", "", creator, fmt.Sprintf(`{"join_rule":%q}`, joinRule)))
	for user, membership := range map[string]string{
		creator: "join", mod: "join", alice: "join", bob: "join",
		guest: "invite", outlaw: "ban", former: "leave", knocker: "knock",
	} {
		r.set(member(user, user, membership))
	}
	return r
}

// emptyRoom is a room that has only a create event, with the given content
// and, where the version wants one, the creator in it.
func emptyRoom(t testing.TB, rules *event.Rules, content string) *room {
	r := &room{t: t, rules: rules, id: "!room:a.example", state: map[event.Key]*event.PDU{}}
	d := r.createDraft(content)
	if rules.RoomIDIsCreateHash {
		r.id = "!" + id.RoomID(strings.Repeat("C", 43))
		d.id = "$" + id.EventID(r.id[1:])
	}
	r.set(d)
	return r
}

// createDraft is a create event that is allowed.
func (r *room) createDraft(content string) draft {
	if !r.rules.ImplicitCreator {
		content = strings.Replace(content, "{", `{"creator":"`+creator+`",`, 1)
		content = strings.Replace(content, ",}", "}", 1)
	}
	return state("m.room.create", "", creator, content)
}

func (r *room) createID() id.EventID { return r.state[event.Key{Type: "m.room.create"}].ID() }

// set makes the event current.
func (r *room) set(d draft) *event.PDU {
	ev := r.make(d)
	r.state[event.Key{Type: d.typ, StateKey: *d.key}] = ev
	return ev
}

func (r *room) remove(typ string) { delete(r.state, event.Key{Type: typ}) }

func (r *room) lookup(k event.Key) (*event.PDU, error) { return r.state[k], nil }

// make makes the event, in this room unless the draft says otherwise.
func (r *room) make(d draft) *event.PDU {
	r.t.Helper()
	r.events++
	if d.id == "" {
		d.id = id.EventID(fmt.Sprintf("$%043d", r.events))
		if r.rules.EventIDInBody {
			d.id = id.EventID(fmt.Sprintf("$%d:%s", r.events, event.ServerOf(id.UserID(d.sender))))
		}
	}
	fields := map[string]any{
		"auth_events": []string{}, "content": sorted(r.t, d.content), "depth": 1, "origin_server_ts": 1,
		"prev_events": references(r.rules, d.prev), "sender": d.sender, "type": d.typ,
	}
	if d.room == "" && (d.typ != "m.room.create" || !r.rules.RoomIDIsCreateHash) {
		d.room = r.id
	}
	if d.room != "" {
		fields["room_id"] = d.room
	}
	if d.key != nil {
		fields["state_key"] = *d.key
	}
	if d.redacts != "" {
		fields["redacts"] = d.redacts
	}
	if r.rules.EventIDInBody {
		fields["event_id"] = d.id
	}
	ev, err := event.Trusted(r.rules, d.id, encode(r.t, fields))
	if err != nil {
		r.t.Fatal(err)
	}
	return ev
}

func references(rules *event.Rules, ids []id.EventID) any {
	if !rules.EventIDInBody {
		return append([]id.EventID{}, ids...)
	}
	pairs := []any{}
	for _, one := range ids {
		pairs = append(pairs, []any{one, map[string]string{"sha256": "AA"}})
	}
	return pairs
}

// sorted is JSON whose numbers stay as they are written and whose keys will
// be sorted.
func sorted(t testing.TB, text string) any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(out.Bytes())
}

// ruleOf is the number of the rule that refused, "ok" for an event that is
// allowed.
func ruleOf(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return "ok"
	}
	refusal, ok := err.(*auth.Refusal)
	if !ok {
		t.Fatalf("got %v, want a refusal", err)
	}
	return refusal.Rule
}

// column is where expectations for a room version stand in the tables: one
// column each for versions 1-2, 3-5, 6, 7, 8-9, 10, 11 and 12.
func column(rules *event.Rules) int {
	return map[event.Version]int{
		"1": 0, "2": 0, "3": 1, "4": 1, "5": 1, "6": 2, "7": 3, "8": 4, "9": 4, "10": 5, "11": 6, "12": 7,
	}[rules.Version]
}

// expected reads a table's expectation: a rule number, or "ok", or "-" for no
// expectation, for every column or one for all.
func expected(t testing.TB, want string, rules *event.Rules) string {
	t.Helper()
	columns := strings.Fields(want)
	switch len(columns) {
	case 1:
		return columns[0]
	case 8:
		return columns[column(rules)]
	}
	t.Fatalf("%q has not one column, and not eight", want)
	return ""
}
