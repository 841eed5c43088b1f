package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"entente/internal/fault"
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

const (
	room    id.RoomID  = "!r/oom:peer.example"
	eventID id.EventID = "$e/vent"
	user    id.UserID  = "@u:us.example"
)

var fedV1, fedV2 = "/_matrix/federation/v1", "/_matrix/federation/v2"

// callTest is a call, the request that the peer must see, its answer, and what
// the call makes of that.
type callTest struct {
	call      func(c *Client) (any, error)
	method    string
	uri, body string
	answer    string
	want      any
}

func raw(s ...string) (out []json.RawMessage) {
	for _, one := range s {
		out = append(out, json.RawMessage(one))
	}
	return out
}

func membershipCalls(ctx context.Context) map[string]callTest {
	return map[string]callTest{
		"make_join": {func(c *Client) (any, error) {
			return c.MakeJoin(ctx, peerName, room, user, []event.Version{"11", "12"})
		},
			"GET", fedV1 + "/make_join/%21r%2Foom:peer.example/@u:us.example?ver=11&ver=12", "",
			`{"room_version":"11","event":{"a":1}}`, Template{"11", json.RawMessage(`{"a":1}`)}},
		"make_leave of an old server": {func(c *Client) (any, error) { return c.MakeLeave(ctx, peerName, room, user) },
			"GET", fedV1 + "/make_leave/%21r%2Foom:peer.example/@u:us.example", "", `{"event":{"a":1}}`, Template{"1", json.RawMessage(`{"a":1}`)}},
		"make_knock": {func(c *Client) (any, error) { return c.MakeKnock(ctx, peerName, room, user, []event.Version{"7"}) },
			"GET", fedV1 + "/make_knock/%21r%2Foom:peer.example/@u:us.example?ver=7", "", `{"room_version":"7","event":{}}`, Template{"7", json.RawMessage(`{}`)}},
		"send_leave": {func(c *Client) (any, error) {
			return nil, c.SendLeave(ctx, peerName, room, eventID, json.RawMessage(`{"a":1}`))
		},
			"PUT", fedV2 + "/send_leave/%21r%2Foom:peer.example/$e%2Fvent", `{"a":1}`, `{}`, nil},
		"send_knock": {func(c *Client) (any, error) {
			return c.SendKnock(ctx, peerName, room, eventID, json.RawMessage(`{"a":1}`))
		},
			"PUT", fedV1 + "/send_knock/%21r%2Foom:peer.example/$e%2Fvent", `{"a":1}`, `{"knock_room_state":[{"b":2}]}`, raw(`{"b":2}`)},
		"invite": {func(c *Client) (any, error) {
			return c.Invite(ctx, peerName, InviteRequest{room, eventID, "11", json.RawMessage(`{"a":1}`), raw(`{"s":1}`, `{"s":2}`)})
		}, "PUT", fedV2 + "/invite/%21r%2Foom:peer.example/$e%2Fvent", `{"event":{"a":1},"invite_room_state":[{"s":1},{"s":2}],"room_version":"11"}`,
			`{"event":{"signed":true}}`, json.RawMessage(`{"signed":true}`)},
		"send": {func(c *Client) (any, error) {
			return c.Send(ctx, peerName, Transaction{ID: "t/1", Timestamp: 5, PDUs: raw(`{"p":1.5}`, `{"p":2}`), EDUs: raw(`{"b":1, "a":2}`)})
		}, "PUT", fedV1 + "/send/t%2F1", `{"edus":[{"a":2,"b":1}],"origin":"us.example","origin_server_ts":5,"pdus":[{"p":1.5},{"p":2}]}`,
			`{"pdus":{"$good":{},"$bad":{"error":"no\n"}}}`, map[id.EventID]string{"$bad": "no"}},
		"an empty send": {func(c *Client) (any, error) { return c.Send(ctx, peerName, Transaction{ID: "t"}) },
			"PUT", fedV1 + "/send/t", `{"edus":[],"origin":"us.example","origin_server_ts":0,"pdus":[]}`, `{"pdus":{}}`, map[id.EventID]string(nil)},
	}
}

