package web

import (
	"context"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"
)

// on runs look with a call to a target of the route /u/{id}.
func on(t *testing.T, target string, look func(c *Call)) {
	t.Helper()
	called := false
	rt := serve(t, Options{}, Route{Method: "GET", Path: "/u/{id}", Auth: AuthUser, Handle: func(_ context.Context, c *Call) (any, error) {
		called = true
		look(c)
		return nil, nil
	}})
	if w := ask(rt, "GET", target, "", "Authorization", "Bearer alice", "User-Agent", "test"); !called {
		t.Fatalf("%s did not reach the handler: %d %s", target, w.Code, w.Body)
	}
}

func TestIdentifiers(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, tc := range []struct {
		value                     string
		room, event, user, alias  bool
		server, roomIDOrRoomAlias bool
	}{
		{value: "!r:a.example", room: true, roomIDOrRoomAlias: true},
		{value: "!abcDEF_-0123", room: true, roomIDOrRoomAlias: true},
		{value: "!a/b:c", room: true, roomIDOrRoomAlias: true},
		{value: "$e:a.example", event: true},
		{value: "$9Zp_-", event: true},
		{value: "@a:a.example", user: true},
		{value: "@A b!:a.example:8448", user: true},
		{value: "@:a.example", user: true},
		{value: "@a:[2001:db8::1]:8448", user: true},
		{value: "@a:1.2.3.4", user: true},
		{value: "@a"},
		{value: "@a:"},
		{value: "@a:b c"},
		{value: "@a:b:port"},
		{value: "@a:b:123456"},
		{value: "@a:[::1"},
		{value: "@a:[zz]"},
		{value: "@a:[::1%25eth0]"},
		{value: "#r:a.example", alias: true, roomIDOrRoomAlias: true},
		{value: "#ä ö:a.example", alias: true, roomIDOrRoomAlias: true},
		{value: "#r"},
		{value: "a.example", server: true},
		{value: "a.example:8448", server: true},
		{value: "[::1]", server: true},
		{value: "!"},
		{value: "$"},
		{value: "!" + long},
		{value: "@" + long + ":a"},
	} {
		on(t, "/u/"+strings.NewReplacer("/", "%2F", "%", "%25", " ", "%20").Replace(tc.value), func(c *Call) {
			check := func(what string, err error, want bool) {
				if (err == nil) != want {
					t.Errorf("%q as %s: %v", tc.value, what, err)
				}
			}
			_, err := c.RoomID("id")
			check("room ID", err, tc.room)
			_, err = c.EventID("id")
			check("event ID", err, tc.event)
			_, err = c.UserID("id")
			check("user ID", err, tc.user)
			_, err = c.RoomAlias("id")
			check("room alias", err, tc.alias)
			_, _, err = c.RoomIDOrAlias("id")
			check("room ID or alias", err, tc.roomIDOrRoomAlias)
			_, err = c.ServerName("id")
			check("server name", err, tc.server)
		})
	}
	for value, want := range map[string]bool{"!a": true, "": false, "!\x00": false, "!\xff": false, "a": false} {
		if ValidRoomID(value) != want {
			t.Errorf("ValidRoomID(%q) is %v", value, !want)
		}
	}
	if ValidEventID("$\xff") || !ValidEventID("$a") {
		t.Error("ValidEventID is wrong")
	}
}

func TestOnlyTheUserThemselves(t *testing.T) {
	on(t, "/u/@alice:a.example", func(c *Call) {
		if err := c.OwnPath("id"); err != nil {
			t.Errorf("the user's own path is refused: %v", err)
		}
		if c.User() != "@alice:a.example" || c.Device() != "PHONE" || c.Principal().Device != id.DeviceID("PHONE") {
			t.Errorf("the caller is %v", c.Principal())
		}
		if c.UserAgent() != "test" || c.Remote().String() != "192.0.2.1" || c.Header("user-agent") != "test" {
			t.Errorf("the caller's client is %q at %s", c.UserAgent(), c.Remote())
		}
	})
	on(t, "/u/@bob:a.example", func(c *Call) {
		if c.OwnPath("id") == nil {
			t.Error("another user's path is allowed")
		}
	})
}

func TestEndpointTellsPathsApartAsTheyWereSent(t *testing.T) {
	on(t, "/u/a%2Fb?ts=1", func(c *Call) {
		if c.Endpoint() != "GET /u/a%2Fb" {
			t.Errorf("the endpoint is %q", c.Endpoint())
		}
	})
}

func TestQuery(t *testing.T) {
	on(t, "/u/x?n=5&big=99&low=-1&word=a&yes=true&no=false&list=1&list=2&empty=", func(c *Call) {
		for name, want := range map[string]int64{"n": 5, "big": 50, "absent": 10, "empty": 10} {
			if got, err := c.QueryInt(name, 10, 0, 50); got != want || err != nil {
				t.Errorf("%s is %d, %v", name, got, err)
			}
		}
		for _, name := range []string{"low", "word"} {
			if _, err := c.QueryInt(name, 10, 0, 50); err == nil {
				t.Errorf("%s passes as an integer from 0", name)
			}
		}
		for name, want := range map[string]bool{"yes": true, "no": false, "absent": true} {
			if got, err := c.QueryBool(name, true); got != want || err != nil {
				t.Errorf("%s is %v, %v", name, got, err)
			}
		}
		if _, err := c.QueryBool("n", true); err == nil {
			t.Error("5 passes as a boolean")
		}
		if got, err := c.QueryEnum("word", "b", "a", "b"); got != "a" || err != nil {
			t.Errorf("the enum is %q, %v", got, err)
		}
		if got, err := c.QueryEnum("absent", "b", "a", "b"); got != "b" || err != nil {
			t.Errorf("the absent enum is %q, %v", got, err)
		}
		if _, err := c.QueryEnum("n", "b", "a", "b"); err == nil {
			t.Error("5 passes as a or b")
		}
		if got := c.QueryList("list"); len(got) != 2 || got[1] != "2" {
			t.Errorf("the list is %v", got)
		}
		if _, err := c.QueryRequired("absent"); err == nil {
			t.Error("a required parameter may be absent")
		}
		if got, err := c.QueryRequired("word"); got != "a" || err != nil {
			t.Errorf("the required parameter is %q, %v", got, err)
		}
	})
	on(t, "/u/x", func(c *Call) {
		if c.QueryString("a") != "" || c.QueryList("a") != nil || len(c.Query()) != 0 {
			t.Error("an empty query holds something")
		}
	})
}
