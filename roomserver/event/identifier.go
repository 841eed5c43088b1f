package event

import (
	"strings"
	"unicode/utf8"

	"maunium.net/go/mautrix/id"
)

// hashIDLength is the length of an identifier that is a sigil and an unpadded
// base64 SHA-256 hash.
const hashIDLength = 1 + 43

// ValidServerName reports whether s follows the grammar of server names.
//
// Spec: appendices/#server-name
func ValidServerName(s string) bool {
	if s == "" || len(s) > MaxIDSize {
		return false
	}
	host, port, hasPort := s, "", false
	if s[0] == '[' {
		end := strings.IndexByte(s, ']')
		if end < 0 || !validIPv6(s[1:end]) {
			return false
		}
		rest := s[end+1:]
		if rest == "" {
			return true
		}
		return rest[0] == ':' && validPort(rest[1:])
	}
	if host, port, hasPort = strings.Cut(s, ":"); hasPort && !validPort(port) {
		return false
	}
	return validDNSName(host)
}

// ValidUserID reports whether user is a user ID that must be accepted from
// peers: historical localparts hold any characters except ':' and NUL, or
// none at all.
//
// Spec: appendices/#historical-user-ids
func ValidUserID(user id.UserID) bool { return validWithDomain(string(user), '@') }

// StrictUserID reports whether user is a user ID that a server may allocate.
//
// Spec: appendices/#user-identifiers
func StrictUserID(user id.UserID) bool {
	if !ValidUserID(user) {
		return false
	}
	localpart, _, _ := strings.Cut(string(user[1:]), ":")
	for i := range len(localpart) {
		c := localpart[i]
		if !isLower(c) && !isDigit(c) && strings.IndexByte("._=-/+", c) < 0 {
			return false
		}
	}
	return localpart != ""
}

// ValidRoomAlias reports whether alias is a room alias.
//
// Spec: appendices/#room-aliases
func ValidRoomAlias(alias id.RoomAlias) bool { return validWithDomain(string(alias), '#') }

// ValidRoomID reports whether room is a room ID of some room version: with a
// domain up to version 11, the hash of its create event from version 12 on.
//
// Spec: appendices/#room-ids
func ValidRoomID(room id.RoomID) bool {
	return validHashID(string(room), '!') || validWithDomain(string(room), '!')
}

// ValidRoomID reports whether room is a room ID of this room version.
//
// Spec: appendices/#room-ids
func (r *Rules) ValidRoomID(room id.RoomID) bool {
	if r.RoomIDIsCreateHash {
		return validHashID(string(room), '!')
	}
	return validWithDomain(string(room), '!')
}

// ValidEventID reports whether event can be an event ID: early room versions
// have a domain part, later ones a hash, and a mere reference to an event is
// opaque.
//
// Spec: appendices/#event-ids
func ValidEventID(event id.EventID) bool {
	s := string(event)
	return len(s) > 1 && len(s) <= MaxIDSize && s[0] == '$' &&
		strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}

// ServerOf is the server name in a user ID, a room alias, or a room or event
// ID that has one; empty when there is none, as in the room IDs of version 12.
func ServerOf[ID ~string](identifier ID) string {
	_, server, _ := strings.Cut(string(identifier), ":")
	return server
}

func validWithDomain(s string, sigil byte) bool {
	if len(s) < 2 || len(s) > MaxIDSize || s[0] != sigil {
		return false
	}
	localpart, server, ok := strings.Cut(s[1:], ":")
	return ok && strings.IndexByte(localpart, 0) < 0 && utf8.ValidString(localpart) && ValidServerName(server)
}

// validHashID checks the URL-safe form, in which room IDs are made since
// room version 12.
func validHashID(s string, sigil byte) bool {
	if len(s) != hashIDLength || s[0] != sigil {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !isAlpha(c) && !isDigit(c) && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func validPort(s string) bool {
	if s == "" || len(s) > 5 {
		return false
	}
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

func validIPv6(s string) bool {
	if len(s) < 2 || len(s) > 45 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isDigit(c) && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') && c != ':' && c != '.' {
			return false
		}
	}
	return true
}

func validDNSName(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlpha(c) && !isDigit(c) && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isAlpha(c byte) bool { return isLower(c) || 'A' <= c && c <= 'Z' }
