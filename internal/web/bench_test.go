package web

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// discard is a ResponseWriter that costs nothing.
type discard struct{ header http.Header }

// Header is the answer's header.
func (d *discard) Header() http.Header { return d.header }

// Write drops p.
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

// WriteHeader does nothing.
func (d *discard) WriteHeader(int) {}

// BenchmarkRequest is what a send of a message costs above net/http:
// matching, authentication, limits, body, decoding, answer, log record and
// metrics.
func BenchmarkRequest(b *testing.B) {
	routes := []Route{
		{Method: "PUT", Path: "/_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}", Auth: AuthUser, Rate: RateMessage,
			Handle: func(_ context.Context, c *Call) (any, error) {
				var content struct {
					Body string `json:"body"`
				}
				if _, err := c.RoomID("roomId"); err != nil {
					return nil, err
				}
				if err := c.Decode(&content); err != nil {
					return nil, err
				}
				return struct {
					EventID string `json:"event_id"`
				}{"$9Zpdd1wKlsqJ8R1Ujn3SPbLVWHbBL0Hlj8MaL4tmPEM"}, nil
			}},
	}
	for _, verb := range []string{"join", "leave", "invite", "kick", "ban", "unban", "forget", "messages", "members", "joined_members", "state", "aliases"} {
		routes = append(routes, get("/_matrix/client/v3/rooms/{roomId}/"+verb, echo()))
	}
	rt := serve(b, Options{
		Logger:  slog.New(slog.NewTextHandler(io.Discard, nil)),
		Metrics: NewMetrics(prometheus.NewRegistry()),
		Limiter: NewLimiter(Limits{RateMessage: {PerSecond: 1e6, Burst: 1e6}}, 0, time.Now()),
	}, routes...)
	body := `{"msgtype":"m.text","body":"` + strings.Repeat("hello ", 20) + `"}`
	r, err := http.NewRequest("PUT", "/_matrix/client/v3/rooms/!abcdefghijklmnop%3Aa.example/send/m.room.message/m1234567890.1", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.RemoteAddr = "192.0.2.1:50000"
	r.Header.Set("Authorization", "Bearer alice")
	r.Header.Set("Content-Type", "application/json")
	b.ReportAllocs()
	for b.Loop() {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		rt.ServeHTTP(&discard{header: make(http.Header, 8)}, r)
	}
}

// BenchmarkMatch is the tree alone.
func BenchmarkMatch(b *testing.B) {
	var root node
	for _, path := range benchPaths {
		if err := root.add(&endpoint{Route: Route{Method: "GET", Path: path}}); err != nil {
			b.Fatal(err)
		}
	}
	var values [maxParams]string
	b.ReportAllocs()
	for b.Loop() {
		if place, _ := root.match("_matrix/client/v3/rooms/!abcdefghijklmnop%3Aa.example/send/m.room.message/m1234567890.1", values[:0]); place == nil {
			b.Fatal("no match")
		}
	}
}

// benchPaths are some of the Client-Server API.
var benchPaths = []string{
	"/_matrix/client/versions", "/_matrix/client/v3/login", "/_matrix/client/v3/sync", "/_matrix/client/v3/account/whoami",
	"/_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}", "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}",
	"/_matrix/client/v3/rooms/{roomId}/messages", "/_matrix/client/v3/rooms/{roomId}/members", "/_matrix/client/v3/rooms/{roomId}/join",
	"/_matrix/client/v3/rooms/{roomId}/event/{eventId}", "/_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}",
	"/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}", "/_matrix/client/v3/profile/{userId}/{keyName}",
	"/_matrix/client/v3/join/{roomIdOrAlias}", "/_matrix/client/v3/createRoom", "/_matrix/client/v3/publicRooms",
}
