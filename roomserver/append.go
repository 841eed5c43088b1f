package roomserver

import (
	"crypto/rand"
	"encoding/json"

	"entente/internal/fault"
	"entente/roomserver/auth"
	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Draft is an event that a local user wants to send.
type Draft struct {
	Type     string
	StateKey *string // nil: a message event
	Sender   id.UserID
	Content  json.RawMessage
	// Redacts is the target of an m.room.redaction.
	Redacts id.EventID
	// Timestamp is in milliseconds since 1970; zero is now. Only application
	// services may choose it.
	Timestamp int64
}

// append builds an event of ours at the end of the room and enters it.
func (p *proposal) append(d Draft) (*storage.Event, error) {
	pdu, authEvents, err := p.build(d)
	if err != nil {
		return nil, err
	}
	if err := p.allow(pdu); err != nil {
		return nil, err
	}
	destinations := p.destinations(pdu, authEvents)
	if err := p.server.policy.send(pdu, destinations); err != nil {
		return nil, err
	}
	e := &storage.Event{
		Room: p.room.info.NID, PDU: pdu, Status: storage.Accepted, Before: p.head.Root, After: p.head.Root,
		Prev: p.head.Latest, Destinations: destinations,
	}
	return e, p.enterLinear(e, authEvents)
}

// build signs the draft as the next event of the room, citing what allows it.
func (p *proposal) build(d Draft) (*event.PDU, []*storage.Event, error) {
	rules := p.room.rules
	draft, authEvents, err := p.draft(d)
	if err != nil {
		return nil, nil, err
	}
	if rules.EventIDInBody {
		draft.EventID = id.EventID("$" + rand.Text() + ":" + p.server.name)
	}
	pdu, err := draft.Build(rules, p.server.sign())
	return pdu, authEvents, err
}

// draft is the next event of the room before it is signed.
func (p *proposal) draft(d Draft) (*event.Draft, []*storage.Event, error) {
	stateKey := ""
	if d.StateKey != nil {
		stateKey = *d.StateKey
	}
	authEvents, err := p.authEvents(auth.Needed(p.room.rules, d.Type, stateKey, d.Sender, d.Content))
	if err != nil {
		return nil, nil, err
	}
	draft := &event.Draft{
		Room: p.room.info.ID, Type: d.Type, StateKey: d.StateKey, Sender: d.Sender, Content: d.Content, Redacts: d.Redacts,
		Timestamp: d.Timestamp, Depth: 1,
	}
	if d.Type == typeCreate && p.room.rules.RoomIDIsCreateHash {
		draft.Room = ""
	}
	if draft.Timestamp == 0 {
		draft.Timestamp = p.server.now().UnixMilli()
	}
	for _, l := range cited(p.head.latest) {
		draft.Prev = append(draft.Prev, l.PDU.Ref())
		draft.Depth = max(draft.Depth, l.PDU.Depth()+1)
	}
	for _, a := range authEvents {
		draft.Auth = append(draft.Auth, a.PDU.Ref())
	}
	return draft, authEvents, nil
}

// cited are the extremities that a new event follows: as many as it may.
func cited(latest []*storage.Event) []*storage.Event {
	return latest[:min(len(latest), event.MaxPrevEvents)]
}

func (p *proposal) authEvents(keys []event.Key) ([]*storage.Event, error) {
	out := make([]*storage.Event, 0, len(keys))
	for _, key := range keys {
		e, err := p.room.eventAt(p.ctx, p.head.Root, key)
		if err != nil {
			return nil, err
		}
		if e != nil {
			out = append(out, e)
		}
	}
	return out, nil
}

// allow checks an event against the current state.
func (p *proposal) allow(pdu *event.PDU) error {
	if pdu.Type() == typeCreate {
		return auth.Check(pdu, p.room.lookup(p.ctx, 0))
	}
	levels, err := p.levels()
	if err != nil {
		return err
	}
	return auth.CheckWith(pdu, levels, p.room.lookup(p.ctx, p.head.Root))
}

// levels are the current power levels, parsed anew only when they changed.
func (p *proposal) levels() (*auth.PowerLevels, error) {
	create, err := p.room.eventAt(p.ctx, p.head.Root, event.Key{Type: typeCreate})
	if err != nil {
		return nil, err
	}
	if create == nil {
		return nil, fault.Wrap(ErrNotInRoom, fault.NotFound, "This server is not in the room %s", p.room.info.ID)
	}
	e, err := p.room.eventAt(p.ctx, p.head.Root, event.Key{Type: typePowerLevels})
	if err != nil {
		return nil, err
	}
	var pdu *event.PDU
	if e != nil {
		pdu = e.PDU
	}
	if p.head.levels == nil || !p.head.levels.Of(create.PDU, pdu) {
		if p.head.levels, err = auth.ParsePowerLevels(create.PDU, pdu); err != nil {
			return nil, err
		}
	}
	return p.head.levels, nil
}

// destinations are the servers that an event must be sent to: those in the
// room before it, and the target's of a membership that it must learn of
// although it is not in the room.
func (p *proposal) destinations(pdu *event.PDU, _ []*storage.Event) storage.Servers {
	to := p.head.Destinations
	if key, ok := pdu.StateKey(); ok && pdu.Type() == typeMember && pdu.Membership() != "invite" {
		if server := event.ServerOf(id.UserID(key)); server != p.server.name {
			to = to.With(server)
		}
	}
	if p.exclude != "" {
		to = to.Without(p.exclude)
	}
	return to
}

// enterLinear enters an event whose previous events are all the extremities
// that it may cite, so that the state before it is the current state.
func (p *proposal) enterLinear(e *storage.Event, authEvents []*storage.Event) error {
	var err error
	if e.NID, err = p.nid(); err != nil {
		return err
	}
	left := p.head.latest[len(cited(p.head.latest)):]
	e.Prev = e.Prev[:len(e.Prev)-len(left)]
	if err := p.describe(e, authEvents); err != nil {
		return err
	}
	stateKey, isState := e.PDU.StateKey()
	if !isState {
		p.insert(e, append([]*storage.Event{e}, left...))
		return p.applyRedaction(e)
	}
	key := event.Key{Type: e.PDU.Type(), StateKey: stateKey}
	if e.Replaces, err = p.room.at(p.ctx, p.head.Root, key); err != nil {
		return err
	}
	var num state.KeyNum
	if e.After, num, err = p.set(e.Before, key, e.NID); err != nil {
		return err
	}
	p.insert(e, append([]*storage.Event{e}, left...))
	if err := p.change(num, e.Replaces, e.NID, e.After); err != nil {
		return err
	}
	p.head.Root = e.After
	return nil
}

func (p *proposal) insert(e *storage.Event, latest []*storage.Event) {
	p.enter(e, latest)
	p.server.events.put(e)
	p.write = append(p.write, e)
}

// describe fills in what is computed once about an event: its auth events, its
// place in the chain-cover index, its relation and its flags.
func (p *proposal) describe(e *storage.Event, authEvents []*storage.Event) error {
	for _, a := range authEvents {
		e.Auth = append(e.Auth, a.NID)
	}
	describeContent(e)
	if _, isState := e.PDU.StateKey(); !isState {
		return nil
	}
	return p.place(e, authEvents)
}

// place puts a state event into the chain-cover index.
func (p *proposal) place(e *storage.Event, authEvents []*storage.Event) error {
	key, _ := stateKey(e.PDU)
	num, err := p.number(key)
	if err != nil {
		return err
	}
	if p.placer == nil {
		p.placer = p.server.newPlacer(p.ctx)
	}
	links, err := p.placer.place(e, authEvents)
	for _, l := range links {
		p.write = append(p.write, &storage.ChainLink{Room: p.room.info.NID, From: l.From, Num: num, To: l.To})
	}
	return err
}

// describeContent reads an event's relation and its flags.
func describeContent(e *storage.Event) {
	content := event.Value(e.PDU.Content())
	if relates := content.Get("m.relates_to"); relates.IsObject() {
		relType, _ := relates.Get("rel_type").Str()
		target, _ := relates.Get("event_id").Str()
		if relType != "" && target != "" {
			e.RelType, e.RelTo = relType, id.EventID(target)
		}
	}
	if _, isState := e.PDU.StateKey(); isState {
		return
	}
	switch e.PDU.Type() {
	case "m.room.encrypted":
		e.Flags |= storage.Encrypted | storage.Notifies
	case "m.room.message", "m.sticker", "m.call.invite":
		if kind, _ := content.Get("msgtype").Str(); kind != "m.notice" && e.RelType != "m.replace" {
			e.Flags |= storage.Notifies
		}
	}
	if room, _ := content.Get("m.mentions").Get("room").Bool(); room {
		e.Flags |= storage.MentionsRoom
	}
}

// applyRedaction redacts the target of a redaction that is allowed to.
//
// Spec: client-server-api/#redactions, rooms/v3/#handling-redactions
func (p *proposal) applyRedaction(e *storage.Event) error {
	target := e.PDU.Redacts()
	if e.PDU.Type() != typeRedaction || target == "" {
		return nil
	}
	found, err := p.server.eventsByID(p.ctx, p.room.info, []id.EventID{target})
	if err != nil {
		return err
	}
	t := found[target]
	if t == nil || t.RedactedBy != 0 || t.PDU.Type() == typeCreate {
		return nil
	}
	may, err := p.mayRedact(e.PDU, t.PDU)
	if err != nil || !may {
		return err
	}
	redacted := *t
	redacted.PDU, redacted.RedactedBy, redacted.RelType, redacted.RelTo, redacted.Flags = t.PDU.Redact(), e.NID, "", "", 0
	p.done.redacted = append(p.done.redacted, &redacted)
	p.write = append(p.write, &storage.Redaction{NID: t.NID, By: e.NID, Form: redacted.PDU})
	p.touch = append(p.touch, storage.Subject{Kind: storage.Redacted, ID: int64(t.NID)})
	return nil
}

// mayRedact decides whether a redaction is applied to its target: the sender's
// power, or the same sender; in room versions 1 and 2 it was authorised by the
// servers being the same.
func (p *proposal) mayRedact(redaction, target *event.PDU) (bool, error) {
	if p.room.rules.EventIDInBody && event.ServerOf(redaction.Sender()) == event.ServerOf(target.Sender()) {
		return true, nil
	}
	levels, err := p.levels()
	if err != nil {
		return false, err
	}
	return levels.CanRedact(redaction.Sender(), target.Sender()), nil
}
