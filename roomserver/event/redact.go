package event

// Redact returns the redacted form of the event, under the same event ID.
//
// Spec: client-server-api/#redactions, rooms/v11/#redactions
func (p *PDU) Redact() *PDU {
	if p.redacted {
		return p
	}
	raw := appendRedacted(make([]byte, 0, len(p.raw)), p.rules, p.raw, withSignatures)
	r := &PDU{rules: p.rules, id: p.id, raw: clip(raw), redacted: true}
	r.index()
	return r
}

// RedactContent is what redaction leaves of the content of an event of the
// type: canonical JSON, as content is.
func (r *Rules) RedactContent(typ string, content Value) Value {
	return appendRedactedContent(make([]byte, 0, 64), r, typ, content)
}

// signaturesMode says what becomes of an event's signatures when it is
// redacted: signatures and reference hashes cover an event without them.
type signaturesMode bool

const (
	withSignatures    signaturesMode = true
	withoutSignatures signaturesMode = false
)

// appendRedacted appends the redacted form of the event in raw, which is
// canonical and has no unsigned.
func appendRedacted(dst []byte, rules *Rules, raw []byte, signatures signaturesMode) []byte {
	typ := eventType(raw)
	dst = append(dst, '{')
	first := true
	for m, next, ok := nextMember(raw, 1); ok; m, next, ok = nextMember(raw, next) {
		key := m.key(raw)
		if !rules.keepsField(key) || !bool(signatures) && string(key) == "signatures" {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		if string(key) == "content" {
			dst = append(dst, `"content":`...)
			dst = appendRedactedContent(dst, rules, typ, m.val(raw))
			continue
		}
		dst = append(dst, m.all(raw)...)
	}
	return append(dst, '}')
}

// eventType is the type of the event in raw. Keys are sorted, so it is found
// from the end.
func eventType(raw []byte) string { return text(Value(raw).Get("type")) }

// keepsField reports whether redaction keeps the field of that name.
//
// Spec: rooms/v1/#redactions, rooms/v11/#redactions
func (r *Rules) keepsField(name []byte) bool {
	switch string(name) {
	case "auth_events", "content", "depth", "event_id", "hashes", "origin_server_ts",
		"prev_events", "room_id", "sender", "signatures", "state_key", "type":
		return true
	case "membership", "origin", "prev_state":
		return !r.UpdatedRedaction
	}
	return false
}

func appendRedactedContent(dst []byte, rules *Rules, typ string, content Value) []byte {
	if typ == typeCreate && rules.UpdatedRedaction {
		return append(dst, content...)
	}
	dst = append(dst, '{')
	if !rules.keepsContentOf(typ) {
		return append(dst, '}')
	}
	first := true
	for m, next, ok := nextMember(content, 1); ok; m, next, ok = nextMember(content, next) {
		key := m.key(content)
		invite := typ == typeMember && rules.UpdatedRedaction &&
			string(key) == "third_party_invite" && m.val(content).IsObject()
		if !invite && !rules.keepsContent(typ, key) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		if invite {
			dst = appendRedactedInvite(dst, m.val(content))
			continue
		}
		dst = append(dst, m.all(content)...)
	}
	return append(dst, '}')
}

// appendRedactedInvite keeps the key signed of third_party_invite.
//
// Spec: rooms/v11/#redactions
func appendRedactedInvite(dst []byte, invite Value) []byte {
	dst = append(dst, `"third_party_invite":{`...)
	if signed := invite.Get("signed"); signed != nil {
		dst = append(dst, `"signed":`...)
		dst = append(dst, signed...)
	}
	return append(dst, '}')
}

// keepsContentOf reports whether redaction keeps anything in the content of
// events of the type.
func (r *Rules) keepsContentOf(typ string) bool {
	switch typ {
	case typeMember, typeCreate, typeJoinRules, typePowerLevels, typeHistoryVisibility:
		return true
	case typeAliases:
		return r.SpecialAliases
	case typeRedaction:
		return r.UpdatedRedaction
	}
	return false
}

// keepsContent reports whether redaction keeps the key in the content of an
// event of one of the types of keepsContentOf.
//
// Spec: rooms/v1/#redactions, rooms/v6/#redactions, rooms/v8/#redactions,
// rooms/v9/#redactions, rooms/v11/#redactions
func (r *Rules) keepsContent(typ string, key []byte) bool {
	switch typ {
	case typeMember:
		return string(key) == "membership" ||
			r.RestrictedRedaction && string(key) == "join_authorised_via_users_server"
	case typeCreate:
		return string(key) == "creator"
	case typeJoinRules:
		return string(key) == "join_rule" || r.RestrictedJoins && string(key) == "allow"
	case typePowerLevels:
		switch string(key) {
		case "ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default":
			return true
		case "invite":
			return r.UpdatedRedaction
		}
		return false
	case typeAliases:
		return string(key) == "aliases"
	case typeHistoryVisibility:
		return string(key) == "history_visibility"
	case typeRedaction:
		return string(key) == "redacts"
	}
	return false
}

// clip returns b without spare capacity worth having.
func clip(b []byte) []byte {
	if cap(b)-len(b) <= 64+len(b)/8 {
		return b
	}
	return append(make([]byte, 0, len(b)), b...)
}