func roomCalls(ctx context.Context) map[string]callTest {
	return map[string]callTest{
		"event": {func(c *Client) (any, error) { return c.Event(ctx, peerName, eventID) },
			"GET", fedV1 + "/event/$e%2Fvent", "", `{"origin":"x","origin_server_ts":1,"pdus":[{"a":1}]}`, json.RawMessage(`{"a":1}`)},
		"state_ids": {func(c *Client) (any, error) {
			pdus, auth, err := c.StateIDs(ctx, peerName, room, eventID)
			return [2][]id.EventID{pdus, auth}, err
		}, "GET", fedV1 + "/state_ids/%21r%2Foom:peer.example?event_id=%24e%2Fvent", "",
			`{"pdu_ids":["$a"],"auth_chain_ids":["$b","$c"]}`, [2][]id.EventID{{"$a"}, {"$b", "$c"}}},
		"event_auth": {func(c *Client) (any, error) { return c.EventAuth(ctx, peerName, room, eventID) },
			"GET", fedV1 + "/event_auth/%21r%2Foom:peer.example/$e%2Fvent", "", `{"auth_chain":[{"a":1}, {"b":2}]}`, raw(`{"a":1}`, `{"b":2}`)},
		"backfill": {func(c *Client) (any, error) {
			return c.Backfill(ctx, peerName, room, []id.EventID{"$a", "$b"}, 20)
		},
			"GET", fedV1 + "/backfill/%21r%2Foom:peer.example?limit=20&v=%24a&v=%24b", "", `{"pdus":[{"a":1}]}`, raw(`{"a":1}`)},
		"get_missing_events": {func(c *Client) (any, error) {
			return c.GetMissingEvents(ctx, peerName, room, MissingRequest{Latest: []id.EventID{"$l"}, Limit: 10})
		}, "POST", fedV1 + "/get_missing_events/%21r%2Foom:peer.example",
			`{"earliest_events":[],"latest_events":["$l"],"limit":10,"min_depth":0}`, `{"events":[]}`, raw()},
	}
}

func queryCalls(ctx context.Context) map[string]callTest {
	total := int64(7)
	return map[string]callTest{
		"query/directory": {func(c *Client) (any, error) { return c.QueryDirectory(ctx, peerName, "#a b:peer.example") },
			"GET", fedV1 + "/query/directory?room_alias=%23a+b%3Apeer.example", "", `{"room_id":"!r:x","servers":["x","y"]}`,
			DirectoryAnswer{"!r:x", []string{"x", "y"}}},
		"query/profile": {func(c *Client) (any, error) { return c.QueryProfile(ctx, peerName, "@p:peer.example", "displayname") },
			"GET", fedV1 + "/query/profile?field=displayname&user_id=%40p%3Apeer.example", "", `{"displayname":"P"}`,
			map[string]json.RawMessage{"displayname": json.RawMessage(`"P"`)}},
		"publicRooms": {func(c *Client) (any, error) {
			return c.PublicRooms(ctx, peerName, PublicRoomsRequest{Limit: 5, Since: "s", IncludeAllNetworks: true, ThirdPartyInstanceID: "irc"})
		}, "GET", fedV1 + "/publicRooms?include_all_networks=true&limit=5&since=s&third_party_instance_id=irc", "",
			`{"chunk":[{"a":1}],"next_batch":"n","total_room_count_estimate":7}`, PublicRooms{Chunk: raw(`{"a":1}`), NextBatch: "n", Total: &total}},
		"publicRooms with a filter": {func(c *Client) (any, error) {
			return c.PublicRooms(ctx, peerName, PublicRoomsRequest{Limit: 5, Filter: json.RawMessage(`{"generic_search_term":"x"}`)})
		}, "POST", fedV1 + "/publicRooms", `{"filter":{"generic_search_term":"x"},"limit":5}`, `{"chunk":[]}`, PublicRooms{Chunk: []json.RawMessage{}}},
		"version": {func(c *Client) (any, error) {
			name, version, err := c.Version(ctx, peerName)
			return name + "/" + version, err
		}, "GET", fedV1 + "/version", "", `{"server":{"name":"Sy\u0000napse","version":"1"}}`, "Synapse/1"},
		"keys": {func(c *Client) (any, error) { return c.ServerKeys(ctx, peerName) },
			"GET", "/_matrix/key/v2/server", "", `{"x":1}`, []byte(`{"x":1}`)},
		"keys by a notary": {func(c *Client) (any, error) { return c.QueryKeys(ctx, peerName, "[::1]:7", 99) },
			"GET", "/_matrix/key/v2/query/%5B::1%5D:7?minimum_valid_until_ts=99", "", `{"server_keys":[{"a":1}]}`, [][]byte{[]byte(`{"a":1}`)}},
	}
}

func TestEveryCallAsThePeerSeesIt(t *testing.T) {
	tests := membershipCalls(context.Background())
	maps.Copy(tests, roomCalls(context.Background()))
	maps.Copy(tests, queryCalls(context.Background()))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, says(test.answer))
			got, err := test.call(f.Client)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
			a := f.peer.last(t)
			if a.method != test.method || a.uri != test.uri || a.body != test.body {
				t.Errorf("the peer got %s %s %s\nwant %s %s %s", a.method, a.uri, a.body, test.method, test.uri, test.body)
			}
			if a.host != peerName || a.header.Get("User-Agent") != "test" {
				t.Errorf("the peer got Host %s, header %v", a.host, a.header)
			}
			anonymous := strings.HasPrefix(test.uri, "/_matrix/key") || name == "version"
			if (a.origin == usName) == anonymous {
				t.Errorf("the request is of %q", a.origin)
			}
			if test.body != "" && a.header.Get("Content-Type") != "application/json" {
				t.Errorf("Content-Type is %q", a.header.Get("Content-Type"))
			}
		})
	}
}

