package web

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"maunium.net/go/mautrix/id"

	"entente/internal/fault"
)

// maxIdentifier is the longest identifier, sigil included, in bytes.
//
// Spec: appendices/#common-identifier-format
const maxIdentifier = 255

// RoomID is a path parameter that holds a room ID: with or without a domain,
// since room version 12 has none. Spec: appendices/#room-ids
func (c *Call) RoomID(name string) (id.RoomID, error) {
	value := c.Path(name)
	if !opaque(value, '!') {
		return "", invalid(name, "a room ID")
	}
	return id.RoomID(value), nil
}

// EventID is a path parameter that holds an event ID.
// Spec: appendices/#event-ids
func (c *Call) EventID(name string) (id.EventID, error) {
	value := c.Path(name)
	if !opaque(value, '$') {
		return "", invalid(name, "an event ID")
	}
	return id.EventID(value), nil
}

// UserID is a path parameter that holds a user ID. Localparts that were once
// legal are taken. Spec: appendices/#historical-user-ids
func (c *Call) UserID(name string) (id.UserID, error) {
	value := c.Path(name)
	if !ValidUserID(value) {
		return "", invalid(name, "a user ID")
	}
	return id.UserID(value), nil
}

// RoomAlias is a path parameter that holds a room alias.
// Spec: appendices/#room-aliases
func (c *Call) RoomAlias(name string) (id.RoomAlias, error) {
	value := c.Path(name)
	if !ValidRoomAlias(value) {
		return "", invalid(name, "a room alias")
	}
	return id.RoomAlias(value), nil
}

// RoomIDOrAlias is a path parameter that holds either; the other is empty.
func (c *Call) RoomIDOrAlias(name string) (id.RoomID, id.RoomAlias, error) {
	value := c.Path(name)
	switch {
	case opaque(value, '!'):
		return id.RoomID(value), "", nil
	case ValidRoomAlias(value):
		return "", id.RoomAlias(value), nil
	}
	return "", "", invalid(name, "a room ID or a room alias")
}

// ServerName is a path parameter that holds a server name.
func (c *Call) ServerName(name string) (string, error) {
	value := c.Path(name)
	if !ValidServerName(value) {
		return "", invalid(name, "a server name")
	}
	return value, nil
}

func invalid(name, what string) error {
	return fault.New(fault.InvalidParam, "%s is not %s", name, what)
}

// opaque reports whether value is a sigil and something after it.
func opaque(value string, sigil byte) bool {
	return len(value) > 1 && len(value) <= maxIdentifier && value[0] == sigil && strings.IndexByte(value, 0) < 0
}

// ValidRoomID reports whether value has the form of a room ID.
func ValidRoomID(value string) bool { return opaque(value, '!') && utf8.ValidString(value) }

// ValidEventID reports whether value has the form of an event ID.
func ValidEventID(value string) bool { return opaque(value, '$') && utf8.ValidString(value) }

// ValidUserID reports whether value has the form of a user ID, historical
// ones included. Spec: appendices/#historical-user-ids
func ValidUserID(value string) bool { return withDomain(value, '@') }

// ValidRoomAlias reports whether value has the form of a room alias.
func ValidRoomAlias(value string) bool { return withDomain(value, '#') }

// withDomain reports whether value is a sigil, a localpart, which may be
// empty in historical user IDs, a colon and a server name.
func withDomain(value string, sigil byte) bool {
	if !opaque(value, sigil) || !utf8.ValidString(value) {
		return false
	}
	colon := strings.IndexByte(value, ':')
	return colon > 0 && ValidServerName(value[colon+1:])
}

// ValidServerName reports whether name follows the grammar of server names.
//
// Spec: appendices/#server-name
func ValidServerName(name string) bool {
	if name == "" || len(name) > maxIdentifier {
		return false
	}
	host := name
	if host[0] == '[' {
		end := strings.IndexByte(host, ']')
		if end < 0 {
			return false
		}
		addr, err := netip.ParseAddr(host[1:end])
		return err == nil && addr.Is6() && addr.Zone() == "" && validPort(host[end+1:])
	}
	if colon := strings.IndexByte(host, ':'); colon >= 0 {
		if !validPort(host[colon:]) {
			return false
		}
		host = host[:colon]
	}
	for i := range len(host) {
		if !dnsChar(host[i]) {
			return false
		}
	}
	return host != ""
}

// validPort reports whether s is empty or a colon and one to five digits.
func validPort(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != ':' || len(s) < 2 || len(s) > 6 {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func dnsChar(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '.'
}
