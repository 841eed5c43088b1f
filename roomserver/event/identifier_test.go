package event_test

import (
	"strings"
	"testing"

	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// Spec: appendices/#server-name
func TestValidServerName(t *testing.T) {
	for name, want := range map[string]bool{
		"matrix.org": true, "matrix.org:8888": true, "1.2.3.4": true, "1.2.3.4:1234": true,
		"[1234:5678::abcd]": true, "[1234:5678::abcd]:5678": true, "localhost": true, "UPPER.example": true, "a-b.c": true,
		"": false, ":80": false, "a:": false, "a:123456": false, "a:8x": false, "a:1:2": false, "a b": false, "a_b": false,
		"a/b": false, "é.example": false, "[": false, "[]": false, "[::1": false, "[::g]": false, "[::1]x": false,
		"[::1]:": false, "a\x00": false, strings.Repeat("a", 256): false,
	} {
		if got := event.ValidServerName(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestValidIdentifiers(t *testing.T) {
	hash := strings.Repeat("aZ0-_", 9)[:43]
	for _, c := range []struct {
		name string
		got  bool
		want bool
	}{
		{"user", event.ValidUserID("@alice:a.example"), true},
		{"historical user", event.ValidUserID("@Ünï \n:a.example"), true},
		{"user without a localpart", event.ValidUserID("@:a.example"), true},
		{"user with a port", event.ValidUserID("@a:b:80"), true},
		{"user without a server", event.ValidUserID("@a"), false},
		{"user with an empty server", event.ValidUserID("@a:"), false},
		{"user with NUL", event.ValidUserID("@a\x00:b"), false},
		{"user not of UTF-8", event.ValidUserID("@\xff:b"), false},
		{"user too long", event.ValidUserID(id.UserID("@" + strings.Repeat("a", 252) + ":bc")), false},
		{"user just short enough", event.ValidUserID(id.UserID("@" + strings.Repeat("a", 252) + ":b")), true},
		{"nobody", event.ValidUserID(""), false},
		{"strict user", event.StrictUserID("@a.b_c=d-e/f+0:a.example"), true},
		{"strict user in upper case", event.StrictUserID("@Alice:a.example"), false},
		{"strict user without a localpart", event.StrictUserID("@:a.example"), false},
		{"strict user without a server", event.StrictUserID("@alice"), false},
		{"alias", event.ValidRoomAlias("#Größe/x:a.example"), true},
		{"alias without a sigil", event.ValidRoomAlias("x:a.example"), false},
		{"room", event.ValidRoomID("!x:a.example"), true},
		{"hash room", event.ValidRoomID(id.RoomID("!" + hash)), true},
		{"short hash room", event.ValidRoomID(id.RoomID("!" + hash[1:])), false},
		{"room of old base64", event.ValidRoomID(id.RoomID("!" + hash[1:] + "/")), false},
		{"hash event", event.ValidEventID(id.EventID("$" + hash)), true},
		{"old event", event.ValidEventID("$x:a.example"), true},
		{"event without a sigil", event.ValidEventID("x"), false},
		{"event without anything", event.ValidEventID("$"), false},
		{"event with NUL", event.ValidEventID("$\x00"), false},
		{"event too long", event.ValidEventID(id.EventID("$" + strings.Repeat("x", 255))), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v", c.name, c.got)
		}
	}
	for _, v := range event.SupportedVersions() {
		rules := rulesOf(t, v)
		if rules.ValidRoomID("!x:a.example") == rules.RoomIDIsCreateHash || rules.ValidRoomID(id.RoomID("!"+hash)) != rules.RoomIDIsCreateHash {
			t.Errorf("version %s takes the room IDs of others", v)
		}
	}
}

func TestServerOf(t *testing.T) {
	for in, want := range map[string]string{
		"@a:b": "b", "@a:b:80": "b:80", "!x:[::1]:80": "[::1]:80", "!x": "", "": "", "$h": "",
	} {
		if got := event.ServerOf(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