func TestAnswersThatMakeNoSense(t *testing.T) {
	ctx := context.Background()
	calls := map[string]func(*Client) error{
		"make_join": func(c *Client) error { _, err := c.MakeJoin(ctx, peerName, room, user, nil); return err },
		"invite": func(c *Client) error {
			_, err := c.Invite(ctx, peerName, InviteRequest{Version: "11", Event: json.RawMessage(`{}`)})
			return err
		},
		"event":      func(c *Client) error { _, err := c.Event(ctx, peerName, eventID); return err },
		"event_auth": func(c *Client) error { _, err := c.EventAuth(ctx, peerName, room, eventID); return err },
		"send_join": func(c *Client) error {
			_, err := c.SendJoin(ctx, peerName, SendJoinRequest{Event: json.RawMessage(`{}`)}, func(Part, json.RawMessage) error { return nil })
			return err
		},
	}
	for _, answer := range []string{``, `null`, `[]`, `"x"`, `{}`, `{"event":7,"pdus":7,"auth_chain":7,"state":7}`, `{"event":`, `<html>`,
		`{"event":null,"pdus":[],"auth_chain":["x"],"state":[]}`, `{"pdus":[{},{}]}`} {
		f := newFixture(t, says(answer))
		for name, call := range calls {
			if err := call(f.Client); !fault.Is(err, fault.Unreachable) {
				t.Errorf("%s: %s gives %v", answer, name, err)
			}
		}
	}
}

func TestInvitesOfOldRoomsGoToOldServers(t *testing.T) {
	ctx := context.Background()
	old := func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, fedV2) {
			fails(404, `{"errcode":"M_UNRECOGNIZED","error":"what?"}`)(w, r)
			return
		}
		says(`[200,{"event":{"signed":1}}]`)(w, r)
	}
	f := newFixture(t, old)
	req := InviteRequest{room, eventID, "2", json.RawMessage(`{"a":1,"type":"m.room.member"}`), []json.RawMessage{json.RawMessage(`{"s":1}`)}}
	got, err := f.Invite(ctx, peerName, req)
	if err != nil || string(got) != `{"signed":1}` {
		t.Fatalf("got %s, %v", got, err)
	}
	if body := f.peer.last(t).body; body != `{"a":1,"type":"m.room.member","unsigned":{"invite_room_state":[{"s":1}]}}` {
		t.Errorf("the peer got %s", body)
	}
	req.Version = "3"
	if _, err := f.Invite(ctx, peerName, req); !IsUnrecognized(err) {
		t.Errorf("an invite to a newer room gives %v", err)
	}
	for _, answer := range []string{`[200]`, `[200,{}]`, `{}`, `[200,7]`} {
		f.peer.answers(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, fedV2) {
				old(w, r)
				return
			}
			says(answer)(w, r)
		})
		req.Version = "1"
		_, err := f.Invite(ctx, peerName, req)
		wantKind(t, err, fault.Unreachable)
	}
	// A refusal is no reason to ask again in another way.
	f.peer.answers(fails(403, `{"errcode":"M_FORBIDDEN","error":"no"}`))
	before := f.peer.count()
	_, err = f.Invite(ctx, peerName, req)
	wantKind(t, err, fault.Forbidden)
	if f.peer.count() != before+1 {
		t.Error("the invite was sent twice")
	}
}

func TestTransactionsAreBounded(t *testing.T) {
	f := newFixture(t, says(`{"pdus":{}}`))
	full := func(n int) (out []json.RawMessage) {
		for i := range n {
			out = append(out, json.RawMessage(fmt.Sprintf(`{"n":%d}`, i)))
		}
		return out
	}
	for _, test := range []struct {
		pdus, edus int
		good       bool
	}{{50, 100, true}, {51, 0, false}, {0, 101, false}} {
		_, err := f.Send(context.Background(), peerName, Transaction{ID: "t", PDUs: full(test.pdus), EDUs: full(test.edus)})
		if (err == nil) != test.good {
			t.Errorf("%d PDUs, %d EDUs: %v", test.pdus, test.edus, err)
		}
	}
	if _, err := f.Send(context.Background(), peerName, Transaction{ID: "t", EDUs: []json.RawMessage{json.RawMessage(`{`)}}); err == nil {
		t.Error("a malformed EDU was sent")
	}
}
