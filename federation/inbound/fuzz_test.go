package inbound_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"entente/internal/web"
)

// Whatever a peer pushes, it gets an answer of the specification, and the
// server goes on.
func FuzzTransaction(f *testing.F) {
	m := meet(newWorld(f, sqlite(f)), "12", nil)
	room, user := string(m.room), string(m.user)
	f.Add([]byte(`{"origin":"peer.test","origin_server_ts":1,"pdus":[` + string(m.says("hello")[0].JSON()) + `]}`))
	f.Add([]byte(`{"pdus":[{"room_id":"` + room + `","type":"m.room.message","sender":"` + user + `","content":{"a":1e400},"depth":-1}]}`))
	f.Add([]byte(`{"pdus":[],"edus":[{"edu_type":"m.typing","content":{"room_id":"` + room + `","user_id":"` + user + `","typing":true}}]}`))
	f.Add([]byte(`{"edus":[{"edu_type":"m.receipt","content":{"` + room + `":{"m.read":{"` + user + `":{"event_ids":["$e"],"data":{"ts":-5}}}}}}]}`))
	f.Add([]byte(`{"edus":[{"edu_type":"m.presence","content":{"push":[{"user_id":"` + user + `","presence":"online"}]}}],"pdus":null}`))
	router, err := web.New(web.Options{
		Peers: func(*http.Request, []byte) (string, error) { return m.peer.name, nil }, MaxDepth: 600,
	}, m.api.Routes()...)
	if err != nil {
		f.Fatal(err)
	}
	var count atomic.Int64 // what has been seen is not looked at
	f.Fuzz(func(t *testing.T, body []byte) {
		answer := httptest.NewRecorder()
		uri := fmt.Sprint("/_matrix/federation/v1/send/", count.Add(1))
		router.ServeHTTP(answer, httptest.NewRequest(http.MethodPut, uri, bytes.NewReader(body)))
		switch answer.Code {
		case http.StatusOK, http.StatusBadRequest, http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusTooManyRequests:
		default:
			t.Errorf("%q is answered %d %s", body, answer.Code, answer.Body)
		}
	})
}
